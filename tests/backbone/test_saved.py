"""timm loads a trained classifier with our logits, classes and transform."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageOps
from timm.data import create_transform, resolve_data_config

from sip.backbone.saved import CONFIG, FOLDER, WEIGHTS, SavedClassifier, load_network, save
from sip.backbone.timm import Timm
from sip.classifier.loading import decode
from sip.classifier.predictor import Predictor
from sip.core.errors import DamagedError, UserError
from tests.records.made_up import generation_summary, training_summary, write_run

MINIATURE = Path(__file__).parents[2] / "sip" / "miniature"
NAMES = ("cat", "dog", "newt")
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.manual_seed(0))
CLIP = "vit_base_patch32_clip_224.laion2b_ft_in12k_in1k"
BACKBONES = {
    "resnet50 of the main job": ("resnet50", None, "3x3_s2_pool", None),
    "resnet_mini": ("test_resnet", None, None, None),
    "stem without pooling": ("resnet18", None, "3x3_s1", None),
    "strided stem": ("resnet18", None, "3x3_s2", None),
    "vit from scratch": ("deit_tiny_patch16_224", None, None, 8),
    "vit": ("vit_tiny_patch16_224", str(MINIATURE / "vit"), None, None),
    "clip": (CLIP, str(MINIATURE / "clip_vit"), None, None),
    "convnext": ("test_convnext", None, None, None),
}


def make(name, weights, stem, patch_size, **changed) -> Timm:
    values = {"drop_path": 0.2, "input_size": 32, "mean": None, "std": [0.2, 0.3, 0.4], **changed}
    return Timm(name, weights, None, stem, patch_size, **values)


def store(backbone: Timm, run: Path, names=NAMES) -> torch.nn.Module:
    """Save a network with random head and norms, as a training would; return it."""
    torch.manual_seed(5)
    network = backbone.create(len(names)).eval()
    with torch.no_grad():
        for value in (*network.parameters(), *network.buffers()):
            if value.ndim == 1:
                value.uniform_(0.5, 1.5)
    config = backbone.describe(network, names)
    save(run / FOLDER, config, network.state_dict())
    return network


@pytest.mark.parametrize("kind", BACKBONES)
@torch.inference_mode()
def test_timm_gives_our_logits(kind: str, tmp_path: Path) -> None:
    backbone = make(*BACKBONES[kind])
    network = store(backbone, tmp_path)
    theirs = timm.create_model(f"local-dir:{tmp_path / FOLDER}", pretrained=True).eval()
    torch.testing.assert_close(theirs(IMAGES), network(IMAGES), atol=1e-5, rtol=1e-4)
    saved = SavedClassifier.of(tmp_path)
    assert torch.equal(saved.network()(IMAGES), network(IMAGES))  # to the bit
    assert theirs.pretrained_cfg["label_names"] == saved.class_names == list(NAMES)
    assert saved.normalisation == tuple(map(list, backbone.normalisation))
    assert saved.input_size == 32


def test_plain_timm_loads_the_main_jobs_classifier(tmp_path: Path) -> None:
    network = store(make(*BACKBONES["resnet50 of the main job"]), tmp_path)
    code = (
        "import sys, timm, torch; "
        f"model = timm.create_model('local-dir:{tmp_path / FOLDER}', pretrained=True).eval(); "
        f"torch.save(model(torch.ones(1, 3, 32, 32)), {str(tmp_path / 'logits')!r}); "
        "assert not any(name.startswith('sip') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    logits = torch.load(tmp_path / "logits")
    torch.testing.assert_close(logits, network(torch.ones(1, 3, 32, 32)), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_timms_transform_is_ours(tmp_path: Path) -> None:
    network = store(make(*BACKBONES["resnet_mini"]), tmp_path)
    levels = np.random.default_rng(0).integers(0, 256, (80, 61, 3), np.uint8)
    Image.fromarray(levels).save(file := tmp_path / "image.png")
    config = resolve_data_config({}, model=load_network(tmp_path / FOLDER))
    with Image.open(file) as photo:  # as docs/use-the-classifier.md has it
        square = ImageOps.fit(photo, config["input_size"][1:], Image.Resampling.BICUBIC)
    theirs = network(create_transform(**config)(square)[None])
    predictor = Predictor(SavedClassifier.of(tmp_path), "cpu")
    torch.testing.assert_close(predictor.logits(decode(str(file), 32)[None]), theirs)
    assert predictor([str(file)]) == pytest.approx(theirs.softmax(1).numpy(), abs=1e-5)


@pytest.mark.parametrize(("name", "is_known"), [("resnet_mini", False), ("vit", True)])
def test_a_network_from_scratch_has_no_origin(name: str, is_known: bool, tmp_path: Path) -> None:
    backbone = make(*BACKBONES[name])
    config = backbone.describe(backbone.create(3), NAMES)["pretrained_cfg"]
    assert config["input_size"] == [3, 32, 32] and ("tag" in config) == is_known


@pytest.mark.parametrize("name", ["resnet50 of the main job", "vit", "vit from scratch"])
def test_a_training_goes_on_from_a_run(name: str, tmp_path: Path, capfd) -> None:
    architecture, _, stem, patch_size = BACKBONES[name]
    network = store(make(*BACKBONES[name]), tmp_path)
    backbone = make(architecture, str(tmp_path), stem, patch_size, mean=None, std=None)
    backbone.require()
    assert backbone.normalisation == make(*BACKBONES[name]).normalisation
    kept = backbone.create(3, NAMES).eval()
    assert torch.equal(kept(IMAGES), network(IMAGES))
    assert f"weights of {tmp_path}; its head is kept" in capfd.readouterr().err
    fresh = backbone.create(3, ("cat", "newt", "dog"))
    assert "new head, since its classes are different" in capfd.readouterr().err
    head = f"{fresh.pretrained_cfg['classifier']}.weight"
    assert not torch.equal(fresh.get_parameter(head), network.get_parameter(head))
    changed = {k for k, v in fresh.state_dict().items() if not torch.equal(v, kept.state_dict()[k])}
    assert changed and all(head.split(".")[0] in key for key in changed)
    source = backbone.recipe()["source"]
    store(make(*BACKBONES[name]), tmp_path, ("cat", "dog", "axolotl"))
    assert make(architecture, str(tmp_path), stem, patch_size).recipe()["source"] != source


def test_a_stem_or_patches_of_another_kind_are_refused(tmp_path: Path) -> None:
    store(make(*BACKBONES["strided stem"]), tmp_path)
    with pytest.raises(UserError, match=r"backbone.stem: must be null or 3x3_s2 with these"):
        make("resnet18", str(tmp_path), "3x3_s1", None).require()
    with pytest.raises(UserError, match=r"backbone.name: must be 'resnet18', which"):
        make("resnet34", str(tmp_path), None, None).require()


def test_a_changed_classifier_is_refused(tmp_path: Path) -> None:
    store(make(*BACKBONES["resnet_mini"]), tmp_path)
    file = tmp_path / FOLDER / CONFIG
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "label_names": ["dog", "cat", "newt"]}))
    with pytest.raises(DamagedError, match=r"model.safetensors is damaged .*with its config"):
        SavedClassifier.of(tmp_path).network()


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run: must be the folder of a finished run .* without"):
        SavedClassifier.of(tmp_path)
    with pytest.raises(UserError, match=r"run: must hold a classifier that sip.train wrote"):
        SavedClassifier.of(MINIATURE / "vit")
    made = write_run(tmp_path / "runs" / "made", generation_summary())
    with pytest.raises(UserError, match=r"it is a run of sip.generate, which trains none: name o"):
        SavedClassifier.of(made)
    with pytest.raises(UserError, match=r"none of its 1 runs has it$"):
        SavedClassifier.of(made.parent)
    store(make(*BACKBONES["resnet_mini"]), write_run(made.with_name("a"), training_summary()))
    with pytest.raises(UserError, match=r"it is a folder of runs, such as \S+/runs/a$"):
        SavedClassifier.of(made.parent)


def test_the_files_can_be_read_by_others_as_the_umask_says(tmp_path: Path) -> None:
    store(make(*BACKBONES["resnet_mini"]), tmp_path)
    (plain := tmp_path / "plain").touch()
    for name in (CONFIG, WEIGHTS):
        assert (tmp_path / FOLDER / name).stat().st_mode == plain.stat().st_mode

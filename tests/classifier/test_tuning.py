"""What is frozen stays as it is, bit by bit; what is kept is a plain state of the backbone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.cutmix import CutMix
from sip.augmentation.mix.moex import MoEx
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.none import NoGenerated
from sip.backbone.saved import WEIGHTS
from sip.backbone.timm import Timm
from sip.classifier import features
from sip.classifier.base import Result
from sip.classifier.data import DecodedImages, Stream
from sip.classifier.features import FeatureStream
from sip.classifier.kept_features import compute
from sip.classifier.module import Classifier
from sip.classifier.train import train
from sip.classifier.tuning.adapted import TARGETS
from sip.classifier.tuning.lora import LoRA
from sip.classifier.tuning.probe import Probe
from sip.classifier.tuning.probed import Probed
from sip.core.errors import UserError
from tests.classifier.recipes import PLAIN, RANDAUGMENT, recipe

ARGS = {  # of small models with all that must be frozen
    "test_vit": {"img_size": 32, "patch_size": 8, "drop_path_rate": 0.5, "proj_drop_rate": 0.5},
    "test_resnet": {"drop_path_rate": 0.5},
    "test_convnext": {"drop_path_rate": 0.5},
}
LORA = LoRA(4, 8, 0.1, None)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> dict[str, Timm]:
    """Backbones with weights, in timm's own layout."""
    made = {}
    for name, args in ARGS.items():
        folder = tmp_path_factory.mktemp(name)
        torch.manual_seed(1)
        model = timm.create_model(name, num_classes=4, **args)
        randomise(model)
        kept = {**args, "num_classes": 4}
        timm.models.save_for_hf(model, folder, model_args=kept, safe_serialization=True)
        made[name] = Timm(name, str(folder), None, None, None, 0.5, 32, None, None)
    return made


def randomise(model: nn.Module) -> None:
    """Give norms and layer scales values that training would have given."""
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if value.ndim <= 1 and value.is_floating_point():
                value.uniform_(0.5, 1.5) if "var" in name or "weight" in name else value.normal_()


def run(splits, folder: Path, backbone: Timm, values, augmentation=PLAIN, **changed) -> Result:
    return train(
        backbone,
        values,
        augmentation,
        splits["train"],
        splits["val"],
        splits["test"],
        ("dark", "middle", "bright"),
        changed.pop("seed", 0),
        folder,
        {"accelerator": "cpu", "devices": 1},
        (),
        **changed,
    )


@pytest.fixture
def watched(monkeypatch) -> list[tuple[nn.Module, dict[str, torch.Tensor]]]:
    """The networks that are trained, each with its state at the start."""
    seen: list = []
    real = Classifier.__init__

    def kept(self, *args):
        real(self, *args)
        state = {name: value.clone() for name, value in self.network.state_dict().items()}
        seen.append((self.network, state))

    monkeypatch.setattr(Classifier, "__init__", kept)
    return seen


MIXED = Augmentation(NoGenerated(), RANDAUGMENT, CutMix(1.0, 1.0))


@pytest.mark.parametrize("tuning", [Probe(), LORA], ids=["probe", "lora"])
@pytest.mark.parametrize("name", ARGS)
def test_what_is_frozen_does_not_change(name, tuning, stored, splits, tmp_path, watched) -> None:
    values = recipe(tuning=tuning, lr=0.1, steps=3, val_every=3, warmup_steps=0)
    run(splits, tmp_path, stored[name], values, MIXED)
    network, before = watched[0]
    after = network.state_dict()
    head = stored[name].create(3).pretrained_cfg["classifier"]
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    trained = {key for key in after if "lora_" in key or key.startswith(f"model.{head}.")}
    if isinstance(tuning, LoRA):  # peft keeps the first head next to the trained one
        trained |= {key for key in after if "modules_to_save" in key}
        trained = {key for key in trained if "original_module" not in key}
        assert any("lora_A" in key for key in trained)
    assert changed == trained
    assert {key for key, p in network.named_parameters() if p.requires_grad} == trained


@pytest.mark.parametrize("tuning", [Probe(), LORA], ids=["probe", "lora"])
@pytest.mark.parametrize("name", ARGS)
def test_nothing_random_or_counted_in_the_backbone_is_in_training_mode(
    name, tuning, stored
) -> None:
    network = tuning.apply(stored[name].create(3)).train()
    kinds = {
        type(module).__name__
        for key, module in network.named_modules()
        if module.training and not list(module.children()) and "lora_" not in key
    }
    assert kinds == set()
    assert network.training
    dropouts = [m for k, m in network.named_modules() if k.endswith("lora_dropout.default")]
    assert all(module.training for module in dropouts)
    assert bool(dropouts) == isinstance(tuning, LoRA)
    assert not any(module.training for module in network.eval().modules())


@pytest.mark.parametrize("tuning", [Probe(), LORA], ids=["probe", "lora"])
@pytest.mark.parametrize("name", ARGS)
def test_the_classifier_is_a_plain_network_of_timm(name, tuning, stored, splits, tmp_path) -> None:
    values = recipe(tuning=tuning, lr=0.05, steps=6, ema_decay=0.5)
    result = run(splits, tmp_path, stored[name], values)
    network = timm.create_model(f"local-dir:{result.classifier}", pretrained=True).eval()
    plain = Classifier(network, recipe(), NoMix(), 3, *stored[name].normalisation, 0, 1)
    pixels = np.stack([np.array(Image.open(row.path)) for row in splits["test"]])
    with torch.inference_mode():
        logits = plain(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    table = pd.read_parquet(result.predictions)
    found = torch.tensor(np.stack(table[table.split == "test"].logits))
    torch.testing.assert_close(logits, found, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ARGS)
def test_a_probe_is_a_linear_layer_on_what_timm_calls_features(name, stored) -> None:
    model = stored[name].create(3).eval()
    images = torch.randn(2, 3, 32, 32)
    probed = Probed(model)
    with torch.no_grad():
        torch.testing.assert_close(probed(images), model(images))
        torch.testing.assert_close(probed(probed.features(images)), model(images))


def test_features_are_computed_once_an_image_and_kept(
    stored, splits, tmp_path, monkeypatch
) -> None:
    counted: list[int] = []
    real = features.compute

    def counting(network, images):
        counted.append(len(images))
        return real(network, images)

    monkeypatch.setattr(features, "compute", counting)
    store, backbone = tmp_path / "store", stored["test_vit"]
    values = recipe(tuning=Probe(), lr=0.1)
    first = run(splits, tmp_path / "a", backbone, values, store=store)
    assert sum(counted) == 9 + 12 + 15
    again = run(splits, tmp_path / "b", backbone, values, store=store)
    run(splits, tmp_path / "c", backbone, recipe(tuning=Probe(), lr=0.2), store=store, seed=1)
    assert sum(counted) == 9 + 12 + 15
    states = load_file(f"{first.classifier}/{WEIGHTS}"), load_file(f"{again.classifier}/{WEIGHTS}")
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    changed = Path(splits["train"][0].path)
    content = changed.read_bytes()
    try:
        Image.new("RGB", (32, 32), "red").save(changed)
        run(splits, tmp_path / "d", backbone, values, store=store)
    finally:
        changed.write_bytes(content)
    assert sum(counted) == 9 + 12 + 15 + 1  # a changed file is a new image
    (folder,) = (store / "features").iterdir()
    assert json.loads((folder / "recipe.json").read_text())["backbone"] == backbone.recipe()


def test_kept_features_give_the_training_that_images_give(stored, splits, tmp_path, monkeypatch):
    values = recipe(tuning=Probe(), optimizer="sgd", lr=0.1)
    kept = run(splits, tmp_path / "a", stored["test_resnet"], values)
    monkeypatch.setattr("sip.classifier.train.can_be_kept", lambda *_: False)
    again = run(splits, tmp_path / "b", stored["test_resnet"], values)
    for ours, theirs in zip(kept.history, again.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    states = load_file(f"{kept.classifier}/{WEIGHTS}"), load_file(f"{again.classifier}/{WEIGHTS}")
    for key in states[0]:
        torch.testing.assert_close(states[0][key], states[1][key], atol=1e-4, rtol=1e-3)


def test_features_come_in_the_order_of_the_images(splits) -> None:
    values = recipe(steps=6)
    rows = splits["train"]
    numbers = torch.arange(9.0)[:, None]
    ours = FeatureStream(numbers, rows, PLAIN, values, 3)
    theirs = Stream(DecodedImages(rows, 32), (), 48, 3)
    assert len(ours) == 6
    seen = torch.cat([ours[step][0][:, 0] for step in range(6)]).long()
    assert torch.equal(seen, theirs.order)
    assert torch.equal(ours[2][1], torch.tensor([rows[n].label for n in seen[16:24]]))
    assert ours.pass_length == theirs.pass_length == 9


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"sample": RANDAUGMENT}, "augmentation.sample changes"),
        ({"base": RANDAUGMENT}, "augmentation.base changes"),
        ({"mix": MoEx(0.9, 1.0, 1e-5)}, "augmentation.mix changes"),
    ],
)
def test_changed_images_are_computed_again_and_it_is_said(
    parts, named, stored, splits, tmp_path, capfd
) -> None:
    augmentation = replace(PLAIN, **parts)
    values = recipe(tuning=Probe(), steps=3)
    run(splits, tmp_path, stored["test_vit"], values, augmentation, store=tmp_path / "store")
    assert named in capfd.readouterr().err
    assert not (tmp_path / "store").exists()


def test_every_default_target_is_in_its_kind_of_network() -> None:
    names = {"VisionTransformer": "vit_tiny_patch16_224", "ConvNeXt": "convnext_atto"}
    expected = {
        "VisionTransformer": {"attn.qkv", "attn.proj"},
        "ConvNeXt": {"mlp.fc1", "mlp.fc2"},
        "ResNet": {"conv1", "conv2", "conv3"},
    }
    for kind in TARGETS:
        with torch.device("meta"):
            model = timm.create_model(names.get(kind.__name__, "resnet26"), num_classes=3)
            network = LORA.apply(model)
        adapted = [key for key, m in network.named_modules() if key.endswith(".lora_A")]
        ends = {".".join(key.split(".")[-3:-1]) for key in adapted}
        wanted = expected[kind.__name__]
        assert {end if "." in wanted.copy().pop() else end.split(".")[-1] for end in ends} == wanted


def test_own_targets_are_ends_of_names(stored) -> None:
    network = LoRA(4, 8, 0.0, ["mlp.fc1"]).apply(stored["test_vit"].create(3))
    adapted = {key for key, _ in network.named_modules() if key.endswith(".lora_A")}
    assert adapted
    assert all(key.endswith("mlp.fc1.lora_A") for key in adapted)


@pytest.mark.parametrize("tuning", [Probe(), LORA], ids=["probe", "lora"])
def test_a_backbone_from_scratch_is_refused(tuning, splits, tmp_path) -> None:
    scratch = Timm("test_vit", None, None, None, 8, 0.0, 32, None, None)
    with pytest.raises(UserError, match="needs a backbone with pre-trained weights, got one") as e:
        run(splits, tmp_path, scratch, recipe(tuning=tuning))
    assert "classifier=scratch" in str(e.value)


@pytest.mark.parametrize(
    ("tuning", "model", "message"),
    [
        (
            LoRA(4, 8, 0.0, ["query"]),
            "test_vit",
            r"tuning.targets: .*such as blocks.*got \['query'\]; No modules were",
        ),
        (LORA, "test_mambaout", r"tuning.targets: .*such as .*; no layers are known for this type"),
        (
            Probe(),
            "deit_tiny_distilled_patch16_224",
            r"one linear layer, got a VisionTransformerDist",
        ),
    ],
)
def test_networks_that_do_not_fit_are_refused(tuning, model, message, stored) -> None:
    with torch.device("meta"):
        network = timm.create_model(model, num_classes=3)
    with pytest.raises(UserError, match=message) as error:
        recipe(tuning=tuning).require(stored["test_vit"], network)
    assert "\n" not in str(error.value)


def test_a_network_that_is_more_than_features_and_a_layer_is_refused(stored) -> None:
    model = stored["test_resnet"].create(3)
    model.register_forward_hook(lambda module, given, logits: logits + 1)
    with pytest.raises(UserError, match="is more than features and one linear layer"):
        compute(Probed(model), torch.zeros(2, 3, 32, 32))

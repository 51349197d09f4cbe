"""A whole build of one step a part: what is trained, kept, generated with it, and measured."""

import errno
import itertools
import json
import multiprocessing
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from omegaconf import DictConfig
from PIL import Image
from torchmetrics.image.kid import poly_mmd
from transformers import AutoTokenizer

from sip.config.build import build as instantiate
from sip.core import interrupt
from sip.core.errors import UserError
from sip.core.files import held
from sip.core.progress import progress
from sip.images.patches import PatchAutoencoder
from sip.jobs.generate import generate
from sip.stack import build, chains, diffusion, distances, generation, parts, quality, sizes
from sip.stack import folder as stack_folder
from sip.stack.card import num_samples
from sip.stack.distances import feature_distances, inception_distances
from sip.stack.folder import reports_of
from sip.stack.judge import LITE0_NAME, judged, load_judge
from sip.stack.measures import pca_psnr, psnr
from sip.stack.sizes import PRESETS, preset
from sip.stack.stack import Stack
from sip.stack.vae import LATENTS, all_latents, encode, vae
from sip.weights.packages import PACKAGES, package_folder
from sip.weights.stacks import LEARNT, stack_remarks
from tests.composing import composed
from tests.stack.made_up import CLASSES, configuration, plain_work, write_parquet
from tests.stack.made_up import image as made_up_image

PARTS = {"vae", "diffusion", "scorer", "captioner", "vit", "judge"}
SMALL_BATCHES = 4  # images a step, to be quick


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def data(place: Path) -> Path:
    return write_parquet(place / "cifar10")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, one step of DDIM less than many, few images."""
    make_quick(monkeypatch)


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:

    for size, one in PRESETS.items():
        training = {
            part: replace(how, batch_size=SMALL_BATCHES) for part, how in one.training.items()
        }
        if size == "small":
            continue
        latents = replace(one.vae, widths=(8, 16, 24)) if size == "tiny" else one.vae
        unet = replace(one.unet, widths=(28, 56), groups=14)
        quick = replace(one, training=training, vae=latents, unet=unet)
        monkeypatch.setitem(PRESETS, size, quick)
    monkeypatch.setattr(generation, "NUM_STEPS", 4)
    monkeypatch.setattr(generation, "NOISE_RATES", (0.5,))
    monkeypatch.setattr(generation, "GUIDANCE_SCALES", (1.0, 5.0))
    monkeypatch.setattr(generation, "PROMPT_RATES", (0.5, 0.9))
    monkeypatch.setattr(diffusion, "SAMPLE_STEPS", 2)


@pytest.fixture(scope="module")
def made(place: Path, data: Path) -> tuple[DictConfig, Path]:
    """A stack with its card, in one process and thread."""
    config, folder = configuration(data, place / "models"), place / "models"
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        build.task(config)
    return config, folder


def test_all_parts_are_there_and_no_checkpoint(made: tuple[DictConfig, Path]) -> None:
    _, folder = made
    reports = reports_of(folder)
    assert set(reports) == PARTS
    assert all(row["steps"] == 1 and row["parameters"] > 1e5 for row in reports.values())
    assert list(folder.rglob("*.ckpt")) == [] and not (folder / LATENTS).exists()
    weights = [file for file in folder.rglob("*") if file.suffix in (".bin", ".pt", ".pth")]
    assert weights == []
    for name in ("diffusion", "vae"):
        with Image.open(folder / "samples" / f"{name}.png") as sheet:
            assert sheet.width > 700
    made_from = json.loads((folder / "stack.json").read_text())
    assert made_from["part"] == "pretrain" and str(folder) not in str(made_from)
    pool = Stack(made[0]).dataset.samples("pretrain")
    assert (folder / LEARNT).read_text().split() == sorted({sample.sha256 for sample in pool})
    for file in folder.rglob("*.json"):
        assert str(folder.parent) not in file.read_text(), file
    tower = timm.create_model(f"local-dir:{folder / 'clip_vit'}", pretrained=True)
    assert tower.patch_embed.patch_size == (4, 4)


def test_every_word_of_the_pool_is_one_token(made: tuple[DictConfig, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made[1] / "scorer")
    for word in (*CLASSES, "background", "grey", "photo"):
        assert len(tokenizer(word).input_ids) == 3, word


def test_the_card_says_what_was_measured(made: tuple[DictConfig, Path]) -> None:
    _, folder = made
    card, measured = (
        (folder / "README.md").read_text(),
        json.loads((folder / "quality.json").read_text()),
    )
    assert card.startswith("# A tiny stack for ")
    assert "64 images with their class names" in card
    assert "with `scale=1e-05`, a share of the preset's steps" in card
    assert "judge (of this card, not of the stack)" in card
    assert "there is no FID and no KID" in card
    assert not any(word in str(measured) for word in ("FID", "KID"))
    assert measured["distribution"]["real images, of"] == "test"
    assert measured["distribution"]["images generated from noise"] == 4
    for part, name in (
        ("autoencoder", "reconstruction, PSNR in dB"),
        ("scorer", "zero-shot accuracy"),
        ("diffusion", "noise rate 0.5: label kept"),
        ("diffusion", "noise rate 0.9, guidance scale 5: label kept"),
        ("diffusion", "noise rate 0.9, another class as prompt: class taken over"),
        ("diffusion", "judge's own accuracy, the ceiling of label kept"),
        ("distribution", "Frechet distance of the judge's features"),
    ):
        assert f"| {name} | {measured[part][name]} |" in card
    assert (folder / "contact_sheet.png").exists()


def test_a_second_start_trains_nothing(
    made: tuple[DictConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = made
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    monkeypatch.setattr(Stack, "pool", lambda self: pytest.fail("the pool was read"))
    build.task(config)
    assert before == {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


def test_other_settings_need_another_folder(made: tuple[DictConfig, Path], data: Path) -> None:
    _, folder = made
    other = configuration(data, folder, "seed=1", "again=[vit]")
    with pytest.raises(
        UserError, match=r"of other settings \(seed 0, now 1\); name another folder"
    ):
        Stack(other).make()
    assert set(reports_of(folder)) == PARTS


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("scale=1", r"scale 1e-05, now 1"),
        ("image_size=64", r"image_size 32, now 64"),
        ("dataset.pretrain_fraction=0.5", r"images 64 \(\w{8}\), now 40 \(\w{8}\)"),
        ("++dataset.prompt_names={frog: toad}", r"classes 2 \(\w{8}\), now 2 \(\w{8}\)"),
    ],
)
def test_what_is_there_is_not_taken_for_another_stack(
    made: tuple[DictConfig, Path], data: Path, override: str, differs: str
) -> None:
    for task in (build.task, quality.task):
        with pytest.raises(UserError, match=rf"of other settings \({differs}\); name another"):
            task(configuration(data, made[1], override))


def test_a_refused_pool_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("sample_id,caption\nx,a thing\n")
    own = f"caption_file={tmp_path / 'own.csv'}"
    with pytest.raises(UserError, match="caption_file: must have a caption for each of 64"):
        build.task(configuration(data, tmp_path / "stack", own))
    assert not (tmp_path / "stack").exists()


def test_own_captions_and_own_images_are_set_together() -> None:
    given = ["caption_file=own.csv", "profile=own", "dataset.root=nowhere"]
    config = composed(*given, name="stack")
    with pytest.raises(UserError, match=r"root: must be a folder"):
        Stack(config).make()


def test_the_next_command_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["profile=own", "profile.name=a b", "size=small", "image_size=64", "dataset.root=x"]
    given.append("paths.store=y")
    monkeypatch.setattr(stack_folder, "command_line", lambda: {"overrides": given})
    config, digits = composed(*given, name="stack"), composed(name="stack")
    assert stack_folder.training_command(config) == (
        "python -m sip.train profile=own 'profile.name=a b' dataset.root=x paths.store=y "
        "profile.size=small profile.image_size=64 profile.generation_size=64 augmentation=sip"
    )
    assert stack_folder.training_command(digits) is None and digits.size == "tiny"
    patch = composed("profile=own", "dataset.root=x", "profile.size=patch", name="stack")
    assert patch.size == "patch" and stack_folder.folder_of(patch) == Path("models/own-patch")


def test_the_engine_generates_with_it(
    made: tuple[DictConfig, Path], data: Path, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [f"paths.{name}={place / name}" for name in ("store", "runs", "data")]
    overrides = [
        "profile=cifar10", "dataset=cifar10_parquet", f"dataset.path={data}", "logger=csv",
        f"profile.stack={made[1]}", "dataset.shots=1", "images.num_steps=4", "metrics=[]",
        "runtime.device=cpu", "dataset.val_fraction=0.5",
    ]  # fmt: skip
    config = composed(*paths, *overrides)
    generate(config)
    assert "models       stack models: a trial with scale=1e-05\n" in capfd.readouterr().err
    (file,) = (place / "runs").glob("generate-*/images.parquet")
    rows = pd.read_parquet(file)
    generated = rows[rows.kind == "generated"]
    assert len(generated) == 2 and set(generated.status) == {"ok"}
    assert set(generated.class_name) == set(CLASSES)
    with Image.open(place / "store" / generated.file.iloc[0]) as image:
        assert image.size == (32, 32)


def test_chosen_parts_are_trained_alone_and_the_others_later(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stack"
    build.task(configuration(data, folder, "size=patch", "parts=[vae,diffusion]"))
    assert "chosen parts are done; missing: scorer, captioner, vit, judge" in capfd.readouterr().err
    assert set(reports_of(folder)) == {"vae", "diffusion"} and not (folder / "README.md").exists()
    index = json.loads((folder / "diffusion" / "model_index.json").read_text())
    assert index["vae"] == ["sip.images.patches", "PatchAutoencoder"]
    monkeypatch.delitem(sys.modules, "sip.images.patches")  # as in a process that measures only
    pipelines = generation.StockPipelines(folder, "cpu", progress("card", 1, "image"))
    assert type(pipelines.img2img.vae).__name__ == "PatchAutoencoder"
    assert Stack(configuration(data, folder, "size=patch")).to_train() == [
        "scorer", "captioner", "vit", "judge",
    ]  # fmt: skip
    for override, message in (
        ("parts=[unet]", "parts: must be some of vae, .*judge, got unet"),
        ("parts=diffusion", "parts: must have vae with diffusion, .*got diffusion; add vae"),
        (
            "parts=vit,again=judge",
            r"again: must be some of parts \(vit\), got judge; add it to parts",
        ),
    ):
        with pytest.raises(UserError, match=message):
            Stack(configuration(data, tmp_path / "other", *override.split(","))).to_train()


def test_an_unlabelled_stack_names_no_class(data: Path, tmp_path: Path) -> None:
    config = configuration(data, tmp_path / "stack", "labels=false")
    stack = Stack(config)
    assert stack.parts == ["vae", "diffusion", "scorer", "captioner"]
    build.task(config)
    files = (tmp_path / "stack").rglob("*.json")
    assert not any(name in file.read_text() for file in files for name in CLASSES)
    card = (tmp_path / "stack" / "README.md").read_text()
    assert "without class names" in card and "label kept" not in card
    assert "stated attributes found" in card


def test_without_a_card_nothing_is_measured(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stack"
    monkeypatch.setattr("sip.stack.card.measure", lambda *_: pytest.fail("it was measured"))
    build.task(configuration(data, folder, "labels=false", "card=false"))
    assert "done without a model card; python -m sip.stack.quality" in capfd.readouterr().err
    assert not (folder / "README.md").exists() and (folder / "scorer").is_dir()
    line = "stack stack: a trial with scale=1e-05; no model card: its quality is not measured"
    assert stack_remarks([f"{folder}/scorer", f"{folder}/diffusion", "openai/clip"]) == [line]
    (folder / "README.md").touch()
    made_from = json.loads((folder / "stack.json").read_text())
    (folder / "stack.json").write_text(json.dumps(made_from | {"scale": 1.0}))
    assert stack_remarks([f"{folder}/scorer", "sip/miniature/scorer"]) == []


def test_all_broken_files_are_named_at_once(tmp_path: Path) -> None:
    for number in range(4):
        for part in ("train", "val"):
            file = tmp_path / "own" / part / CLASSES[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(made_up_image(number % 2, number))
    for name in ("a.png", "b.png"):
        (tmp_path / "own" / "train" / CLASSES[0] / name).write_bytes(b"broken")
    given = ["dataset=image_folder", f"dataset.root={tmp_path / 'own'}", f"folder={tmp_path / 's'}"]
    config = composed(*given, "scale=1.0e-5", "runtime.device=cpu", name="stack")
    skipped = composed(*given, "dataset.broken=skip", name="stack")
    line = r"got 2 of 10 that are not: (?=.*/a\.png )(?=.*/b\.png ).*dataset.broken=skip"
    with pytest.raises(UserError, match=line):
        Stack(config).make()
    assert not (tmp_path / "s").exists()
    assert len(Stack(skipped).pool().images) == 3  # of 4 in train, one of which is broken


def test_images_of_one_class_are_learnt_without_it(tmp_path: Path) -> None:
    for part, number in itertools.product(("train", "val"), range(2)):
        file = tmp_path / "own" / part / "all" / f"{part}{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(made_up_image(0, 10 * len(part) + number))
    given = ["dataset=image_folder", f"dataset.root={tmp_path / 'own'}", f"folder={tmp_path / 's'}"]
    config = composed(*given, "scale=1.0e-5", "runtime.device=cpu", name="stack")
    line = r"labels: must be false for images of one class, got true \(all\); set labels=false"
    with pytest.raises(UserError, match=line):
        Stack(config).make()
    assert not (tmp_path / "s").exists()
    config.labels = False
    assert Stack(config).made_from["classes"] is None


def test_a_late_build_stops_and_goes_on(data: Path, tmp_path: Path, capfd: Any) -> None:
    config = configuration(data, tmp_path / "stack", "time_limit=1.0e-3", "labels=false")
    build.task(config)
    line = "time limit reached; missing: vae, diffusion, scorer, captioner, card; the same command"
    assert line in capfd.readouterr().err
    assert reports_of(tmp_path / "stack") == {}


def test_again_makes_a_part_again(
    made: tuple[DictConfig, Path], data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stack"
    shutil.copytree(made[1], folder)
    assert Stack(configuration(data, folder, "again=[vae]")).missing() == ["vae", "diffusion"]
    with pytest.raises(UserError, match=r"again: must be some of vae, .* or all, got unet"):
        Stack(configuration(data, folder, "again=[unet]")).missing()
    stack = Stack(configuration(data, folder, "again=judge"))
    old = (folder / "judge.safetensors").stat().st_mtime_ns
    assert stack.make() == []
    assert (folder / "judge.safetensors").stat().st_mtime_ns > old
    assert not (folder / "README.md").exists()  # the card was of the judge before


def test_all_again_takes_no_part_of_other_settings(
    made: tuple[DictConfig, Path], data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stack"
    shutil.copytree(made[1], folder)
    assert Stack(configuration(data, folder, "seed=1", "again=[all]", "parts=[vit]")).make() == []
    assert set(reports_of(folder)) == {"vit"}
    assert Stack(configuration(data, folder, "seed=1")).to_train() == [
        "vae", "diffusion", "scorer", "captioner", "judge",
    ]  # fmt: skip


def test_a_folder_is_trained_by_one_process(
    made: tuple[DictConfig, Path], data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stack"
    shutil.copytree(made[1], folder)
    with held(folder), pytest.raises(UserError, match="folder: must be trained by one process, go"):
        Stack(configuration(data, folder, "again=judge")).make()
    assert set(reports_of(folder)) == PARTS


def test_another_judge_is_trained_alone(
    made: tuple[DictConfig, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(PACKAGES[LITE0_NAME].module)
    folder = tmp_path / "stack"
    shutil.copytree(made[1], folder)
    few = replace(sizes.LITE0_JUDGE, batch_size=SMALL_BATCHES)
    monkeypatch.setattr(sizes, "LITE0_JUDGE", few)
    assert Stack(configuration(data, folder, "judge=scratch")).missing() == []
    stack = Stack(configuration(data, folder, "judge=lite0"))
    assert stack.missing() == ["judge"] and stack.make() == []
    assert reports_of(folder)["judge"]["network"] == "lite0"
    kept = Stack(configuration(data, folder))  # null: as trained
    assert kept.missing() == []
    assert Stack(configuration(data, folder, "judge=scratch")).missing() == ["judge"]

    judge = load_judge(folder, kept.preset, 2, "cpu")
    imagenet = timm.create_model(f"local-dir:{package_folder(LITE0_NAME)}", pretrained=True)
    change = judge.network.conv_stem.weight - imagenet.conv_stem.weight
    assert 0 < change.abs().max() < 1e-3  # one step from ImageNet's
    pixels = stack.pool().pixels(torch.arange(8))
    labels, features = judged(judge, pixels)
    with torch.inference_mode():
        assert labels.equal(judge(pixels).argmax(1)) and features.shape == (8, 1280)
    with pytest.raises(UserError, match="judge: must be scratch, lite0 or null, got 'vit'"):
        Stack(configuration(data, folder, "judge=vit"))


def test_lite0_distances_are_those_of_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(PACKAGES[LITE0_NAME].module)
    images = torch.rand(3, 8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    monkeypatch.setattr(distances, "KID_SIZE", 4)
    found = distances.lite0_distances(images[0], images[1] * 0.3, "cpu")
    network = timm.create_model(f"local-dir:{package_folder(LITE0_NAME)}", pretrained=True).eval()
    large = torch.nn.functional.interpolate(images[0], 128, mode="bicubic", antialias=True)
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(large.clamp(-1, 1)), True)
    real = distances.lite0_features(images[0], "cpu")
    torch.testing.assert_close(real, expected, atol=1e-3, rtol=1e-3)
    other = distances.lite0_features(images[1] * 0.3, "cpu")
    kernel = poly_mmd(real, other).item()
    assert found["kernel distance, lite0 features"] == pytest.approx(kernel, abs=2e-5)
    blocks = [poly_mmd(real[rows], other[rows]).item() for rows in (slice(0, 4), slice(4, 8))]
    error = abs(blocks[0] - blocks[1]) / 2  # sqrt(2) times the deviation of two, over sqrt(2)
    assert found["its standard error, by blocks"] == pytest.approx(error, abs=2e-5)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_chains_side_by_side_come_to_the_same_weights(
    made: tuple[DictConfig, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "threads", lambda: 2)
    monkeypatch.setattr(chains, "START", "fork")  # which has imported everything
    stack = Stack(configuration(data, tmp_path / "stack"))
    assert stack.make() == []
    files = [file.relative_to(made[1]) for file in made[1].rglob("*.safetensors")]
    assert len(files) == 8
    for file in files:
        assert (made[1] / file).read_bytes() == (tmp_path / "stack" / file).read_bytes(), file


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_chain_that_fails_is_named_and_the_other_one_ends(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(task: parts.Task) -> dict:
        raise UserError("no luck")

    monkeypatch.setattr(chains, "threads", lambda: 2)
    monkeypatch.setattr(chains, "START", "fork")
    monkeypatch.setitem(parts.MAKERS, "captioner", broken)
    stack = Stack(configuration(data, tmp_path / "stack", "labels=false"))
    with pytest.raises(UserError, match="^scorer: the process failed, see above; the same command"):
        stack.make()
    assert set(reports_of(tmp_path / "stack")) == {"vae", "diffusion", "scorer"}


def plain_task(folder: Path) -> parts.Task:
    return parts.Task(None, preset("tiny", strokes=False), 0, plain_work(folder))  # type: ignore[arg-type]


def forked(target: Any, *args: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=target, args=args)
    process.start()
    return process


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 10
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert file.exists()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_chain_stops_once_the_build_that_started_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trains(task: parts.Task) -> dict:
        (tmp_path / "begun").touch()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if interrupt.stop_requested():
                (tmp_path / "stopped").touch()
                interrupt.raise_if_stopped()
            time.sleep(0.01)
        return {}

    monkeypatch.setitem(parts.MAKERS, "vae", trains)
    task = plain_task(tmp_path)
    build = forked(lambda: forked(chains._child, ("vae",), task, 1).join())
    wait_for(tmp_path / "begun")
    build.kill()
    wait_for(tmp_path / "stopped")
    assert reports_of(tmp_path) == {}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_full_disk_is_one_line_of_a_chain_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(task: parts.Task) -> dict:
        raise OSError(errno.ENOSPC, "No space left on device", "vae.ckpt")

    monkeypatch.setitem(parts.MAKERS, "vae", full)
    child = forked(chains._child, ("vae",), plain_task(tmp_path), 1)
    child.join()
    said = capfd.readouterr().err
    assert child.exitcode == 1 and "Traceback" not in said
    assert "error: cannot use vae.ckpt: the disk is full; make room" in said


def test_quality_asks_for_a_whole_stack(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="card: must be of a whole stack, got .* without vae, diff"):
        quality.task(configuration(data, tmp_path / "nothing"))
    assert (num_samples("auto", "cpu"), num_samples("auto", "cuda")) == (1000, 10000)
    assert (num_samples("auto", "cpu", 0.005), num_samples("auto", "cuda", 0.5)) == (50, 5000)
    with pytest.raises(UserError, match="num_samples: must be auto, or a whole number >= 2, got 1"):
        num_samples(1, "cpu")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("size=huge", "size: must be one of tiny, patch, small, got 'huge'"),
        ("image_size=48", "image_size: must be 32 or 64, got 48"),
        ("labels=auto", "labels: must be true or false, got 'auto'"),
        ("mirror=maybe", "mirror: must be true or false or auto, got 'maybe'"),
        ("scale=0", "scale: must be a number > 0, got 0"),
        ("scale=inf", "scale: must be a number > 0, got inf"),
        ("scale=nan", "scale: must be a number > 0, got nan"),
        ("time_limit=-1", "time_limit: must be seconds > 0, or null, got -1"),
        ("save_every=often", "save_every: must be seconds >= 0, got 'often'"),
        ("again=7", r"again: must be a list of parts, got 7; write again=\[vae\]"),
        ("parts=[7]", r"parts: must be a list of parts, got \[7\]; write parts=\[vae\]"),
        ("folder=/proc/stack", "folder: must be a folder that can be made and written, got /proc"),
    ],
)
def test_wrong_values_are_refused_before_any_work(
    data: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Stack(configuration(data, tmp_path / "stack", override)).make()
    assert not (tmp_path / "stack").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_samples=many", "num_samples: must be auto, or a whole number >= 2, got 'many'"),
        ("dataset.val_fraction=0", "dataset: must have images in val to measure the stack on, got"),
        ("logger=mlflow", "logger: must be csv or wandb for a stack, got 'mlflow'; choose logger="),
    ],
)
def test_what_would_fail_after_the_training_is_refused_before_it(
    data: Path, tmp_path: Path, override: str, message: str
) -> None:
    settings = configuration(data, tmp_path / "stack", "dataset.pretrain_fraction=null", override)
    with pytest.raises(UserError, match=message):
        build.task(settings)
    assert not (tmp_path / "stack").exists()


@pytest.mark.parametrize("size", PRESETS)
@pytest.mark.parametrize("image_size", [32, 64])
def test_latents_have_the_presets_side(size: str, image_size: int) -> None:
    chosen = preset(size, strokes=False)
    with torch.device("meta"):
        if size == "patch":
            model = PatchAutoencoder(chosen.vae.levels(image_size), chosen.vae.channels)
        else:
            model = vae(chosen, image_size)
        latents = model.encode(torch.empty(1, 3, image_size, image_size)).latent_dist.mean
    assert tuple(latents.shape[1:]) == (chosen.vae.channels, chosen.vae.side, chosen.vae.side)


def test_latents_are_encoded_once_and_again_for_another_autoencoder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Stack(configuration(data, tmp_path)).pool()
    work, model = plain_work(tmp_path), vae(preset("tiny", strokes=False)).eval()
    first = all_latents(model, pool, work)
    assert len(first[0]) == 128
    calls = []
    monkeypatch.setattr("sip.stack.vae.encode", lambda *a: calls.append(1) or encode(*a))
    again = all_latents(model, pool, work)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True)) and not calls
    with torch.no_grad():
        model.encoder.conv_in.bias += 1
    other = all_latents(model, pool, work)
    assert calls and not torch.equal(other[0], first[0])


def test_pca_is_that_of_sklearn() -> None:
    from sklearn.decomposition import PCA

    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(6, 3, 8, 8, generator=generator) * 2 - 1
    patches = pixels.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48)
    model = PCA(5).fit(patches.numpy())
    restored = torch.from_numpy(model.inverse_transform(model.transform(patches.numpy())))
    errors = ((restored.clamp(-1, 1) - patches) / 2).pow(2).view(6, -1).mean(1)
    expected = (-10 * errors.log10()).mean().item()
    assert pca_psnr(pixels, 4, 5) == pytest.approx(expected, abs=1e-3)


def test_psnr_is_that_of_torchmetrics() -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(3, 3, 8, 8, generator=generator) * 2 - 1 for _ in range(2))
    expected = [
        peak_signal_noise_ratio((a + 1) / 2, (b + 1) / 2, data_range=1.0).item()
        for a, b in zip(first, second, strict=True)
    ]
    assert psnr(first, second).tolist() == pytest.approx(expected, rel=1e-5)


class Flat(torch.nn.Module):
    """A network in place of Inception: 6 numbers an image."""

    num_features = 6

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(pixels.float(), (2, 1)).flatten(1)


@pytest.mark.filterwarnings("ignore")
def test_distances_agree_with_torchmetrics() -> None:
    pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.rand(64, 3, 8, 8, generator=generator) * 2 - 1 for _ in range(2))
    distances = inception_distances(real, fake * 0.5, "cpu", Flat())
    features = [Flat()((images + 1) / 2).double() for images in (real, fake * 0.5)]
    ours = feature_distances({"toy": features[0]}, {"toy": features[1]})
    assert distances["FID"] == pytest.approx(
        ours["Frechet distance of the toy's features"], abs=0.006
    )


def test_the_digits_stack_is_as_it_was() -> None:
    stack = Stack(composed("folder=sip/miniature", name="stack"))
    assert stack.is_digits and not stack.mirrored
    assert not Stack(composed("caption_file=own.csv", name="stack")).mirrored
    assert {part: how.steps for part, how in stack.preset.training.items() if part != "judge"} == {
        "vae": 600, "diffusion": 4000, "scorer": 2800, "captioner": 2000, "vit": 1500,
    }  # fmt: skip
    assert instantiate(stack.config.dataset).all_splits[0] == "pretrain"

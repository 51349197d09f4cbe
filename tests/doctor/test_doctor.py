"""The doctor finds what is there and what is missing, and changes nothing."""

import os
import subprocess
import sys
from collections import namedtuple
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from sip.config.provenance import Recorded
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.threads import num_cores
from sip.doctor import accounts, contents, machine, packages, speed
from sip.doctor.__main__ import _guarded, task
from sip.doctor.base import MISSING, NOTE, OK, Finding
from sip.weights import hub
from tests.composing import composed
from tests.dataset.trees import write_image

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef01234567"


def config(*overrides: str, name: str = "doctor") -> DictConfig:
    return composed(*overrides, name=name)


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and a hub that must not be asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))


@pytest.fixture
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without keys."""
    for name in (*accounts.VARIABLES, "NETRC", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_it_takes_every_command_line_of_the_main_job() -> None:
    doctor, main = config(), config(name="config")
    assert set(doctor) == {*main, "all", "speed"}
    for key in main:
        assert doctor[key] == main[key], key
    chosen = config("+exp=vit_sip", "profile=paper", "dataset=oxford_pets", "seed=3")
    assert chosen.backbone.name == "vit_base_patch16_224.augreg_in21k"


def test_the_embedded_profile_is_complete(no_hub: None, tmp_path: Path) -> None:
    embedded = config(f"paths.data={tmp_path / 'data'}")
    found = [*contents.weights(embedded), *contents.data(embedded)]
    assert {finding.state for finding in found} == {OK}
    named = [f"{finding.name}: {finding.text}" for finding in found]
    assert "images: sip/miniature/diffusion: here" in named
    sizes = "10 classes; images: train 50, val 160, test 477; listed, not decoded: no image files"
    assert f"data set: custom: {sizes}" in named  # "digits" where Hydra made the choice
    (each,) = [text for text in named if text.startswith("per class: ")]
    assert "train/val/test: zero 5/16/46, one 5/16/50, " in each
    assert not (tmp_path / "data").exists() and not (tmp_path / "hub").exists()


def test_every_gap_of_the_paper_profile_has_its_command(no_hub: None, tmp_path: Path) -> None:
    paper = config("profile=paper", "augmentation=sip", f"paths.data={tmp_path / 'data'}")
    found = {
        finding.name: finding for finding in contents.weights(paper) if finding.state == MISSING
    }
    sd15 = paper.profile.diffusion
    command = f"hf download {sd15.model} --revision {sd15.revision} --include "
    assert found["images"].command.startswith(command)
    assert found["captions"].command.startswith("hf download Salesforce/blip-image-captioning-base")
    assert found["scores"].command.startswith("hf download openai/clip-vit-base-patch32")
    assert (
        "about 4.3 GB; looked in " in found["images"].text
        and "hf download" not in found["images"].text
    )
    assert set(found) == {"captions", "scores", "images"}  # resnet50 starts from scratch
    (data,) = contents.data(paper)
    assert data.state == MISSING and "cannot read the data set cifar10" in data.text
    assert data.command.endswith("dataset.download=true plan=true")
    assert "is the default of profile=paper, for your own images: dataset=image_fol" in data.text
    assert hub.may_download and not (tmp_path / "data").exists()


def test_a_stage_that_lacks_several_models_names_each(no_hub: None) -> None:
    paper = config("profile=paper", "augmentation=sip", "images=sd15_depth")
    found = {f.name: f for f in contents.weights(paper) if f.state == MISSING}
    assert set(found) == {
        *("captions", "scores", "images", "images.condition", "images.controlnet")
    }
    command = "hf download lllyasviel/control_v11f1p_sd15_depth --revision "
    assert found["images.controlnet"].command.startswith(command)


def test_a_chosen_backbone_is_needed(no_hub: None) -> None:
    found = list(contents.weights(config("profile=paper", "backbone=vit")))
    (missing,) = [f for f in found if f.name == "backbone" and f.state == MISSING]
    model = "timm/vit_base_patch16_224.augreg_in21k"
    assert missing.command.startswith(f"hf download {model} --revision main --include")


def test_only_what_the_configuration_uses_is_checked(no_hub: None) -> None:
    def states(*overrides: str) -> dict[str, str]:
        return {f.name: f.state for f in contents.weights(config("profile=paper", *overrides))}

    assert states("augmentation=randaugment") == {
        **dict.fromkeys(("captions", "scores", "images"), NOTE),  # sip.generate needs them
        "backbone": OK,
    }
    label = states("augmentation=sip", "prompts=label", "prompts/guidance=constant")
    assert label == {"images": MISSING, "backbone": OK}
    filtered = states(
        *("augmentation=sip", "prompts=label", "prompts/guidance=constant"),
        *("filter=similarity", "backbone=vit"),
    )
    assert filtered == dict.fromkeys(("scores", "images", "backbone"), MISSING)
    others = list(contents.other_backbones(config("profile=paper")))
    vit = "hf download timm/vit_base_patch16_224.augreg_in21k --revision main --include"
    states_of_others = [f.state for f in others]
    assert states_of_others.count(NOTE) >= len(others) - 1  # lite0's weights are in a package
    assert any(f.command.startswith(vit) for f in others)
    texts = "\n".join(f.text for f in others)
    assert "timm/vit_base_patch16_224.augreg_in21k, revision main (not pinned)" in texts
    assert "deit_small_patch16_224.fb_in1k, revision 91327a9c99;" in texts


def test_images_are_counted_and_broken_ones_named(tmp_path: Path) -> None:
    for number in range(20):
        write_image(tmp_path / "images" / "cat" / f"{number}.png", number)
    write_image(tmp_path / "images" / "dog" / "0.png", 20)
    (tmp_path / "images" / "dog" / "1.png").write_text("no image")
    index = tmp_path / "index.parquet"
    words = [
        "dataset=image_folder",
        f"dataset.root={tmp_path / 'images'}",
        f"dataset.index={index}",
    ]
    whole, each, broken, *notes, prompt = contents.data(config(*words))
    assert (prompt.state, prompt.text) == (OK, "such as 'a photo of a cat, <caption>'")
    assert whole.text.endswith("2 classes; images: train 15, val 2, test 4; and 1 unreadable image")
    assert each.text == "train/val/test: cat 14/2/4, dog 1/0/0"
    assert broken.state == MISSING
    assert broken.text == (
        "1 unreadable image: dog/1.png (cannot identify image file); fix or delete them, or leave "
        "them out with dataset.broken=skip"
    )
    assert [note.text for note in notes] == [
        f"classes without a {part} image: 1 of 2 (dog)" for part in ("val", "test")
    ]
    broken = list(contents.data(config(*words, "dataset.broken=skip")))[2]
    assert broken.state == NOTE and broken.text.endswith("left out, as dataset.broken=skip says")


def test_copies_across_parts_and_class_names_that_are_no_words_are_notes(tmp_path: Path) -> None:
    for number, name in enumerate(("train/1/a", "train/1/b", "train/2/c", "train/2/d", "val/1/e")):
        write_image(tmp_path / f"{name}.png", number)
    (tmp_path / "test" / "2").mkdir(parents=True)
    copy = (tmp_path / "train" / "1" / "a.png").read_bytes()
    (tmp_path / "test" / "2" / "f.png").write_bytes(copy)
    words = ["dataset=image_folder", f"dataset.root={tmp_path}", "dataset.index=null"]
    notes = [finding.text for finding in contents.data(config(*words)) if finding.state == NOTE]
    assert (
        "copies of training images in test: 1 of 1 images (test/2/f.png = train/1/a.png); "
        "delete one of each two"
    ) in notes
    assert "1 image in more than one class (train/1/a.png (1) = test/2/f.png (2)); " in "".join(
        notes
    )
    assert notes[-2:] == [
        "such as 'a photo of a 1, <caption>'",
        "class names that are no words: 2 of 2 (1, 2); prompts would contain them; to name the "
        """classes: 'dataset.prompt_names={1: "words for 1", 2: "words for 2"}'""",
    ]


def test_a_local_folder_is_looked_into(no_hub: None, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text("{}")
    found = list(
        contents.weights(config(f"profile.scorer.model={tmp_path / 'clip'}", "augmentation=sip"))
    )
    (scores,) = [finding for finding in found if finding.state != OK]
    assert (scores.name, scores.state, scores.command) == ("scores", MISSING, None)
    assert f"model folder {tmp_path / 'clip'}: expected *.safetensors, found none" in scores.text


def test_an_object_store_is_named_with_its_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIP_CACHE", "")  # what the check sets is undone
    monkeypatch.setenv("SIP_CACHE_GIB", "")
    overrides = ["paths.store=s3://bucket/prefix", f"paths.cache={tmp_path / 'cache'}"]
    found = {finding.name: finding for finding in machine.disks(config(*overrides))}
    assert list(found) == ["paths.store", "paths.runs", "paths.data", "paths.cache"]
    assert found["paths.store"].state == NOTE and "s3://bucket/prefix" in found["paths.store"].text
    assert str(tmp_path / "cache") in found["paths.cache"].text


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.folder("store", tmp_path / "a" / "b", "paths.store=x")
    assert found.state == OK and f"{tmp_path / 'a' / 'b'}, created when needed; " in found.text
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    found = machine.folder("store", tmp_path / "file" / "b", "paths.store=x")
    assert (found.state, found.command) == (MISSING, "paths.store=x") and "is a file" in found.text
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage(10**12, 10**12, 5 * 10**8))
    found = machine.folder("store", tmp_path, "paths.store=x")
    assert found.state == NOTE and found.text.endswith("0.5 GB free")
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    found = machine.folder("store", tmp_path, "paths.store=x")
    assert found.state == MISSING and "is not writable" in found.text


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(machine, "DRIVER", Path("/nowhere"))
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    (found,) = machine.device(config())
    assert found.state == OK and f"cpu: {num_cores()} CPU cores" in found.text
    (found,) = machine.device(config("profile=paper"))
    assert found.state == NOTE and "profile=paper is made for one" in found.text
    (found,) = machine.device(config("runtime.device=cuda"))
    assert found.state == MISSING and "runtime.device=cuda asks for one" in found.text
    (found,) = machine.device(config("runtime.device=mps"))
    assert found.state == MISSING and "got 'mps'" in found.text
    monkeypatch.setattr(machine.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    (found,) = machine.device(config())
    assert (found.state, found.command) == (NOTE, "nvidia-smi")


def test_a_gpu_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    card = namedtuple("card", "name")("H100")
    for name, value in {
        **{"is_available": True, "device_count": 1, "get_device_properties": card},
        **{"mem_get_info": (2**30, 2**31), "is_bf16_supported": True},
    }.items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_, value=value: value)
    (found,) = machine.device(config("runtime.device=cuda:0"))
    assert found.state == OK and found.text.startswith("cuda:0: H100, 1.0 of 2.0 GiB free")
    _, found = machine.device(config("runtime.device=cuda:1"))
    assert found.state == MISSING and "got 'cuda:1'; torch " in found.text


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available", lambda: 2**30)
    (found,) = machine.memory()
    assert found.state == NOTE and found.text.startswith("1.0 GiB free")


def test_logger(no_login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*overrides: str) -> Finding:
        (found,) = accounts.logger(config(*overrides))
        assert KEY not in found.lines()
        return found

    assert (look("logger=csv").text, look().state) == ("csv", OK)
    assert look().text == "wandb, offline; `wandb sync` uploads runs later"
    online = look("logger.mode=online")
    assert (online.state, online.command) == (MISSING, "wandb login")
    (no_login / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    assert look("logger.mode=online").text == (f"wandb, online; logged in by {no_login / '.netrc'}")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert look("logger.mode=online").state == MISSING
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert look().text == "wandb, offline; logged in by WANDB_API_KEY"
    monkeypatch.setattr(accounts, "find_spec", lambda name: None)
    missing = look("logger=mlflow")
    assert missing.state == MISSING and missing.command.endswith("[mlflow]'")


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    true = metadata.version

    def version(name: str) -> str:
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        known = {"torch": "2.0.1", "sip-augmentation": "0.1.0"}
        return known.get(name) or true(name)

    about = Message()
    for extra in ("lora", "test"):
        about["Provides-Extra"] = extra
    needs = ["torch<3,>=2.9", "numpy>=2", 'peft>=0.17; extra == "lora"', 'pytest; extra == "test"']
    monkeypatch.setattr(packages.metadata, "version", version)
    monkeypatch.setattr(packages.metadata, "metadata", lambda _: about)
    monkeypatch.setattr(packages.metadata, "requires", lambda _: needs)
    found = {finding.name: finding for finding in (*packages.findings(), *packages.extras())}
    assert found["packages"].state == MISSING
    assert found["packages"].text == "torch: must be <3,>=2.9, got 2.0.1"
    assert found["packages"].command == "pip install 'torch<3,>=2.9'"
    assert found["extras"].state == NOTE and "lora (peft is not installed)" in found["extras"].text
    assert found["extras"].command == install_extras("lora")
    needs[0] = "torch>=2,<3"
    assert next(f for f in packages.findings() if f.name == "packages").state == OK


def test_code_that_is_not_installed_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    def metadata_of(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "metadata", metadata_of)
    monkeypatch.setattr(packages.metadata, "requires", metadata_of)
    *_, found = packages.findings()
    assert list(packages.extras()) == []
    assert (found.state, found.command) == (NOTE, "pip install -e .")


def test_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    monkeypatch.setattr(speed, "NUM_IMAGES", 2)
    monkeypatch.chdir(tmp_path)
    plain = config("runtime.device=cpu")
    quick = config("images.num_steps=4", "prompts.noise_rate=0.5")
    generation, training = speed.speed(plain, quick)
    assert "images/s on cpu with the miniature model: 32 px, 4 U-Net evaluations" in generation.text
    assert float(generation.text.split()[0]) > 0
    assert training.text.endswith("ms a step on cpu: resnet50, 32 images of 32 px")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_looked_at_is_a_finding_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, no_login: Path
) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")  # as `task` sets them; put back afterwards

    def broken(*_: object) -> Any:
        raise ImportError("libcudart.so.13: cannot open\nshared object file", name="torch._C")

    for module, name in ((machine, "device"), (contents, "weights"), (packages, "findings")):
        monkeypatch.setattr(module, name, broken)
    gaps = "see what is marked MISSING: packages, device, weights; the lines with -> say how"
    with pytest.raises(UserError, match=gaps):
        task(config())
    lines = capsys.readouterr().out.splitlines()
    assert (
        "MISSING  device       ImportError: libcudart.so.13: cannot open shared object file"
        in lines
    )
    assert f"{'':<22}-> pip install --force-reinstall torch" in lines
    assert any(line.startswith("         logger       wandb, offline") for line in lines)


def test_the_last_line_refers_to_no_command_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sip.doctor.__main__.examine", lambda _: [Finding("broken", MISSING, "x")])
    with pytest.raises(UserError, match="marked MISSING: broken; the lines say what to do$"):
        task(config())


def test_the_command_names_the_gaps_and_shows_no_key(tmp_path: Path) -> None:
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HOME": str(tmp_path / "hf"),
        "WANDB_API_KEY": KEY,
    }
    command = [sys.executable, "-m", "sip.doctor", "profile=paper", "augmentation=sip"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith(
        "error: profile=paper is not ready, see what is marked MISSING: captions, "
    )
    assert done.stderr.count("\n") == 1
    assert done.stdout.count("-> hf download ") >= 3
    assert "data set     dataset: cannot read the data set cifar10" in done.stdout
    assert KEY not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_answers_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "sip.doctor", "--help"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("SIP: list what a configuration needs")
    assert "| torch" not in done.stderr and "profile: cifar10, embedded, own, paper" in done.stdout


def test_a_uri_of_a_folder_is_a_folder(tmp_path: Path) -> None:
    found = {f.name: f for f in machine.disks(config(f"paths.store=file://{tmp_path}/store"))}
    assert found["paths.store"].text.startswith(f"{tmp_path}/store, created when needed; ")


def test_the_download_goes_where_the_command_line_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = [f"paths.data={tmp_path}", "dataset=dtd", "dataset.shots=2", "augmentation=sip"]
    given += ["all=true", "dataset.download=false", "+paths.cache=/x"]
    line = Recorded(overrides=given)
    monkeypatch.setattr("sip.config.provenance.recorded", lambda: line)
    (data,) = contents.data(config("dataset=dtd", f"paths.data={tmp_path}"))
    assert data.command == (
        f"python -m sip.generate profile=embedded dataset=custom paths.data={tmp_path} "
        "dataset.shots=2 +paths.cache=/x dataset.download=true plan=true"
    )


def test_a_gpu_that_does_not_answer_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_: int) -> None:
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", busy)
    (found,) = _guarded("device", lambda: machine.device(config()))
    assert found.state == MISSING and found.text.startswith("RuntimeError: CUDA error: all CUDA-")

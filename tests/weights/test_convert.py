"""Models that are only there as pickles: converted once, equal to the bit; no code is run."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTextModel

from sip.core.errors import DamagedError, UserError
from sip.pipeline.plan import nothing_downloaded
from sip.weights import __main__ as command
from sip.weights import source
from sip.weights.checksums import check_hub, sha256_of
from sip.weights.convert import whole_folder
from sip.weights.loaded import LoadedWeights
from sip.weights.missing import MissingWeightsError
from sip.weights.pickles import read_pickle
from sip.weights.pretrained import load_transformer
from tests.weights.test_safety import Bomb

MINIATURE = source.PACKAGE_PARENT / "sip" / "miniature"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the hub of its own, offline, and a cache of the user's next to it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def pickled(source_folder: Path, folder: Path, shards: int = 1) -> Path:
    """Copy a model with its weights as `pytorch_model.bin`, or in shards with their index."""
    shutil.copytree(source_folder, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return folder
    names = sorted(weights)
    where = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = {name: weights[name] for name in names[number::shards]}
        torch.save(part, folder / file)
        where |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def snapshot(home: Path, folder: Path, name: str, revision: str) -> Path:
    """Put a model into the hub's cache as its client does: blobs named by SHA-256, and a ref."""
    repo = home / "hf" / "hub" / f"models--{name.replace('/', '--')}"
    made = repo / "snapshots" / ("0123456789" * 4)
    (repo / "blobs").mkdir(parents=True)
    ref = repo / "refs" / revision
    ref.parent.mkdir(parents=True)
    ref.write_text(made.name)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            blob = repo / "blobs" / sha256_of(file)
            shutil.copyfile(file, blob)
            target = made / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(os.path.relpath(blob, target.parent))
    return made


@pytest.mark.parametrize("shards", [1, 3])
def test_a_model_with_pickles_is_converted_once(places, capfd, shards):
    folder = pickled(MINIATURE / "scorer", places / "clip", shards)
    before = source.weights_recipe(str(folder), None)
    source.require(str(folder), None)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and "converted to safetensors without running code, " in said[0]
    copy = source.weights_folder(str(folder), None)
    assert copy.parent == places / "hf" / "sip" and not list(copy.glob("*.bin*"))
    expected = load_file(MINIATURE / "scorer" / "model.safetensors")
    found = {k: v for file in copy.glob("*.safetensors") for k, v in load_file(file).items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(list(copy.glob("*.safetensors"))) == shards
    network = load_transformer(CLIPModel, str(folder), None, "float32", "cpu")
    stock = CLIPModel.from_pretrained(MINIATURE / "scorer", dtype=torch.float32)
    state = stock.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())

    capfd.readouterr()
    source.require(str(folder), None)
    assert capfd.readouterr().err == ""
    assert source.weights_recipe(str(folder), None) == before
    assert {file.name for file in folder.iterdir()} & {"model.safetensors"} == set()


def test_other_weights_are_another_model_with_a_copy_of_their_own(places):
    folder = pickled(MINIATURE / "scorer", places / "clip")
    source.require(str(folder), None)
    first, recipe = (
        source.weights_folder(str(folder), None),
        source.weights_recipe(str(folder), None),
    )
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["logit_scale"] += 1
    torch.save(weights, folder / "pytorch_model.bin")
    assert source.weights_recipe(str(folder), None) != recipe
    source.require(str(folder), None)
    second = source.weights_folder(str(folder), None)
    assert second != first
    written = load_file(second / "model.safetensors")["logit_scale"]
    assert torch.equal(written, weights["logit_scale"])


def test_a_repository_of_the_hub_is_converted_outside_of_its_cache(places, capfd):
    folder = pickled(MINIATURE / "scorer", places / "made")
    made = snapshot(places, folder, "org/clip", "refs/pr/50")
    recipe = source.weights_recipe("org/clip", "refs/pr/50")
    files = {file for file in made.parents[1].rglob("*")}
    source.require("org/clip", "refs/pr/50")
    assert "org/clip: pytorch_model.bin converted" in capfd.readouterr().err
    copy = source.weights_folder("org/clip", "refs/pr/50")
    assert copy.name.startswith("org--clip-") and copy.parent == places / "hf" / "sip"
    assert {file for file in made.parents[1].rglob("*")} == files
    assert source.weights_recipe("org/clip", "refs/pr/50") == recipe
    loaded = LoadedWeights.of("org/clip", "refs/pr/50")
    assert (
        loaded is not None and loaded.commit == made.name and "model.safetensors" in loaded.sha256
    )

    blob = (made / "pytorch_model.bin").resolve()
    shutil.rmtree(copy)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError, match="their checksum is not the one in their name"):
        source.require("org/clip", "refs/pr/50")


def test_a_damaged_copy_is_noticed(places):
    folder = pickled(MINIATURE / "scorer", places / "clip")
    source.require(str(folder), None)
    copy = source.weights_folder(str(folder), None)
    check_hub(copy)
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError, match="delete that folder, and start again"):
        check_hub(copy)


def test_a_cache_that_cannot_be_written_is_one_line(places, capfd):
    folder = pickled(MINIATURE / "scorer", places / "clip")
    (places / "hf").mkdir()
    (places / "hf" / "sip").write_text("in the way")
    source.require(str(folder), None)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2 and f"{places / 'cache' / 'sip'} is used" in said[0]
    assert source.weights_folder(str(folder), None).parent == places / "cache" / "sip"
    shutil.rmtree(places / "cache")
    (places / "cache").write_text("in the way")
    with pytest.raises(UserError, match="must be writable, got .*; set XDG_CACHE_HOME=") as caught:
        source.require(str(folder), None)
    assert "\n" not in str(caught.value)


def test_a_plan_converts_nothing_and_names_the_command(places, capfd):
    folder = pickled(MINIATURE / "scorer", places / "my clip")
    with nothing_downloaded(), pytest.raises(MissingWeightsError) as caught:
        source.require(str(folder), None)
    assert f"-> python -m sip.weights convert '{folder}'" in str(caught.value)
    assert str(caught.value).startswith("weights: 1 model to be converted; ")
    assert "nothing to download" in str(caught.value) and "hf download" not in str(caught.value)
    assert not (places / "hf").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Bomb(), "asks for exec"),
        ({"weight": Bomb()}, "asks for exec"),
        ([torch.zeros(1)], "got a list"),
        ({"weight": 1}, "got weight: int"),
        ({"weight": torch.zeros(2).to_sparse()}, "got weight: Tensor"),
        ({}, "got a dict"),
    ],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_holds_more_than_tensors_is_refused(places, content, words, is_zip):
    folder = pickled(MINIATURE / "scorer", places / "clip")
    file = folder / "pytorch_model.bin"
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(UserError, match=words) as caught:
        source.require(str(folder), None)
    assert "\n" not in str(caught.value) and "SIP_CODE_RAN" not in os.environ
    assert not list((places / "hf" / "sip").iterdir())


@pytest.mark.parametrize("is_zip", [True, False])
def test_bare_pickles_and_damaged_files_are_one_line(places, is_zip):
    folder = pickled(MINIATURE / "scorer", places / "clip")
    file = folder / "pytorch_model.bin"
    weights = {f"w{n}": torch.full((64, 64), float(n)) for n in range(4)}
    torch.save(weights, file, _use_new_zipfile_serialization=is_zip)
    whole = file.read_bytes()
    cuts = [whole[:length] for length in (0, 1, 10, 5000, len(whole) // 2, len(whole) - 1)]
    for damaged in (*cuts, pickle.dumps(Bomb()), b"Entry not found"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="pytorch_model.bin: must be ") as caught:
            source.require(str(folder), None)
        assert "\n" not in str(caught.value) and "SIP_CODE_RAN" not in os.environ
        if damaged in cuts:
            assert "; download or copy it again" in str(caught.value)


def test_damaged_bytes_are_found_by_the_checksums_of_the_archive(places):
    folder = pickled(MINIATURE / "scorer", places / "clip")
    file = folder / "pytorch_model.bin"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    torch.load(file, weights_only=True)  # torch does not look at them
    with pytest.raises(DamagedError, match=r"got damaged bytes \(Bad CRC-32 for file .*again$"):
        source.require(str(folder), None)
    assert not list((places / "hf" / "sip").iterdir())


def test_an_archive_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(3)}, tmp_path / "w.bin")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_pickle(tmp_path / "w.bin")["weight"].tolist() == [1, 1, 1]


def test_tied_and_sliced_tensors_keep_all_their_names(tmp_path, places):
    shared = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "embedding": shared,
        "head": shared,  # tied
        "row": shared[1],
        "transposed": shared.T,
        "nan": torch.tensor([float("nan"), -0.0]),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3),
    }
    folder = pickled(MINIATURE / "scorer", places / "clip")
    torch.save({"state_dict": tensors}, folder / "pytorch_model.bin")
    source.require(str(folder), None)
    written = load_file(source.weights_folder(str(folder), None) / "model.safetensors")
    assert written.keys() == tensors.keys() == read_pickle(folder / "pytorch_model.bin").keys()
    for name, tensor in tensors.items():
        assert written[name].dtype == tensor.dtype
        assert torch.allclose(written[name].float(), tensor.float(), 0, 0, equal_nan=True), name


def test_a_tied_model_loads_from_its_pickle(places):
    from transformers import BlipForConditionalGeneration

    from sip.captions.blip import Blip
    from sip.device.settings import Runtime

    folder = places / "blip"
    shutil.copytree(MINIATURE / "captioner", folder)
    model = BlipForConditionalGeneration.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")  # the tied ones under both names
    options = {"sampling": "beam", "top_p": None, "num_beams": 2, "num_captions": 2}
    blip = Blip(str(folder), None, "float32", **options, min_tokens=2, max_tokens=8, seed=0)
    blip.require()
    network = blip.read_network("cpu")
    state = model.state_dict()
    assert all(torch.equal(v, state[k].float()) for k, v in network.state_dict().items())
    assert blip.load(Runtime.cpu())


def test_of_a_pipeline_only_the_pickled_components_are_converted(places):
    folder = places / "sd"
    shutil.copytree(MINIATURE / "diffusion", folder)
    for part, stem in (("text_encoder", "model"), ("unet", "diffusion_pytorch_model")):
        weights = load_file(folder / part / f"{stem}.safetensors")
        (folder / part / f"{stem}.safetensors").unlink()
        name = {"model": "pytorch_model"}.get(stem, stem)
        torch.save(weights, folder / part / f"{name}.fp16.bin")
    source.require(str(folder), None, "fp16")
    copy = source.weights_folder(str(folder), None, "fp16")
    assert (copy / "vae" / "diffusion_pytorch_model.safetensors").is_symlink()
    assert (copy / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    assert (copy / "text_encoder" / "model.fp16.safetensors").is_file()
    loaded = CLIPTextModel.from_pretrained(copy / "text_encoder", variant="fp16")
    stock = CLIPTextModel.from_pretrained(MINIATURE / "diffusion" / "text_encoder")
    state = stock.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    with pytest.raises(UserError, match=r"expected (unet|text_encoder)/\*.safetensors"):
        source.require(str(folder), None)  # the plain ones are not there


def test_the_command_converts_and_says_where(places, capfd, monkeypatch):
    folder = pickled(MINIATURE / "scorer", places / "clip")
    monkeypatch.setattr(sys, "argv", ["sip.weights", "convert", str(folder)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    said = capfd.readouterr()
    assert stop.value.code == 0
    assert (
        said.out.strip() == f"{folder}: safetensors in {source.weights_folder(str(folder), None)}"
    )


@pytest.mark.parametrize("words", [["convrt", "a"], ["convert", "a", "b"]])
def test_other_words_are_one_line(words, capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sip.weights", *words])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    said = capfd.readouterr().err
    assert said.startswith(f"error: command: must be convert MODEL, got {' '.join(words)}; say ")
    assert said.count("\n") == 1


def test_only_files_that_are_loaded_are_checked(places):
    shutil.copytree(MINIATURE / "scorer", places / "made")
    shutil.copy(places / "made" / "model.safetensors", places / "made" / "model.fp16.safetensors")
    with (places / "made" / "model.fp16.safetensors").open("ab") as file:
        file.write(b"x")  # another hash
    made = snapshot(places, places / "made", "org/clip", "main")
    spoil = (made / "model.fp16.safetensors").resolve()
    spoil.write_bytes(spoil.read_bytes() + b"x")
    check_hub(made)
    with pytest.raises(DamagedError, match="their checksum is not the one in their name"):
        check_hub(made, "fp16")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_killed_conversion_left_is_removed(tmp_path):
    def dies():
        with whole_folder(tmp_path / "clip", lambda: False) as made:
            (made / "model.safetensors").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=dies)
    process.start()
    process.join()
    (left,) = tmp_path.iterdir()
    assert (left / "clip" / "model.safetensors").exists()
    (tmp_path / ".begun.part").mkdir()
    with whole_folder(tmp_path / "blip", lambda: True) as live:
        (live / "model.safetensors").write_bytes(b"half")
        with whole_folder(tmp_path / "vit", lambda: True):
            pass
    assert {place.name for place in tmp_path.iterdir()} == {"blip", "vit", ".begun.part"}
    assert (tmp_path / "blip" / "model.safetensors").exists()

"""Downloads from a pretended hub: which files are taken, from where, and what is said."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import snapshot_download as real_snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects

from sip.core.errors import UserError
from sip.images.img2img import Img2Img
from sip.weights import hub, source
from sip.weights.layout import Parts, weight_files
from tests.images.conftest import settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLIP = [
    "README.md", "config.json", "flax_model.msgpack", "merges.txt", "model.safetensors",
    "preprocessor_config.json", "pytorch_model.bin", "tf_model.h5", "tokenizer.json", "vocab.json",
]  # fmt: skip
SIGLIP = ["config.json", "model.safetensors", "spiece.model", "model.fp16.safetensors"]
COMPONENTS = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
BOTH = ("", ".fp16")
DIFFUSION = [
    "README.md", "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned.ckpt",
    "feature_extractor/preprocessor_config.json", "scheduler/scheduler_config.json",
    "tokenizer/merges.txt", "tokenizer/vocab.json",
    *(f"{name}/config.json" for name in ("safety_checker", "text_encoder", "unet", "vae")),
    *(f"{name}/model{v}.safetensors" for name in ("safety_checker", "text_encoder") for v in BOTH),
    *(f"unet/diffusion_pytorch_model{v}.safetensors" for v in (*BOTH, ".non_ema")),
    "vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin",
    "vae_decoder/model.onnx", "vae_1_0/diffusion_pytorch_model.safetensors",
]  # fmt: skip


class PretendedHub:
    """Repositories by name; downloads go into a cache laid out as the hub's client does."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.repos: dict[str, list[str]] = {}
        self.errors: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.contents: dict[str, str] = {}

    def model_info(self, _, name: str, *, revision: str, files_metadata: bool) -> SimpleNamespace:
        self.asked.append(name)
        if name in self.errors:
            raise self.errors[name]
        siblings = [SimpleNamespace(rfilename=path, size=10**9) for path in self.repos[name]]
        return SimpleNamespace(siblings=siblings)

    def snapshot_download(
        self,
        name: str,
        *,
        revision: str,
        allow_patterns: list[str] | None = None,
        local_files_only: bool = False,
    ) -> str:
        if local_files_only:
            return real_snapshot_download(
                name, revision=revision, local_files_only=True, cache_dir=self.cache
            )
        repo = self.cache / f"models--{name.replace('/', '--')}"
        (repo / "refs").mkdir(parents=True, exist_ok=True)
        (repo / "refs" / revision).write_text(COMMIT)
        folder = repo / "snapshots" / COMMIT
        for path in filter_repo_objects(self.repos[name], allow_patterns=allow_patterns):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            content = json.dumps(COMPONENTS) if path == "model_index.json" else "{}"
            content = self.contents.get(path, content)
            if path.endswith(".safetensors"):  # whole, without a number in it
                content = "\2\0\0\0\0\0\0\0{}"
            (folder / path).write_text(content)
        return str(folder)

    def taken(self, name: str) -> set[str]:
        folder = self.cache / f"models--{name.replace('/', '--')}" / "snapshots" / COMMIT
        files = (file for file in folder.rglob("*") if file.is_file())
        return {file.relative_to(folder).as_posix() for file in files}


@pytest.fixture
def pretended(tmp_path, monkeypatch) -> PretendedHub:
    made = PretendedHub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(made.cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda *args, **more: made.model_info(*args, **more)
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", made.snapshot_download)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    return made


def refused(kind: type[Exception]) -> Exception:
    """Return an error of the hub, made without an answer of it."""
    error = kind.__new__(kind)
    Exception.__init__(error, "refused")
    return error


def test_a_model_is_downloaded_once_without_pickles(pretended, capfd):
    pretended.repos["org/clip"] = CLIP
    source.require("org/clip", None)
    assert pretended.taken("org/clip") == {
        "config.json", "merges.txt", "model.safetensors", "preprocessor_config.json",
        "tokenizer.json", "vocab.json",
    }  # fmt: skip
    said = capfd.readouterr().err.splitlines()
    assert said == ["weights      downloading org/clip, revision main: 1 files, 1.00 GB"]
    source.require("org/clip", None)
    assert pretended.asked == ["org/clip"]
    assert (source.weights_folder("org/clip", None) / "model.safetensors").is_file()
    assert capfd.readouterr().err == ""


def test_tokenizer_models_are_taken_and_other_variants_are_not(pretended):
    pretended.repos["org/siglip"] = SIGLIP
    source.require("org/siglip", "main")
    assert pretended.taken("org/siglip") == {"config.json", "model.safetensors", "spiece.model"}


SMALL = {path for path in DIFFUSION if path.endswith((".json", ".txt"))}
SAFETY = "safety_checker/model.safetensors"


@pytest.mark.parametrize(
    ("variant", "without", "expected"),
    [
        (None, (), {"text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
                    SAFETY}),
        (None, ("safety_checker",), {"text_encoder/model.safetensors",
                                     "unet/diffusion_pytorch_model.safetensors"}),
        ("fp16", ("safety_checker",), {"text_encoder/model.fp16.safetensors",
                                       "unet/diffusion_pytorch_model.fp16.safetensors"}),
    ],
)  # fmt: skip
def test_of_a_pipeline_one_variant_of_each_component_is_taken(
    pretended, variant, without, expected
):
    pretended.repos["org/sd"] = DIFFUSION
    source.require("org/sd", "main", variant, without)
    vae = "vae/diffusion_pytorch_model.safetensors"  # it has no fp16 file
    assert pretended.taken("org/sd") == SMALL | expected | {vae}
    with pytest.raises(UserError, match=r"lacks .*safetensors.*\n.*\n.*-> hf"):
        source.weights_folder("org/sd", "main", "fp16" if variant is None else None)


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize(
    ("files", "without"),
    [
        (DIFFUSION, ("safety_checker", "feature_extractor")),
        (DIFFUSION, ()),
        ([path.replace("model.safe", "model-00001-of-00001.safe") for path in DIFFUSION], ()),
        (CLIP, ()),
        (SIGLIP, ()),
    ],
)
def test_the_printed_command_takes_the_files_that_are_needed(files, without, variant):
    is_pipeline = files[1] == "model_index.json"
    parts = Parts(variant, without, kind="diffusers" if is_pipeline else "transformers")
    include, exclude = parts.patterns
    taken = set(filter_repo_objects(files, allow_patterns=include, ignore_patterns=exclude))
    weights = {path for path in taken if path.endswith((".safetensors", ".bin", ".ckpt"))}
    stems = ("model", "diffusion_pytorch_model") if is_pipeline else ("model",)
    end = f".{variant}" if variant else ""
    assert weights == {
        path
        for path in files
        if path.split("/")[0] not in without and path.count("/") == is_pipeline
        for stem in stems
        if re.fullmatch(rf"{stem}{re.escape(end)}(-\d+-of-\d+)?\.safetensors", Path(path).name)
    }
    assert {p for p in files if p.endswith((".json", ".txt", ".model"))} <= taken | {
        path for path in files if path.split("/")[0] in without
    }


def test_a_pipeline_of_an_unknown_class_costs_no_download(pretended):
    pretended.repos["org/flux"] = DIFFUSION
    generator = Img2Img(**settings("org/flux"))
    pretended.contents["model_index.json"] = json.dumps(COMPONENTS | {"_class_name": "NoPipeline"})
    with pytest.raises(UserError, match="images.model: must be one of .*, got a NoPipeline"):
        generator.require()
    assert not [path for path in pretended.taken("org/flux") if path.endswith(".safetensors")]


def test_an_unfinished_download_is_taken_up(pretended):
    pretended.repos["org/clip"] = CLIP
    source.require("org/clip", None)
    (source.weights_folder("org/clip", None) / "model.safetensors").unlink()
    source.require("org/clip", None)
    assert "model.safetensors" in pretended.taken("org/clip")
    assert pretended.asked == ["org/clip"] * 2


def test_a_single_file_is_downloaded_alone(pretended):
    pretended.repos["org/lora"] = ["README.md", "other.safetensors", "lora.safetensors"]
    source.require("org/lora", None, file="lora.safetensors")
    assert pretended.taken("org/lora") == {"lora.safetensors"}
    folder = source.weights_folder("org/lora", None, file="lora.safetensors")
    assert (folder / "lora.safetensors").is_file()


GONE, MIRROR = "runwayml/stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_a_vanished_repository_is_taken_from_its_mirror(pretended, capfd):
    pretended.errors[GONE] = refused(RepositoryNotFoundError)
    pretended.repos[MIRROR] = DIFFUSION
    source.require(GONE, None)
    assert pretended.asked == [GONE, MIRROR]
    assert f"{GONE} cannot be downloaded; taking its mirror {MIRROR}" in capfd.readouterr().err
    source.require(GONE, None)
    assert pretended.asked == [GONE, MIRROR]
    said = capfd.readouterr().err.splitlines()
    assert said == [f"weights      {GONE} is not on this disk; taking its mirror {MIRROR}"]
    assert source.weights_folder(GONE, None) == source.weights_folder(MIRROR, None)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refused(RepositoryNotFoundError), "there is no such repository, or it is private"),
        (refused(RevisionNotFoundError), "there is no such revision"),
        (refused(GatedRepoError), "licence .* https://huggingface.co/org/m .* hf auth login"),
        (
            ConnectionError("no route\nto host"),
            r"no network, or https://.* is not reached \(ConnectionError: no route to host\); get "
            "the weights where there is one, and copy /.*/hub here",
        ),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_why_a_download_failed_is_one_line(pretended, error, words):
    pretended.errors["org/m"] = error
    with pytest.raises(UserError, match=words) as caught:
        source.require("org/m", "v2")
    assert len(str(caught.value).splitlines()) == 3
    assert "-> hf download org/m --revision v2" in str(caught.value)


def test_a_repository_without_weights_is_refused(pretended):
    pretended.repos["org/old"] = ["config.json", "tf_model.h5"]
    with pytest.raises(UserError, match=r"org/old does not hold \*.safetensors") as caught:
        source.require("org/old", None)
    assert "hf download" not in str(caught.value)
    assert pretended.taken("org/old") == {"config.json"}


def test_what_is_advised_after_small_files_also_gets_pickles(pretended, monkeypatch):
    pretended.repos["org/old"] = ["config.json", "pytorch_model.bin"]
    pretended.snapshot_download("org/old", revision="v1", allow_patterns=["*.json"])
    monkeypatch.setattr(hub, "may_download", False)
    with pytest.raises(UserError, match="lacks .*safetensors") as caught:
        source.require("org/old", "v1")
    assert "hf download" not in str(caught.value)
    assert str(caught.value).endswith("-> python -m sip.weights convert org/old revision=v1")


def test_a_variant_that_is_not_there_costs_no_download(pretended):
    pretended.repos["org/clip"] = CLIP
    with pytest.raises(UserError, match=r"org/clip does not hold \*.fp16.safetensors"):
        source.require("org/clip", None, "fp16")
    assert "model.safetensors" not in pretended.taken("org/clip")


def test_offline_nothing_is_asked(pretended, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pretended.repos["org/clip"] = CLIP
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set(.|\n)*-> hf download org/clip "):
        source.require("org/clip", None)
    assert pretended.asked == []


def test_mirrors_are_told_apart_from_what_they_mirror():
    assert all(name not in mirrors for name, mirrors in hub.MIRRORS.items())
    assert all(hub.canonical(mirrors[0]) == mirrors[0] for mirrors in hub.MIRRORS.values())


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_weight_files_equal_diffusers_choice(variant):
    from diffusers.pipelines.pipeline_loading_utils import variant_compatible_siblings

    shards = [f"unet/diffusion_pytorch_model{v}-0000{n}-of-00002.safetensors"
              for v in BOTH for n in (1, 2)]  # fmt: skip
    for paths in (shards, [path for path in DIFFUSION if path.startswith("unet/")]):
        usable, _ = variant_compatible_siblings(paths, variant)
        expected = {path for path in usable if path.endswith(".safetensors")}
        names = [path.rpartition("/")[2] for path in paths]
        assert {f"unet/{name}" for name in weight_files(names, variant)} == expected


@pytest.mark.parametrize(
    ("repo", "path", "content"),
    [
        (CLIP, "config.json", {"auto_map": {"AutoModel": "evil.Own"}}),
        (DIFFUSION, "model_index.json", {**COMPONENTS, "unet": ["evil", "Own"]}),
        (DIFFUSION, "model_index.json", {**COMPONENTS, "_class_name": ["evil", "Own"]}),
    ],
)
def test_a_repository_that_brings_code_is_refused_before_its_weights_come(
    pretended, repo, path, content
):
    pretended.repos["org/evil"] = [*repo, "evil.py"]
    pretended.contents[path] = json.dumps(content)
    with pytest.raises(UserError, match="brings code of its own .*, which is never run") as caught:
        source.require("org/evil", None)
    assert "\n" not in str(caught.value)
    taken = pretended.taken("org/evil")
    assert not any(name.endswith((".safetensors", ".py", ".bin")) for name in taken)

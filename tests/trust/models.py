"""Bad weights: folders that are not whole, of another model, or that would run code."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sip.weights.source import PACKAGE_PARENT
from tests.trust.cases import Case, train, weights

MINIATURE = PACKAGE_PARENT / "sip" / "miniature"
Make = Callable[[Path], Any]


def like(name: str, *changes: Callable[[Path], Any]) -> Make:
    """Return what fills a folder with links to a miniature model, and changes it."""

    def make(folder: Path) -> None:
        for file in sorted((MINIATURE / name).rglob("*")):
            place = folder / file.relative_to(MINIATURE / name)
            if file.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(file)
        for change in changes:
            change(folder)

    return make


def replaced(name: str, content: bytes | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return what puts other content into a file, not through its link."""

    def change(folder: Path) -> None:
        file = folder / name
        old = file.read_bytes() if file.exists() else b""
        file.unlink(missing_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content(old))

    return change


def gone(name: str) -> Callable[[Path], None]:
    """Return what removes a file or a folder."""
    return lambda f: shutil.rmtree(f / name) if (f / name).is_dir() else (f / name).unlink()


def keys(name: str, **values: Any) -> Callable[[Path], None]:
    """Return what sets keys of a JSON file."""
    return replaced(name, lambda old: json.dumps({**json.loads(old), **values}).encode())


PICKLE = pickle.dumps({"weight": [0.0]})
WEIGHTS = "model.safetensors"
UNET = "unet/diffusion_pytorch_model.safetensors"
SCORER, CAPTIONER, DIFFUSION = "scores.model", "captions.model", "images.model"
OWN = {"AutoModel": "evil.Own"}
FOLDERS: list[tuple[str, str, Make, str]] = [
    ("an empty folder", SCORER, lambda folder: None, "expected config.json or model_index.json"),
    ("no weights", SCORER, like("scorer", gone(WEIGHTS)), "expected .*safetensors, found none"),
    ("a pickle in their place", SCORER,
     like("scorer", gone(WEIGHTS), replaced("pytorch_model.bin", PICKLE)),
     "pytorch_model.bin is a pickle, which may hold code and is never read"),
    ("a pickle named .safetensors", SCORER, like("scorer", replaced(WEIGHTS, PICKLE)),
     "expected a whole safetensors file"),
    ("cut off", SCORER, like("scorer", replaced(WEIGHTS, lambda old: old[:-1000])),
     "model.safetensors: expected a whole safetensors file .*; copy it again"),
    ("an error page named .safetensors", CAPTIONER,
     like("captioner", replaced(WEIGHTS, b"<!doctype html>404 Not Found")),
     "expected a whole safetensors file"),
    ("a pointer of Git LFS", CAPTIONER,
     like("captioner", replaced(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n")),
     "expected a whole safetensors file"),
    ("a configuration that is no JSON", SCORER, like("scorer", replaced("config.json", b"{")),
     "config.json: expected a JSON object"),
    ("a configuration of 100,000 levels", SCORER,
     like("scorer", replaced("config.json", b"[" * 100_000)), "config.json: expected a JSON obj"),
    ("code for the model", SCORER, like("scorer", keys("config.json", auto_map=OWN)),
     "brings code of its own .auto_map in config.json., which is never run"),
    ("code for the tokenizer", CAPTIONER,
     like("captioner", keys("tokenizer_config.json", auto_map=OWN)),
     "auto_map in tokenizer_config.json"),
    ("a pipeline of its own", DIFFUSION,
     like("diffusion", keys("model_index.json", _class_name=["evil", "Own"])),
     "brings code of its own|_class_name"),
    ("a part of another library", DIFFUSION,
     like("diffusion", keys("model_index.json", unet=["evil", "Own"])), "unet of 'evil'"),
    ("a pipeline that is not known", DIFFUSION,
     like("diffusion", keys("model_index.json", _class_name="KandinskyPipeline")),
     "got a KandinskyPipeline in"),
    ("no U-Net", DIFFUSION, like("diffusion", gone("unet")), "expected unet/, which model_index"),
    ("no weights of the U-Net", DIFFUSION, like("diffusion", gone(UNET)), "expected unet/.*safet"),
    ("the U-Net cut off", DIFFUSION, like("diffusion", replaced(UNET, lambda old: old[:5000])),
     f"{UNET}: expected a whole safetensors file"),
    ("a captioner as scorer", SCORER, like("captioner"), "handled|expected"),
    ("shards that are not there", SCORER, like("scorer", gone(WEIGHTS), replaced(
        "model.safetensors.index.json", b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
    )), "expected model-00001-of-00002.safetensors, which model.safetensors.index.json names"),
    ("a list of shards without shards", SCORER,
     like("scorer", gone(WEIGHTS), replaced("model.safetensors.index.json", b"{}")),
     "expected a weight_map in model.safetensors.index.json"),
    ("a shard of another folder", SCORER, like("scorer", gone(WEIGHTS), replaced(
        "model.safetensors.index.json", b'{"weight_map": {"a": "../../etc/passwd"}}'
    )), "expected ../../etc/passwd, which"),
]  # fmt: skip
VIT = ("backbone=vit",)
BACKBONES: list[tuple[str, Make, str]] = [
    ("of another model", like("clip_vit"), "backbone.name: .*'vit_base_patch32_clip_224'"),
    ("not timm's", like("scorer"), "architecture and pretrained_cfg in .*config.json"),
    ("cut off", like("vit", replaced(WEIGHTS, lambda old: old[:-9])), "a whole safetensors file"),
]
LORAS = [
    ("a pickle", "{model: org/x, revision: null, weight_name: lora.bin, scale: 1}",
     "must be a name that ends in .safetensors, got 'lora.bin'"),
    ("not there", "{model: /no/such, revision: null, weight_name: l.safetensors, scale: 1}",
     "layout at /no/such, found none|needs the package peft"),
]  # fmt: skip

CASES = [
    *(
        Case("weights", f"{key}: {name}", weights(key, make), words)
        for name, key, make, words in FOLDERS
    ),
    *(
        Case("weights", f"backbone.weights: {name}", weights("backbone.weights", make, *VIT), words)
        for name, make, words in BACKBONES
    ),
    *(
        Case("weights", f"images.lora: {name}", train(f"images.lora={value}"), words)
        for name, value, words in LORAS
    ),
    Case("weights", "a name that nobody has", train("scores.model=org/nothing"),
         "model 'org/nothing': revision 'main' .*hf download org/nothing"),
    Case("weights", "a variant that is not there", train("images.variant=fp16"),
         r"expected \*.fp16.safetensors"),
]  # fmt: skip

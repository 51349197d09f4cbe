"""Bad weights that end a training before its first costly step; tests/weights has more of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sip.weights.source import PACKAGE_PARENT
from tests.trust.cases import Case, weights

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


def keys(name: str, **values: Any) -> Callable[[Path], None]:
    """Return what sets keys of a JSON file, not through its link."""

    def change(folder: Path) -> None:
        text = json.dumps({**json.loads((folder / name).read_text()), **values})
        (folder / name).unlink()
        (folder / name).write_text(text)

    return change


SCORER, VIT, BACKBONE = "scores.model", ("backbone=vit",), "backbone.weights"
FOLDERS: list[tuple[str, str, Make, tuple[str, ...], str]] = [
    ("a captioner as scorer", SCORER, like("captioner"), (), "must be a CLIPModel"),
    ("a pipeline that is not known", "images.model",
     like("diffusion", keys("model_index.json", _class_name="KandinskyPipeline")), (),
     "KandinskyPipeline"),
    ("of another model", BACKBONE, like("clip_vit"), VIT, "'vit_base_patch32_clip_224'"),
    ("not timm's", BACKBONE, like("scorer"), VIT, "architecture and pretrained_cfg"),
]  # fmt: skip

CASES = [
    Case("weights", f"{key}: {name}", weights(key, make, *given), words)
    for name, key, make, given, words in FOLDERS
]

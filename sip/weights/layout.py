"""Files of a model folder in the hub's layout.

A transformers or timm model has `config.json` and its weights at the root; a diffusers pipeline has
`model_index.json` at the root and a folder for each component. Weights may have variants
(`model.fp16.safetensors`) and shards, which an index lists.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.weights.content import check_content

CONFIG, PIPELINE = "config.json", "model_index.json"
MAX_JSON = 2**28  # bytes
PICKLE = ".bin"
UNKNOWN_PICKLES = (".pt", ".pth", ".ckpt", ".pkl")
# As transformers, diffusers and timm name weights: all else is another format of the same numbers.
# Stems of a library's safetensors, by the kind of the model; timm takes the first that is there.
STEMS = {
    "transformers": ("model",),
    "diffusers": ("*/model", "*/diffusion_pytorch_model"),
    "timm": ("model", "open_clip_model"),
    "autoencoder": ("diffusion_pytorch_model",),
}
VARIANT = r"[A-Za-z]\w*"
WEIGHTS = re.compile(
    rf"(?P<stem>model|diffusion_pytorch_model|open_clip_model)(\.(?P<variant>{VARIANT}))?"
    rf"(-\d{{5}}-of-\d{{5}})?(\.(?P<old_variant>{VARIANT}))?\.safetensors"
)
PICKLED = re.compile(
    rf"(?P<stem>pytorch_model|diffusion_pytorch_model|open_clip_pytorch_model)"
    rf"(\.(?P<variant>{VARIANT}))?(-\d{{5}}-of-\d{{5}})?(\.(?P<old_variant>{VARIANT}))?\.bin"
)
INDEX = re.compile(rf"\w+\.(?P<format>safetensors|bin)\.index(\.(?P<variant>{VARIANT}))?\.json")
SMALL = (".json", ".txt", ".model", ".jinja")  # configurations, tokenizers, chat templates
SMALL_PATTERNS = [f"*{suffix}" for suffix in SMALL]
CHECKER = ("safety_checker", "feature_extractor")  # components that are not needed unless asked for
# Components of a pipeline that have no weights, by the end of the name of their class.
WEIGHTLESS = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor", "FeatureExtractor")


class IncompleteError(Exception):
    """A model lacks a file; the message names only that file."""


@dataclass(frozen=True)
class Parts:
    """The part of a model that is needed.

    Attributes:
        variant: Variant of the weight files, e.g. "fp16"; None for the plain ones.
        without: Components of a diffusers pipeline that are not needed.
        file: The only file that is needed, e.g. that of a LoRA; None for a whole model.
        check: Called with the folder of the small files before the weights are downloaded; raises
            what speaks against the model.
        kind: The library that reads the model, a key of `STEMS`.
    """

    variant: str | None = None
    without: tuple[str, ...] = ()
    file: str | None = None
    check: Callable[[Path], object] | None = None
    kind: str = "transformers"

    @property
    def patterns(self) -> tuple[list[str], list[str]]:
        """Glob patterns of the files to download, and of those among them to leave out.

        They are for the hub's own command line, which cannot read `model_index.json` first.
        """
        if self.file is not None:
            return [self.file], []
        variant = f".{self.variant}" if self.variant else ""
        weights = [
            f"{stem}{variant}{end}.safetensors" for stem in STEMS[self.kind] for end in ("", "-*")
        ]
        return [*SMALL_PATTERNS, *weights], [f"{name}/*" for name in self.without]

    def __post_init__(self) -> None:
        if self.file is not None and not self.file.endswith(".safetensors"):
            raise UserError(
                f"weights file {self.file!r}: expected a name that ends in .safetensors"
            )


def needed_weights(folder: Path, paths: Collection[str], parts: Parts) -> list[str]:
    """Return the weight files that a model needs, as paths relative to its folder.

    They are safetensors; pickles (`.bin`) only of a folder that holds no safetensors.

    Args:
        folder: Holds the small files (JSON); the weights may still be on the hub.
        paths: All files of the folder or of the repository, relative, with "/".
        parts: The part of the model that is needed.

    Raises:
        IncompleteError: A file is missing.
        UserError: A file that lists other files is broken.
    """
    if parts.file is not None:
        _require(parts.file in paths, parts.file)
        return [parts.file]
    folders = [""]
    if PIPELINE in paths:
        index = read_json(folder / PIPELINE)
        for name, _ in _components(index, parts.without):
            has_files = any(path.startswith(f"{name}/") for path in paths)
            _require(has_files, f"{name}/, which {PIPELINE} names")
        folders = [f"{name}/" for name in model_folders(index, parts.without)]
        for name in folders:
            _require(name + CONFIG in paths, name + CONFIG)
    else:
        _require(CONFIG in paths, f"{CONFIG} or {PIPELINE}")
    names = {
        name: {path.removeprefix(name) for path in paths if _folder_of(path) == name}
        for name in folders
    }
    if parts.variant is not None:
        variants = {variant_of(name) for inside in names.values() for name in inside}
        there = ", ".join(sorted(filter(None, variants))) or "no variants"
        what = f"*.{parts.variant}.safetensors (there: {there}; variant=null takes the plain files)"
        _require(parts.variant in variants, what)
    return [
        name + file
        for name, inside in names.items()
        for file in _complete(folder, name, inside, parts.variant)
    ]


def files_of(folder: Path) -> set[str]:
    """Return the paths of the files in a folder and in the folders right below it."""
    files = [file for pattern in ("*", "*/*") for file in folder.glob(pattern) if file.is_file()]
    return {file.relative_to(folder).as_posix() for file in files}


def model_folders(index: Mapping[str, Any], without: Sequence[str]) -> list[str]:
    """Return the folders of a pipeline that hold weights.

    Args:
        index: Content of `model_index.json`.
        without: Components that are not needed.
    """
    return [name for name, kind in _components(index, without) if not kind.endswith(WEIGHTLESS)]


def weight_files(names: Iterable[str], variant: str | None) -> list[str]:
    """Return the weights of one variant among the file names of one folder.

    If the variant has none, return the plain ones, as diffusers does; of either, pickles only if
    there are no safetensors. Of CLIP's two formats, open_clip's only if it is the only one.
    """
    found: dict[tuple[re.Pattern[str], str | None], list[str]] = {}
    for name in sorted(names):
        for pattern in (WEIGHTS, PICKLED):
            if pattern.fullmatch(name):
                found.setdefault((pattern, variant_of(name)), []).append(name)
    for wanted in (variant, None):
        for pattern in (WEIGHTS, PICKLED):
            if files := found.get((pattern, wanted)):
                return [name for name in files if not _of_open_clip(name)] or files
    return []


def is_weights(path: str) -> bool:
    """Return whether a path is that of a weight file, of any variant."""
    name = path.rpartition("/")[2]
    return bool(WEIGHTS.fullmatch(name) or PICKLED.fullmatch(name))


def variant_of(name: str) -> str | None:
    """Return the variant in the name of a weight file; None for plain ones and other files."""
    match = WEIGHTS.fullmatch(name) or PICKLED.fullmatch(name)
    return (match["variant"] or match["old_variant"]) if match else None


def read_json(file: Path) -> dict[str, Any]:
    """Read the JSON object of a file.

    Raises:
        UserError: The file does not hold one; says what it holds.
    """
    try:
        if (size := file.stat().st_size) > MAX_JSON:
            raise ValueError(f"{size:,} bytes is more than {MAX_JSON:,} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        check_content(file)
        content = error
    if not isinstance(content, dict):
        raise UserError(f"{file}: must be a JSON object, got {content}; copy the model again")
    return content


def _components(index: Mapping[str, Any], without: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and class name of the components that a pipeline has."""
    return [
        (name, value[1])
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[1]
        if not name.startswith("_") and name not in without
    ]


def _complete(folder: Path, name: str, inside: set[str], variant: str | None) -> list[str]:
    """Return the weights of one folder below `folder`, once none of their shards is missing."""
    files = weight_files(inside, variant)
    if any("-of-" not in file for file in files):
        return files
    suffix = "bin" if files and files[0].endswith(PICKLE) else "safetensors"
    indices = {
        match["variant"]: file
        for file in sorted(inside)
        if (match := INDEX.fullmatch(file)) and match["format"] == suffix
    }
    index = indices.get(variant) or indices.get(None)
    if index is None:
        if files:
            raise IncompleteError(f"{name}*.{suffix}.index.json, the list of its shards")
        others = [file for file in sorted(inside) if file.endswith((PICKLE, *UNKNOWN_PICKLES))]
        why = [f" ({file}, a pickle of another name, is not read)" for file in others]
        raise IncompleteError(name + "*.safetensors" + "".join(why[:1]))
    shards = read_json(folder / name / index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise IncompleteError(f"{name}a weight_map in {index}")
    for file in sorted(map(str, shards.values())):
        _require(file in inside, f"{name}{file}, which {index} names")
    return files


def _of_open_clip(name: str) -> bool:
    return name.startswith("open_clip_")


def _folder_of(path: str) -> str:
    folder, slash, _ = path.rpartition("/")
    return folder + slash


def _require(is_there: bool, file: str) -> None:
    if not is_there:
        raise IncompleteError(file)

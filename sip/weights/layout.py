"""Which files make a model folder in the hub's layout, and which of them are missing.

A transformers or timm model has `config.json` and its weights at the root; a diffusers pipeline has
`model_index.json` at the root and a folder for each component. Weights may come in variants
(`model.fp16.safetensors`) and in shards that an index lists.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.core.errors import UserError

CONFIG, PIPELINE = "config.json", "model_index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SMALL_PATTERNS = ("*.json", "*.txt", "*.model")  # configurations and tokenizers
# As transformers and diffusers name weights: all else is another format of the same numbers.
WEIGHTS = re.compile(
    r"(model|diffusion_pytorch_model)(\.(?P<variant>[A-Za-z]\w*))?(-\d{5}-of-\d{5})?"
    r"(\.(?P<old_variant>[A-Za-z]\w*))?\.safetensors"
)
INDEX = re.compile(
    r"(model|diffusion_pytorch_model)\.safetensors\.index(\.(?P<variant>[A-Za-z]\w*))?\.json"
)
# Components of a pipeline that have no weights, by the end of their class's name.
WEIGHTLESS = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor", "FeatureExtractor")


@dataclass(frozen=True)
class Parts:
    """What of a model is needed.

    Attributes:
        variant: Of the weight files, such as "fp16"; None for the plain ones.
        without: Components of a diffusers pipeline that are not needed.
        file: The one file that is needed, such as a LoRA's; None for a whole model.
    """

    variant: str | None = None
    without: tuple[str, ...] = ()
    file: str | None = None

    def __post_init__(self) -> None:
        if self.file is not None and not self.file.endswith(".safetensors"):
            raise UserError(
                f"weights file {self.file!r}: expected a name that ends in .safetensors"
            )


def model_folders(index: Mapping[str, Any], without: Sequence[str]) -> list[str]:
    """Return the folders of a pipeline that hold weights.

    Args:
        index: Content of `model_index.json`.
        without: Components that are not needed.
    """
    return [name for name, kind in _components(index, without) if not kind.endswith(WEIGHTLESS)]


def weight_files(names: Iterable[str], variant: str | None) -> list[str]:
    """Return the weights of one variant among the file names of one folder.

    Where there are none of the variant, the plain ones, as diffusers does.
    """
    by_variant: dict[str | None, list[str]] = {}
    for name in sorted(names):
        if WEIGHTS.fullmatch(name):
            by_variant.setdefault(_variant(name), []).append(name)
    return by_variant.get(variant) or by_variant.get(None) or []


def variant_there(names: Iterable[str], variant: str | None) -> str | None:
    """Return the variant if one folder has weights of it; else None, the plain ones."""
    return variant if any(map(_variant, weight_files(names, variant))) else None


def wanted(paths: Iterable[str], folders: Sequence[str], variant: str | None) -> list[str]:
    """Return the weights to download among all paths of a repository.

    Args:
        paths: With "/", relative to the repository.
        folders: Those that hold weights; "" is the root.
        variant: Such as "fp16"; None for the plain files.

    Raises:
        UserError: No folder has weights of the variant.
    """
    inside: dict[str, list[str]] = {folder: [] for folder in folders}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder in inside:
            inside[folder].append(name)
    if variant and not any(
        _variant(name) == variant for names in inside.values() for name in names
    ):
        raise UserError(f"it does not hold weights of variant {variant!r}")
    return [
        f"{folder}/{name}" if folder else name
        for folder, names in inside.items()
        for name in weight_files(names, variant)
    ]


def missing_file(folder: Path, parts: Parts) -> str | None:
    """Return what a model folder lacks, in words; None if it is complete.

    Raises:
        UserError: A file that lists others is broken.
    """
    if parts.file is not None:
        return None if (folder / parts.file).is_file() else parts.file
    if not (folder / PIPELINE).is_file():
        if not (folder / CONFIG).is_file():
            return f"{CONFIG} or {PIPELINE}"
        return _missing_weights(folder, [""], parts.variant)
    index = read_json(folder / PIPELINE)
    for name, _ in _components(index, parts.without):
        if not (folder / name).is_dir():
            return f"{name}/, which {PIPELINE} names"
    folders = [f"{name}/" for name in model_folders(index, parts.without)]
    for name in folders:
        if not (folder / name / CONFIG).is_file():
            return f"{name}{CONFIG}"
    return _missing_weights(folder, folders, parts.variant)


def read_json(file: Path) -> dict[str, Any]:
    """Return a file's JSON object.

    Raises:
        UserError: It is none.
    """
    try:
        content = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        content = error
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected a JSON object, came {content}; copy the model again")
    return content


def _components(index: Mapping[str, Any], without: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and class name of the components that a pipeline has."""
    return [
        (name, value[1])
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[1] and name not in without
    ]


def _missing_weights(root: Path, folders: Sequence[str], variant: str | None) -> str | None:
    files = {
        folder: {file.name for file in (root / folder).iterdir() if file.is_file()}
        for folder in folders
    }
    if variant and not any(_variant(name) == variant for names in files.values() for name in names):
        return f"*.{variant}.safetensors"
    for folder, names in files.items():
        if lacks := _missing_of(root / folder, names, variant):
            return folder + lacks
    return None


def _missing_of(folder: Path, names: set[str], variant: str | None) -> str | None:
    """Return what the weights of one folder lack, in words."""
    files = weight_files(names, variant)
    if any("-of-" not in name for name in files):
        return None
    indices = {m["variant"]: name for name in sorted(names) if (m := INDEX.fullmatch(name))}
    index = indices.get(variant) or indices.get(None)
    if index is None:
        pickles = [name for name in sorted(names) if name.endswith(PICKLES)]
        why = [f" ({name} is a pickle, which may hold code and is never read)" for name in pickles]
        return "*.safetensors.index.json" if files else "*.safetensors" + "".join(why[:1])
    shards = read_json(folder / index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        return f"a weight_map in {index}"
    absent = sorted(set(map(str, shards.values())) - names)
    return f"{absent[0]}, which {index} names" if absent else None


def _variant(name: str) -> str | None:
    """Return the variant in a weight file's name; None for plain ones and other files."""
    match = WEIGHTS.fullmatch(name)
    return (match["variant"] or match["old_variant"]) if match else None

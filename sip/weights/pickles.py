"""Pickled weights (`.bin`), read without running code, and written as safetensors.

A pickle may name any function to call. torch's `weights_only` reader builds tensors and plain
containers, and stops at everything else. What was written is compared with what was read, tensor by
tensor. Tensors that share memory (tied weights) are written once for each name, as the pickle names
them, so that every library finds all names that it found before.
"""

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.core.errors import DamagedError, UserError
from sip.core.text import reason_of
from sip.weights.content import check_content, check_zip, how_to_replace
from sip.weights.layout import INDEX, PICKLED, read_json

if TYPE_CHECKING:
    from torch import Tensor

STEMS = {"pytorch_model": "model", "open_clip_pytorch_model": "open_clip_model"}
GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # in torch's error: what the pickle would call
MAX_REASON = 200  # characters of a library's error that are passed on


def new_name(name: str) -> str:
    """Return the safetensors name of a pickle, or of the index of its shards."""
    match = PICKLED.fullmatch(name)
    if match:
        stem = match["stem"]
        return STEMS.get(stem, stem) + name.removeprefix(stem).removesuffix("bin") + "safetensors"
    stem, _, rest = name.partition(".bin.index")
    return f"{STEMS.get(stem, stem)}.safetensors.index{rest}"


def is_index(name: str) -> bool:
    """Return whether a file lists the shards of pickled weights."""
    match = INDEX.fullmatch(name)
    return match is not None and match["format"] == "bin"


def convert_index(source: Path, target: Path) -> None:
    """Write the index of converted shards."""
    index = read_json(source)
    shards = {key: new_name(str(file)) for key, file in index["weight_map"].items()}
    target.write_text(json.dumps({**index, "weight_map": shards}, indent=2), encoding="utf-8")


def convert_file(source: Path, target: Path) -> int:
    """Write a pickle's tensors as safetensors, and compare them; return their number.

    Raises:
        UserError: The pickle holds more than tensors, which is never read, or is damaged.
        DamagedError: A tensor was not written as it is.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors = _apart(read_pickle(source))
    save_file(tensors, target, {"format": "pt"})
    with safe_open(target, "pt") as written:
        if set(written.keys()) != set(tensors):
            raise DamagedError(f"{target} is not what was written; check the disk")
        for name, tensor in tensors.items():
            if not _equal(tensor, written.get_tensor(name)):
                raise DamagedError(f"{target}: {name} is not what was written; check the disk")
    return len(tensors)


def read_pickle(file: Path) -> "dict[str, Tensor]":
    """Return the tensors of a pickle, on the CPU; nothing in it is run.

    Raises:
        UserError: It asks for something other than tensors, or cannot be read.
    """
    import torch

    check_content(file)
    check_zip(file)
    try:
        mapped = zipfile.is_zipfile(file)  # the older format cannot be mapped
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except Exception as error:  # of any type: the bytes are anybody's
        is_unknown = isinstance(error, pickle.UnpicklingError)
        if is_unknown and (match := GLOBAL.search(reason_of(error))):
            raise _refused(file, f"one that asks for {match[1]}") from error
        reason = "no pickle of tensors" if is_unknown else reason_of(error)[:MAX_REASON]
        raise UserError(
            f"weights {file}: must be a whole file as torch.save writes it, got one that is cut "
            f"off, damaged or of another kind ({reason}); {how_to_replace(file)}"
        ) from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise _refused(file, f"a {type(content).__name__}")
    for name, value in content.items():
        is_dense = isinstance(value, torch.Tensor) and value.layout == torch.strided
        if not isinstance(name, str) or not is_dense or value.is_quantized:
            raise _refused(file, f"{name}: {type(value).__name__}")
    return dict(content)


def _apart(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return the tensors, each with memory of its own."""
    taken: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        is_whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        kept = tensor.detach().contiguous()
        if storage.data_ptr() in taken or not is_whole:
            kept = kept.clone()
        taken.add(storage.data_ptr())
        apart[name] = kept
    return apart


def _equal(first: "Tensor", second: "Tensor") -> bool:
    """Return whether two tensors are equal to the bit, NaN included."""
    import torch

    same = first.dtype == second.dtype and first.shape == second.shape
    return same and torch.equal(
        first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8)
    )


def _refused(file: Path, got: Any) -> UserError:
    return UserError(
        f"weights {file}: must be a pickle of tensors by name and nothing else, got {got}, which "
        "is never run; set another model"
    )

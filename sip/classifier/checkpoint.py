"""The chosen weights as a safetensors file that knows its own checksum.

The format has none: a flipped bit would be another weight. So the file's metadata hold a SHA-256 of
names, types, shapes and bytes of all tensors, which is compared whenever the file is loaded.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sip.core.errors import DamagedError

NAME = "classifier.safetensors"
KEY = "sha256"  # in the file's metadata


def save(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights with their checksum."""
    whole = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(whole, path, {KEY: checksum(whole)})


def load(path: Path) -> dict[str, Tensor]:
    """Return the weights of a file, on the CPU.

    Raises:
        DamagedError: They are not what was written.
    """
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            known = (file.metadata() or {}).get(KEY)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if known != checksum(weights):
        raise _damaged(path, "its checksum is not the one that it was written with")
    return weights


def checksum(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all tensors, in hex digits, whatever their order."""
    sha256 = hashlib.sha256()
    for name, value in sorted(weights.items()):
        sha256.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha256.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def _damaged(path: Path, reason: str) -> DamagedError:
    return DamagedError(f"{path} is damaged ({reason}); delete it: it will be trained again")

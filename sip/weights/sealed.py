"""Safetensors files that know their own checksum.

The format has none: a flipped bit would be another weight. So the file's metadata hold a SHA-256 of
names, types, shapes and bytes of all tensors, and of the configuration that belongs to them. It is
compared whenever the file is loaded.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from sip.core.errors import DamagedError
from sip.core.files import write_atomically

KEY = "sha256"  # in the file's metadata; a second key would make the order of the bytes random


def save(weights: Mapping[str, Tensor], path: Path, config: bytes = b"") -> None:
    """Write weights with their checksum, whole or not at all.

    Args:
        config: Content of the configuration file that belongs to them.
    """
    whole = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_atomically(path, to_bytes(whole, {KEY: checksum(whole, config)}))


def load(path: Path, config: bytes = b"") -> dict[str, Tensor]:
    """Return the weights of a file, on the CPU.

    Raises:
        DamagedError: The weights or the configuration are not what was written.
    """
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            known = (file.metadata() or {}).get(KEY)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, str(error)) from error
    if known != checksum(weights, config):
        also = ", with its configuration," if config else ""
        raise _damaged(path, f"its checksum{also} is not the one that it was written with")
    return weights


def checksum(weights: Mapping[str, Tensor], config: bytes = b"") -> str:
    """Return the SHA-256 of configuration and tensors, in hex digits, whatever their order."""
    sha256 = hashlib.sha256(config)
    for name, value in sorted(weights.items()):
        sha256.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha256.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def _damaged(path: Path, reason: str) -> DamagedError:
    return DamagedError(f"{path} is damaged ({reason}); delete it and train again")

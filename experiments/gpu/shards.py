"""Weights as float16 safetensors files of at most 15 MiB, each with the configuration in it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

MAX_BYTES = 15 * 2**20


def save(folder: Path, stem: str, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> int:
    """Write the weights in place of those of an earlier call; return the number of files.

    Args:
        folder: There already.
        stem: Of the files' names: `stem-1-of-4.safetensors`.
        weights: Name -> tensor; written in float16 (integers as they are).
        config: JSON-able; stands in each file's metadata.
    """
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        kept = tensor.detach().to("cpu", torch.float16 if tensor.is_floating_point() else None)
        if parts[-1] and size + kept.nbytes > MAX_BYTES:
            parts.append({})
            size = 0
        parts[-1][name] = kept.contiguous()
        size += kept.nbytes
    names = [f"{stem}-{number}-of-{len(parts)}.safetensors" for number in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / f"{name}.part", metadata={"config": json.dumps(dict(config))})
    for name in names:
        os.replace(folder / f"{name}.part", folder / name)
    for old in set(folder.glob(f"{stem}-*-of-*.safetensors")) - {folder / name for name in names}:
        old.unlink()
    return len(parts)


def load(folder: Path, stem: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the weights and their configuration; None if the folder holds none.

    Raises:
        ValueError: A file is missing, or the files are of different moments.
    """
    files = sorted(folder.glob(f"{stem}-*-of-*.safetensors"))
    if not files:
        return None
    weights: dict[str, Tensor] = {}
    configs = set()
    for file in files:
        with safe_open(file, "pt") as opened:
            configs.add(opened.metadata()["config"])
            weights |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    number = int(files[0].stem.rpartition("-of-")[2])
    if len(files) != number or len(configs) != 1:
        raise ValueError(
            f"resume: must hold {number} files of one checkpoint, got {len(files)} of "
            f"{len(configs)} in {folder}; remove them to begin again"
        )
    return weights, json.loads(configs.pop())

"""Seeds and keys that depend on what they are for and on nothing else."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(*parts: Any) -> str:
    """Return the SHA-256, in hex, of the parts' JSON form."""
    return hashlib.sha256(ENCODER.encode(parts).encode()).hexdigest()


def digest_of_rows(rows: Iterable[Any], *parts: Any) -> str:
    """Return `digest(*parts, list(rows))`; one row is in memory at a time."""
    before = "".join(f"{ENCODER.encode(part)}," for part in parts)
    content = hashlib.sha256(f"[{before}[".encode())
    for number, row in enumerate(rows):
        content.update(f"{',' if number else ''}{ENCODER.encode(row)}".encode())
    content.update(b"]]")
    return content.hexdigest()


def fingerprint_of(recipe: Any) -> str:
    """Return the name of a recipe: ten hex digits."""
    return digest(recipe)[:10]


def ranks(texts: Iterable[str], *parts: Any) -> list[bytes]:
    """Return `digest(*parts, text)` of each text, as bytes: they sort as its hex digits do."""
    start = ENCODER.encode([*parts, ""])
    start = start.removesuffix('""]')
    quoted = map(json.encoder.encode_basestring, texts)
    return [hashlib.sha256(f"{start}{text}]".encode()).digest() for text in quoted]


def seed_of(*parts: Any) -> int:
    """Return a stable seed in [0, 2**63) for what the parts name."""
    return int(digest(*parts)[:16], 16) >> 1


@contextmanager
def seeded(seed: int, device: "torch.device | None" = None) -> Iterator[None]:
    """Let torch's global random numbers inside depend on a seed alone, and go on as before after.

    The numbers are those after `torch.manual_seed(seed)`, which without a GPU takes up to a
    millisecond: it keeps a formatted stack trace for each device that may turn up later.

    Args:
        seed: In [0, 2**63).
        device: Device whose generator is seeded next to the CPU's.
    """
    import torch

    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        number = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[number])
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)

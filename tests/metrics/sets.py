"""Made-up unit embeddings."""

import numpy as np

from sip.metrics.base import EmbeddedSet


def unit(rng: np.random.Generator, num: int, width: int, shift: float = 0.0) -> np.ndarray:
    """Return unit vectors (num, width), float32, around `shift` in every direction."""
    rows = rng.normal(shift, 1, (num, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def embedded_set(seed: int = 0, num: int = 40, width: int = 12, **changes) -> EmbeddedSet:
    """Return a generated set of 3 classes, two images an original."""
    rng = np.random.default_rng(seed)
    values = {
        "generated": unit(rng, num, width, 0.3),
        "labels": np.arange(num) % 3,
        "originals": unit(rng, num // 2, width, 0.3),
        "sources": np.arange(num) // 2,
        "label_texts": unit(rng, 3, width),
        "caption_texts": unit(rng, num, width),
        "reference": unit(rng, 30, width, 0.1),
    }
    return EmbeddedSet(**{**values, **changes})

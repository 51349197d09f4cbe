"""Made-up generated images, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sip.filter.base import Candidate

CLASS_NAMES = ("cat", "dog", "ox")


def candidates(labels: Sequence[int], per_sample: int = 1) -> list[Candidate]:
    """Return `per_sample` images of an original for each label."""
    return [
        Candidate(
            image_id=f"image{sample}-{variant}",
            sample_id=f"sample{sample}",
            label=label,
            class_name=CLASS_NAMES[label],
            path=f"/generated/{sample}-{variant}.png",
            sha256=f"generated{sample}-{variant}",
            source=f"/real/{sample}.png",
            source_sha256=f"real{sample}",
        )
        for sample, label in enumerate(labels)
        for variant in range(per_sample)
    ]


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@dataclass
class Known:
    """Facts by name."""

    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    probabilities: dict[str, list[float]] = field(default_factory=dict)
    class_names: Sequence[str] = CLASS_NAMES
    num_threads: int = 2

    def embeddings(self, keys: Sequence[str]) -> np.ndarray:
        return np.stack([self.vectors[key] for key in keys])

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.vectors[text] for text in texts])

    def control(self, paths: Sequence[str]) -> np.ndarray:
        return np.array([self.probabilities[path] for path in paths], np.float32)


def random_facts(generated: Sequence[Candidate], size: int = 8, seed: int = 0) -> Known:
    """Return random unit vectors of all images and prompts, and random probabilities."""
    rng = np.random.default_rng(seed)
    names = [one.sha256 for one in generated] + [one.source_sha256 for one in generated]
    names += [f"a photo of a {name}" for name in CLASS_NAMES]
    vectors = {name: unit(rng.normal(size=size)) for name in dict.fromkeys(names)}
    seen = {one.path: list(rng.dirichlet([1, 1, 1])) for one in generated}
    return Known(vectors, seen)

"""Rejects images that the scorer takes for another class than their label.

Source: zero-shot classification by CLIP (Radford et al., ICML 2021, arXiv 2103.00020, section
3.1); He et al. (ICLR 2023, arXiv 2210.07574) filter generated images by it. The margin is ours.

The scorer is the one that chose the captions, so its verdict is not independent of the prompts:
what it keeps looks right to the model whose choice steered the image.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from sip.core.component import component
from sip.core.ranges import Positive
from sip.filter.base import DECIMALS, Candidate, Facts, LabelFilter, Verdict


@component
class ZeroShot(LabelFilter):
    """Keeps images whose most probable class prompt is their label's, by a margin.

    Args:
        margin: Probability of the label less that of the most probable other class, at least; 0
            keeps whatever is assigned to its label.
        logit_scale: Scale of the zero-shot softmax; 100 is CLIP's.
    """

    margin: Annotated[float, Field(ge=0, lt=1)]
    logit_scale: Positive

    @property
    def single(self) -> bool:
        """Each image is judged by itself."""
        return True

    @property
    def gives_probability(self) -> bool:
        """Verdicts have the probability of the label."""
        return True

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Classify each image by the classes' prompts."""
        texts = facts.texts(self.prompts(facts.class_names))
        vectors = self.vectors([image.sha256 for image in images], facts)
        verdicts = []
        for image, seen in zip(images, zero_shot(vectors, texts, self.logit_scale), strict=True):
            own = float(seen[image.label])
            others = np.delete(seen, image.label)
            margin = round(own - float(others.max(initial=0.0)), DECIMALS)
            if margin >= self.margin:
                verdicts.append(Verdict(probability=round(own, DECIMALS)))
                continue
            best = facts.class_names[int(seen.argmax())]
            reason = "unsure of its class" if best == image.class_name else "another class"
            detail = f"zero-shot {best}, its label has {own:.2f}"
            verdicts.append(Verdict(reason, detail, round(own, DECIMALS)))
        return verdicts


def zero_shot(vectors: np.ndarray, texts: np.ndarray, logit_scale: float) -> np.ndarray:
    """Return the probabilities (N, classes) of unit vectors (N, D), given the classes' (C, D)."""
    logits = logit_scale * vectors.astype(np.float64) @ texts.astype(np.float64).T
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)

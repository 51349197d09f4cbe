"""Does a generated image still show what it should? Cosines with texts, by the scorer.

Source: CLIPScore without its factor 2.5 and its cut at 0 (Hessel et al., EMNLP 2021, arXiv
2104.08718, section 3) for the similarities; zero-shot classification as in Radford et al., ICML
2021 (arXiv 2103.00020, section 3.1), for the agreement. The formulas are those papers', the code
is ours. If captions are chosen by the same scorer, their similarity is biased upwards.

The label is the class that an image is to show; of an image of two classes, not its original's.
"""

import numpy as np

from sip.core.component import Component, component
from sip.metrics.base import EmbeddedSet, MetricRow


def paired_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine in [-1, 1] of each pair of unit vectors: (N, D), (N, D) -> (N,)."""
    products = np.einsum("nd,nd->n", first.astype(np.float64), second.astype(np.float64))
    return np.clip(products, -1, 1)


def zero_shot_labels(images: np.ndarray, label_texts: np.ndarray) -> np.ndarray:
    """Return the class whose text is nearest to each image: (N, D), (C, D) -> (N,), int.

    Of two equally near texts, the first.
    """
    return (images.astype(np.float64) @ label_texts.astype(np.float64).T).argmax(1)


def label_similarity(images: np.ndarray, label_texts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cosine in [-1, 1] of each image (N, D) with the text of its class -> (N,)."""
    return paired_cosines(images, label_texts[labels])


def label_agreement(images: np.ndarray, label_texts: np.ndarray, labels: np.ndarray) -> float:
    """Return the share in [0, 1] of images that zero-shot classification finds in their class.

    Its ceiling is the scorer's own zero-shot accuracy on real images.
    """
    return float((zero_shot_labels(images, label_texts) == labels).mean())


@component
class Consistency(Component):
    """Similarity to the label and to the caption, and zero-shot agreement with the label."""

    def measure(self, images: EmbeddedSet) -> list[MetricRow]:
        """Return the rows; that of the captions only if there are captions."""
        num, texts, labels = len(images.generated), images.label_texts, images.labels
        to_label = label_similarity(images.generated, texts, labels).mean()
        agreement = label_agreement(images.generated, texts, labels)
        rows = [
            MetricRow("generated/consistency_label", float(to_label), "cosine", True, "train", num)
        ]
        if images.caption_texts is not None:
            to_caption = paired_cosines(images.generated, images.caption_texts).mean()
            rows.append(
                MetricRow(
                    "generated/consistency_caption", float(to_caption), "cosine", True, "train", num
                )
            )
        rows.append(MetricRow("generated/label_agreement", agreement, "share", True, "train", num))
        return rows

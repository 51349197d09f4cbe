"""Does a drawn picture still show what it should? Cosines with texts, by the scorer.

Source: CLIPScore without its factor 2.5 and its cut at 0 (Hessel et al., EMNLP 2021, arXiv
2104.08718, section 3) for the similarities; zero-shot classification as in Radford et al., ICML
2021 (arXiv 2103.00020, section 3.1), for the agreement. The formulas are those papers', the code
is ours. Where captions are chosen by the same scorer, the similarity to them is flattered by it.
"""

import numpy as np

from sip.metrics.base import DrawnSet, Row


def paired_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine in [-1, 1] of each pair of unit vectors: (N, D), (N, D) -> (N,)."""
    products = np.einsum("nd,nd->n", first.astype(np.float64), second.astype(np.float64))
    return np.clip(products, -1, 1)


def zero_shot_labels(pictures: np.ndarray, label_texts: np.ndarray) -> np.ndarray:
    """Return the class whose text is nearest to each picture: (N, D), (C, D) -> (N,), int.

    Of two texts that are as near, the first.
    """
    return (pictures.astype(np.float64) @ label_texts.astype(np.float64).T).argmax(1)


def label_similarity(
    pictures: np.ndarray, label_texts: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return the cosine in [-1, 1] of each picture (N, D) with the text of its class -> (N,)."""
    return paired_cosines(pictures, label_texts[labels])


def label_agreement(pictures: np.ndarray, label_texts: np.ndarray, labels: np.ndarray) -> float:
    """Return the share in [0, 1] of pictures that zero-shot classification finds in their class.

    Its ceiling is the scorer's own zero-shot accuracy on real pictures.
    """
    return float((zero_shot_labels(pictures, label_texts) == labels).mean())


class Consistency:
    """Similarity to the label and to the caption, and zero-shot agreement with the label."""

    def measure(self, drawn: DrawnSet) -> list[Row]:
        """Return the rows; that of the captions only where there are captions."""
        num, texts, labels = len(drawn.drawn), drawn.label_texts, drawn.labels
        to_label = label_similarity(drawn.drawn, texts, labels).mean()
        agreement = label_agreement(drawn.drawn, texts, labels)
        rows = [Row("drawn/consistency_label", float(to_label), "cosine", True, "train", num)]
        if drawn.caption_texts is not None:
            said = paired_cosines(drawn.drawn, drawn.caption_texts).mean()
            rows.append(Row("drawn/consistency_caption", float(said), "cosine", True, "train", num))
        rows.append(Row("drawn/label_agreement", agreement, "share", True, "train", num))
        return rows

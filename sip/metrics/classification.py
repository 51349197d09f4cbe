"""Metrics of a classifier on a split, from its logits only (torchmetrics, scikit-learn).

`python -m sip.evaluate` computes them again for finished runs.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NUM_BINS = 15  # of the calibration error: Guo et al., ICML 2017
TOP = 5


def classification(
    logits: "Tensor", labels: "Tensor", groups: Mapping[str, Sequence[int]] | None = None
) -> dict[str, float]:
    """Return metric -> value.

    - `top1`, `top5`: share of the images whose class has the highest, or one of the five highest,
      logits; in [0, 1]. `top5` is left out for five classes and fewer.
    - `mean_per_class`: mean over the classes that occur of their top-1 accuracy; in [0, 1].
    - `ece`: expected calibration error of the softmax, top label, 15 equal bins, L1 (Guo et al.,
      ICML 2017, equation 3); in [0, 1], lower is better.
    - `nll`: mean negative log-likelihood, nats, lower is better.
    - `<group>`: top-1 over the images of the group's classes, if it has any.

    Args:
        logits: (N, C), float32.
        labels: (N,), int64.
        groups: Name -> classes, such as head, middle and tail.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
    )

    num_classes = logits.shape[1]
    right = (logits.argmax(1) == labels).double()
    values = {"top1": right.mean()}
    if num_classes > TOP:
        values["top5"] = multiclass_accuracy(
            logits, labels, num_classes, average="micro", top_k=TOP
        )
    of_class = [right[labels == label].mean() for label in labels.unique()]
    values["mean_per_class"] = torch.stack(of_class).mean()
    values["ece"] = multiclass_calibration_error(
        logits.softmax(1), labels, num_classes, n_bins=NUM_BINS, norm="l1"
    )
    values["nll"] = cross_entropy(logits, labels)
    for name, classes in (groups or {}).items():
        members = torch.isin(labels, torch.tensor(list(classes), dtype=labels.dtype))
        if members.any():
            values[name] = right[members].mean()
    return {name: float(value) for name, value in values.items()}


def per_class(
    logits: "Tensor", labels: "Tensor", class_names: Sequence[str]
) -> list[dict[str, str | int | float]]:
    """Return a row a class: `class_name`, `n`, `recall` (its top-1), `precision`, `f1`.

    Recall, precision and F1 are in [0, 1], and 0 if they are 0 / 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    predicted, every = logits.argmax(1).numpy(), range(len(class_names))
    precision, recall, f1, num = precision_recall_fscore_support(
        labels.numpy(), predicted, labels=list(every), zero_division=0
    )
    return [
        {
            "class_name": class_names[label],
            "n": int(num[label]),
            "recall": float(recall[label]),
            "precision": float(precision[label]),
            "f1": float(f1[label]),
        }
        for label in every
    ]

"""What images are trained to: their class, or shares of two classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sip.classifier.rows import column

if TYPE_CHECKING:
    from sip.classifier.base import LabelledImage


class Targets:
    """The targets of training images: class indices if each has one class, else probabilities.

    An image that is to show another class than its original's has `label_share` of its label and
    1 - `label_share` of its `source_label`, as `TrainingImage` says.

    Args:
        rows: Training images.
        num_classes: Number of classes; read only if an image has two.
    """

    def __init__(self, rows: "Sequence[LabelledImage]", num_classes: int) -> None:
        self.num_classes = num_classes
        labels, others = column(rows, "label"), column(rows, "source_label")
        self.labels = torch.from_numpy(np.array(labels, np.int64))
        self.are_soft = any(other is not None for other in others)
        if self.are_soft:
            pairs = zip(labels, others, strict=True)
            self.others = torch.tensor([own if other is None else other for own, other in pairs])
            self.shares = torch.tensor([float(s) for s in column(rows, "label_share", 1.0)])

    def of(self, rows: Tensor) -> Tensor:
        """Return the targets of rows.

        Args:
            rows: (B,), int64, positions of images.

        Returns:
            (B,), int64, or (B, num_classes), float32, each row of sum 1.
        """
        labels = self.labels[rows]
        if not self.are_soft:
            return labels
        shares = self.shares[rows, None]
        targets = torch.zeros(len(rows), self.num_classes)
        targets.scatter_add_(1, labels[:, None], shares)
        return targets.scatter_add_(1, self.others[rows, None], 1 - shares)

"""A loaded captioner as a LightningModule."""

from collections.abc import Callable, Sequence
from typing import Any

from PIL.Image import Image
from torch import nn

from sip.captions.base import CaptionRow
from sip.dataset.base import Sample
from sip.device.batches import ImageBatch
from sip.device.module import PredictionModule
from sip.device.precision import full_float32


class CaptionModule(PredictionModule):
    """Makes rows of captions.

    Args:
        key: Returns the key of a sample's row.
        prepare: Returns (images, ...), float32, on the CPU, of RGB images of any size, or a list
            with a mapping of tensors for each; it is called in several threads at once, while the
            device is at work.
        caption: Returns the candidates of each sample, without repetitions, from what `prepare`
            returned, on the device.
        network: The weights, on the device; None without any.
    """

    def __init__(
        self,
        key: Callable[[Sample], str],
        prepare: Callable[[Sequence[Image]], Any],
        caption: Callable[[Sequence[Sample], Any], list[list[str]]],
        network: nn.Module | None = None,
    ) -> None:
        super().__init__("captions", "captions.dtype=bfloat16 or another model")
        self.key, self.prepare, self.caption = key, prepare, caption
        self.network = network
        self.requires_grad_(False)

    def rows(self, batch: ImageBatch[Sample]) -> list[CaptionRow]:
        """Return a row for each sample."""
        captions: list[list[str]] = []
        if batch.pixels is not None:
            with full_float32():
                captions = self.caption(batch.readable, batch.pixels)
        candidates = iter(captions)
        return [
            CaptionRow(self.key(sample), sample.sample_id, next(candidates), "ok", None)
            if error is None
            else CaptionRow(self.key(sample), sample.sample_id, [], "failed", error)
            for sample, error in zip(batch.items, batch.errors, strict=True)
        ]

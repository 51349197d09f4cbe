"""A loaded generator as a LightningModule."""

from abc import abstractmethod
from dataclasses import replace

import torch

from sip.device.module import PredictionModule
from sip.device.settings import Runtime
from sip.images.base import Generator, ImageResult
from sip.images.batches import Batch
from sip.prompts.base import Prompt

REMEDY = "a smaller images.size, images.dtype=bfloat16 or images.vae_tiling=true"


class ImageModule(PredictionModule):
    """Generates batches of images.

    Args:
        settings: The component that loaded this module.
        runtime: Device settings.
    """

    def __init__(self, settings: Generator, runtime: Runtime) -> None:
        super().__init__("images", REMEDY)
        self.settings = settings
        self.runtime = runtime

    def place(self) -> None:
        """Freeze the weights, and move them to the device."""
        self.requires_grad_(False)
        self.eval()
        self.to(self.runtime.device)

    @abstractmethod
    def rows(self, batch: Batch) -> list[ImageResult]:
        """Generate one batch that fits into memory, rows of one group.

        Returns:
            One image a row, in the order of the rows, failed ones too.
        """

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Return the batch with its sources on the device."""
        sources = {key: pixels.to(device) for key, pixels in batch.sources.items()}
        return replace(batch, sources=sources)

    def clear(self) -> None:
        """Free the memory of what is kept between batches; the weights go with the module."""


def unreadable(row: Prompt, batch: Batch) -> ImageResult:
    """Return the failed image of a row whose original cannot be read."""
    error = batch.unreadable[row.source_sha256]
    return ImageResult(row.image_id, None, 0, 0.0, "failed", "unreadable", error)

"""The images that a stack learns from, with their texts, as tensors."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sip.core.errors import UserError
from sip.stack.texts import Texts


@dataclass(frozen=True)
class Pool:
    """Images with their texts.

    Attributes:
        images: (N, C, S, S), uint8; C is 1 (grey) or 3.
        texts: Texts of the N images.
        mirrored: Each image has a second row, its mirror image: rows N .. 2 N - 1.
        shift: px that an image may be moved by, if a model asks for it; 0 for none.
    """

    images: Tensor
    texts: Texts
    mirrored: bool
    shift: int

    def __len__(self) -> int:
        """Return the number of rows, mirror images included."""
        return len(self.images) * (2 if self.mirrored else 1)

    @property
    def side(self) -> int:
        """Side of the images, px."""
        return self.images.shape[-1]

    @property
    def device(self) -> torch.device:
        """The device of the images."""
        return self.images.device

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 if the pool is not labelled."""
        return len(self.texts.names)

    def sources(self, rows: Tensor) -> list[int]:
        """Return the images of rows: mirror images have their original's captions."""
        return (rows % len(self.images)).tolist()

    def labels(self, rows: Tensor) -> Tensor:
        """Return the labels (B,), int64, of rows of a labelled pool, on the images' device."""
        assert self.texts.labels is not None
        return self.texts.labels[rows % len(self.images)].to(self.device)

    def pixels(self, rows: Tensor, shifted: float = 0.0) -> Tensor:
        """Return images (B, 3, S, S), float32, in [-1, 1], on the images' device.

        Args:
            rows: (B,), int64, on the CPU.
            shifted: Each is moved by up to this share of `shift`; random numbers are torch's.
        """
        levels = self.images[(rows % len(self.images)).to(self.device)]
        if self.mirrored:
            mirror = (rows >= len(self.images)).to(self.device).view(-1, 1, 1, 1)
            levels = torch.where(mirror, levels.flip(-1), levels)
        pixels = levels.expand(-1, 3, -1, -1).float() / 255 * 2 - 1
        most = round(self.shift * shifted)
        return moved(pixels, torch.randint(2 * most + 1, (2, len(rows))), most) if most else pixels

    def to(self, device: str) -> "Pool":
        """Return the pool with its images on a device, if they fit in half of its free memory."""
        if torch.device(device).type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if self.images.nbytes > free / 2:
                raise UserError(
                    f"dataset: {self.images.nbytes / 1e9:.1f} GB of images do not fit in half "
                    f"of the {free / 1e9:.1f} GB that are free on {device}; take fewer"
                )
        return replace(self, images=self.images.to(device))


def moved(pixels: Tensor, offsets: Tensor, most: int) -> Tensor:
    """Move images by whole pixels; what comes in at a border is the image mirrored there.

    Args:
        pixels: (B, C, S, S).
        offsets: (2, B), int64, in 0 .. 2 `most`; `most` leaves an image in its place.
        most: px.
    """
    num, channels, side, _ = pixels.shape
    wide = F.pad(pixels, (most, most, most, most), mode="reflect")
    device = pixels.device
    y, x = (offset.to(device)[:, None] + torch.arange(side, device=device) for offset in offsets)
    image = torch.arange(num, device=device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
    return wide[image, channel, y.view(num, 1, side, 1), x.view(num, 1, 1, side)]

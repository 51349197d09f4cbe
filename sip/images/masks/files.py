"""Masks as image files: what is read of them, and what they must be."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from sip.core.image_io import opened
from sip.core.shapes import Size, scaled
from sip.core.tars import read_bytes
from sip.core.text import reason_of
from sip.images.companions import require_shape

if TYPE_CHECKING:
    from torch import Tensor

WHITE = 128  # the lowest grey level that counts as white


@dataclass(frozen=True)
class MaskFile:
    """A mask that was read.

    Attributes:
        sha256: Hash of its bytes.
        has_white, has_black: Whether any pixel is.
    """

    sha256: str
    has_white: bool
    has_black: bool


def read_mask(path: str, size: int | Size | None) -> "Tensor":
    """Return a mask (1, H, W), float32: 1 where it is white, else 0.

    Args:
        path: File of the mask.
        size: In px; cut and scaled as its original is, to the nearest pixel.

    Raises:
        ValueError: It cannot be read.
    """
    import torch

    try:
        grey = _grey(read_bytes(path))
    except Exception as error:  # of damaged files, of many kinds
        raise ValueError(f"{path}: must be a readable mask: {reason_of(error)}") from error
    if size is not None:
        grey = scaled(grey, size, Image.Resampling.NEAREST)
    return torch.from_numpy((np.asarray(grey) >= WHITE).astype(np.float32))[None]


def look_at_mask(path: str, width: int, height: int) -> MaskFile:
    """Return what is known of a mask.

    Args:
        path: File of the mask.
        width, height: Size of its original, in px.

    Raises:
        ValueError: It is no mask of such an image; says why.
    """
    try:
        content = read_bytes(path)
        grey = _grey(content)
    except Exception as error:  # as in `read_mask`
        raise ValueError(reason_of(error)) from error
    require_shape(grey, width, height)
    levels = np.asarray(grey)
    low, high = int(levels.min()), int(levels.max())
    if 0 < high < WHITE:
        raise ValueError(f"grey levels of {low} .. {high}, not black (0) and white (255)")
    return MaskFile(hashlib.sha256(content).hexdigest(), high >= WHITE, low < WHITE)


def _grey(content: bytes) -> Image.Image:
    with opened(content) as image:
        image.load()
        if image.has_transparency_data:
            raise ValueError("it has transparency; save it in black and white")
        if image.mode not in ("1", "L", "P", "RGB"):
            raise ValueError(f"it has the mode {image.mode}; save it with 8 bits")
        return ImageOps.exif_transpose(image).convert("L")

"""A transform that exchanges an original for an image generated from it."""

import hashlib
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from sip.api.run import Run, RunImage, require_own_classes
from sip.core.errors import UserError
from sip.core.progress import progress

BAR_FROM = 2000  # originals


class GeneratedImage(nn.Module):
    """Exchanges an original for an image generated from it; leaves other images as they are.

    The original is recognised by its pixels, so it works in any library and any order of the
    data, as the first of the transforms: before anything that changes the image. All originals of
    the run are decoded once for it. Those of equal pixels share their images; if they are of
    several classes, they stay as they are.

    Args:
        run: The generated images.
        p: Probability, in [0, 1], by torch's random numbers.

    Raises:
        UserError: A value is wrong, an original is missing or damaged, or the images are to show
            another class than their original's.
    """

    def __init__(self, run: Run, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise UserError(f"p: must be in [0, 1], got {p!r}")
        require_own_classes(run)
        self.p = p
        self.num_originals = len(run.by_file)
        known: dict[str, dict[str, RunImage]] = {}  # hash of an original's pixels -> id -> image
        groups = [images for images in run.by_file.values() if images]
        bar = progress("originals", len(groups), "image") if len(groups) >= BAR_FROM else None
        for images in groups:
            for pixels in _decodings(images[0]):
                known.setdefault(_key(pixels), {}).update({one.id: one for one in images})
            if bar is not None:
                bar.update(1)
        if bar is not None:
            bar.close()
        self._generated = {
            key: list(of_key.values())
            for key, of_key in known.items()
            if len({one.label for one in of_key.values()}) == 1
        }

    def forward(self, image: Any) -> Any:
        """Return an image of the type of `image`: PIL, array (H, W, 3) or tensor (3, H, W), uint8.

        Args:
            image: An image as it was read.

        Raises:
            UserError: It is of another type, such as an image that was normalised.
        """
        pixels = _pixels(image)
        images = self._generated.get(_key(pixels))
        if not images or float(torch.rand(())) >= self.p:
            return image
        chosen = images[int(torch.randint(len(images), ()))].image
        if isinstance(image, Image.Image):
            return chosen if image.mode == "RGB" else chosen.convert(image.mode)
        array = np.array(chosen)
        if isinstance(image, torch.Tensor):
            return torch.from_numpy(array).permute(2, 0, 1).contiguous()
        return array

    def extra_repr(self) -> str:
        """Return what torch shows of it."""
        return f"p={self.p}, originals={self.num_originals}"


def _decodings(image: RunImage) -> list[np.ndarray]:
    """Return an original's pixels, upright and as the file has them: libraries differ in that."""
    upright = image.original_image
    raw = image.original_as_stored
    found = [np.asarray(upright)]
    if raw.size != upright.size or raw.tobytes() != upright.tobytes():
        found.append(np.asarray(raw))
    return found


def _pixels(image: Any) -> np.ndarray:
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    is_tensor = isinstance(image, torch.Tensor)
    array = image.detach().cpu().numpy() if is_tensor else np.asarray(image)
    if is_tensor and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise UserError(
            "GeneratedImage: must get an image as it was read, PIL or uint8 (H, W, 3) as array or "
            f"(3, H, W) as tensor, got {type(image).__name__} {array.dtype} {array.shape}; put it "
            "first in the list of transforms"
        )
    return array


def _key(pixels: np.ndarray) -> str:
    """Return a hash of an image's pixels and shape."""
    shape = repr(pixels.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()

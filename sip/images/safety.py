"""Find images that are not finite, black, or flagged by the model's own safety checker."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

BLACK = 1 / 255  # an image with no pixel above it

ERRORS = {
    "not finite": "the image has pixels that are not finite numbers",
    "black": "all pixels of the image are black",
    "flagged": "the safety checker found the image unfit",
}


class SafetyChecker(nn.Module):
    """The checker that Stable Diffusion 1.x comes with, as its pipeline calls it.

    Args:
        checker: diffusers' StableDiffusionSafetyChecker.
        extractor: Cuts and scales images for it.
    """

    def __init__(self, checker: nn.Module, extractor: Any) -> None:
        super().__init__()
        self.checker = checker
        self.extractor = extractor

    def flagged(self, pixels: Tensor) -> list[bool]:
        """Return which of the images (B, 3, H, W), in [0, 1], are unfit."""
        levels = (pixels.nan_to_num() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        images = [Image.fromarray(image) for image in levels]
        weight = next(self.checker.parameters())
        seen = self.extractor(images, return_tensors="pt").pixel_values
        # It blackens what it flags; it gets nothing to blacken.
        nothing = torch.zeros(len(pixels), 1)
        _, found = self.checker(images=nothing, clip_input=seen.to(weight.device, weight.dtype))
        return [bool(one) for one in found]


def judge(pixels: Tensor, checker: SafetyChecker | None) -> Sequence[str | None]:
    """Return why each image (B, 3, H, W) is unusable, a key of `ERRORS`, or None."""
    flat = pixels.flatten(1)
    tests = {"not finite": ~flat.isfinite().all(1), "black": flat.amax(1) <= BLACK}
    found = {reason: test.tolist() for reason, test in tests.items()}
    if checker is not None:
        found["flagged"] = checker.flagged(pixels)
    return [
        next((reason for reason in found if found[reason][row]), None) for row in range(len(pixels))
    ]

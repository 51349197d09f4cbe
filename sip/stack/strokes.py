"""What a scan of a digit looks like: strokes, measured on the grey image, white ink on black."""

from typing import ClassVar

import torch
from torch import Tensor

from sip.stack.grammar import Attribute, Grammar


class Strokes(Grammar):
    """Thickness, slant, width and balance. Captions do not name the digit."""

    kind = "strokes"
    named = 0.0
    openings = ("a handwritten digit", "a scan of a digit", "a digit")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(
            "thickness",
            (
                ("thin strokes", "fine lines", "a light pen"),
                ("medium strokes", "an ordinary pen"),
                ("thick strokes", "bold lines", "a heavy pen"),
            ),
            before="with ",
        ),
        Attribute(
            "slant",
            (
                ("leaning left", "tilted to the left"),
                ("upright", "standing straight"),
                ("leaning right", "tilted to the right"),
            ),
        ),
        Attribute(
            "width",
            (("narrow", "slim"), ("of medium width", "of ordinary width"), ("wide", "broad")),
        ),
        Attribute(
            "balance",
            (
                ("heavy at the top", "fuller above"),
                ("evenly balanced", "balanced"),
                ("heavy at the bottom", "fuller below"),
            ),
        ),
    )

    @staticmethod
    def measure(pixels: Tensor) -> Tensor:
        """Measure the four attributes of images (N, 3, H, W), in [0, 1], by their mean channel.

        Returns:
            (N, 4), float32: stroke thickness in px (twice the ink over the length of its edge);
            slant as dx/dy of the ink's second moments, positive to the right; horizontal spread in
            px; vertical centre of mass in [0, 1], 1 is the bottom.
        """
        ink = pixels.mean(1).clamp(0, 1)
        _, height, width = ink.shape
        dx, dy = ink.diff(dim=2)[:, :-1], ink.diff(dim=1)[:, :, :-1]
        edge = (dx**2 + dy**2).sqrt().sum((1, 2))
        mass = ink.sum((1, 2)).clamp(min=1e-6)
        x = torch.arange(width, dtype=ink.dtype).view(1, 1, -1)
        y = torch.arange(height, dtype=ink.dtype).view(1, -1, 1)
        centre_x = (ink * x).sum((1, 2)) / mass
        centre_y = (ink * y).sum((1, 2)) / mass
        x0, y0 = x - centre_x.view(-1, 1, 1), y - centre_y.view(-1, 1, 1)
        var_y = ((ink * y0**2).sum((1, 2)) / mass).clamp(min=1e-6)
        slant = -(ink * x0 * y0).sum((1, 2)) / mass / var_y
        spread = ((ink * x0**2).sum((1, 2)) / mass).sqrt()
        thickness = 2 * mass / edge.clamp(min=1e-6)
        return torch.stack([thickness, slant, spread, centre_y / (height - 1)], dim=1)

"""What any colour image looks like: colours of centre and border, light, texture, warmth."""

from typing import ClassVar

import torch
from torch import Tensor

from sip.stack.colours import COLOURS, colour_of, most_common, rgb_to_lab
from sip.stack.grammar import Attribute, Grammar, article

CENTRE = 0.25  # share of the side that the centre leaves free on each of its four sides
BORDER = 0.125  # share of the side that the border is wide


class Natural(Grammar):
    """Six attributes; a caption mostly names the class first, if it is known."""

    kind = "natural"
    named = 0.75
    openings = ("a picture", "an image")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(
            "centre",
            tuple((f"{name} in the middle", f"{name} at the centre") for name in COLOURS),
            ordinal=False,
        ),
        Attribute(
            "border",
            tuple(
                (f"on {article(name)} {name} background", f"{name} around it") for name in COLOURS
            ),
            ordinal=False,
        ),
        Attribute(
            "brightness",
            (("dark", "dimly lit"), ("of medium brightness",), ("bright", "brightly lit")),
        ),
        Attribute(
            "contrast",
            (("of low contrast", "flat"), ("of medium contrast",), ("of high contrast", "stark")),
        ),
        Attribute(
            "texture",
            (("smooth", "plain"), ("of medium texture",), ("detailed", "finely textured")),
        ),
        Attribute(
            "warmth",
            (("in cold tones", "cold"), ("in neutral tones",), ("in warm tones", "warm")),
        ),
    )

    @staticmethod
    def measure(pixels: Tensor) -> Tensor:
        """Measure the six attributes of images (N, 3, H, W), in [0, 1].

        Returns:
            (N, 6), float32: colour of the middle half of both sides, and of the outer eighth, as
            the place in `COLOURS` that most pixels have; mean and deviation of the lightness L;
            mean length of L's gradient, a px; mean of b*, from blue (low) to yellow (high).
        """
        lab = rgb_to_lab(pixels.permute(0, 2, 3, 1))
        light = lab[..., 0]
        colours, (centre, border) = colour_of(lab), regions(pixels.shape[-1])
        dx, dy = light.diff(dim=2)[:, :-1], light.diff(dim=1)[:, :, :-1]
        return torch.stack(
            [
                most_common(colours, centre).float(),
                most_common(colours, border).float(),
                light.mean((1, 2)),
                light.std((1, 2)),
                (dx**2 + dy**2).sqrt().mean((1, 2)),
                lab[..., 2].mean((1, 2)),
            ],
            dim=1,
        )


def regions(side: int) -> tuple[Tensor, Tensor]:
    """Return the masks (H, W), bool, of centre and border of a square image."""
    inner, outer = round(side * CENTRE), max(1, round(side * BORDER))
    centre = torch.zeros(side, side, dtype=torch.bool)
    centre[inner : side - inner, inner : side - inner] = True
    border = torch.ones(side, side, dtype=torch.bool)
    border[outer : side - outer, outer : side - outer] = False
    return centre, border

"""A baseline on our engine: DiffuseMix, which keeps half of the original under a thin fractal.

Source: Islam et al., DiffuseMix, CVPR 2024, arXiv 2405.14881, with the code at
github.com/khawar-islam/diffuseMix (no licence file was found in it; nothing is copied). There,
InstructPix2Pix edits the original by a style prompt ("autumn", "snowy", ...; guidance 4), one half
of the edit is put next to the other half of the original, with a seam of 20 px at 512 px, and a
fractal image from a collection is blended in with weight 0.2. Edits that are black are left out.

What we changed:
- image to image with our engine in place of InstructPix2Pix, so that prompts are descriptions and
  not instructions (`prompts=diffusemix_like`), and a noise rate says how far the edit goes.
- fractals are made by `sip.images.fractals` in place of the collection.
- the generated half is left, right, upper or lower, each as often; their code keeps the original's
  left or upper half. It and the fractal follow from the image's own seed.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sip.core.component import component
from sip.core.hashing import seed_of
from sip.core.ranges import Count, Share
from sip.core.shapes import Size
from sip.images.img2img import Img2Img
from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from torch import Tensor

SEAM = 20 / 512  # of the size, over which one half passes into the other
HALVES = ("left", "right", "upper", "lower")


@component
class DiffuseMixLike(Img2Img):
    """Generates as `Img2Img`, joins one half with the original's other one, blends a fractal.

    Args:
        fractal_weight: Weight of the fractal, in [0, 1].
        num_fractals: Number of fractals; each image gets one of them.
    """

    fractal_weight: Share
    num_fractals: Count

    def finish(
        self, rows: Sequence[Prompt], sources: Mapping[str, "Tensor"], pixels: "Tensor"
    ) -> "Tensor":
        """Return the mixed images (B, 3, H, W), float32, in [0, 1]."""
        import torch

        from sip.images.fractals import fractal

        originals = torch.stack([sources[row.source_sha256].to(pixels) for row in rows])
        size = Size.of(self.size_of(rows[0]))
        masks = torch.stack([half(half_of(row.seed), size) for row in rows])
        numbers = [seed_of(row.seed, "fractal") % self.num_fractals for row in rows]
        fractals = torch.stack([torch.from_numpy(fractal(n, size)) for n in numbers])
        joined = torch.lerp(originals, pixels, masks.to(pixels))
        return torch.lerp(joined, fractals.to(pixels) / 255, self.fractal_weight)


def half_of(seed: int) -> str:
    """Return which half of the image with this seed is the generated one."""
    return HALVES[seed_of(seed, "half") % len(HALVES)]


def half(name: str, size: Size) -> "Tensor":
    """Return the share of the generated image at each pixel: (1, H, W), in [0, 1]."""
    import torch

    is_across = name in ("left", "right")
    side, other = size if is_across else size[::-1]
    seam = max(SEAM * side, 1e-6)
    middle = (torch.arange(side, dtype=torch.float32) + 0.5 - side / 2) / seam
    rising = (middle + 0.5).clamp(0, 1)
    line = rising if name in ("right", "lower") else 1 - rising
    across = line.expand(other, side)
    return (across if is_across else across.T)[None]

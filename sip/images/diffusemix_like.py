"""Rival, on our engine: DiffuseMix, where half of a picture stays, under a thin fractal.

Source: Islam et al., DiffuseMix, CVPR 2024, arXiv 2405.14881, with the code at
github.com/khawar-islam/diffuseMix (no licence file was found in it; nothing is copied). There,
InstructPix2Pix edits the original by a style prompt ("autumn", "snowy", ...; guidance 4), one half
of the edit is put beside the other half of the original, with a seam of 20 px at 512 px, and a
fractal picture from a collection is blended in with weight 0.2. Edits that are black are left out.

What we changed:
- image to image with our engine in place of InstructPix2Pix, so that prompts are descriptions and
  not instructions (`prompts=diffusemix_like`), and a noise rate says how far the edit goes.
- fractals are made by `sip.images.fractals` in place of the collection.
- the half that is drawn is left, right, upper or lower, each as often; their code keeps the
  original's left or upper half. It and the fractal follow from the picture's own seed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sip.core.hashing import seed_of
from sip.images import checks
from sip.images.fractals import fractal
from sip.images.img2img import Img2Img
from sip.prompts.base import Prompt
from sip.prompts.weighting.base import Weighting

SEAM = 20 / 512  # of the size, over which one half passes into the other
HALVES = ("left", "right", "upper", "lower")


class DiffuseMixLike(Img2Img):
    """Draws as `Img2Img`, then joins one half with the original's other one, and blends a fractal.

    Args:
        fractal_weight: Of the fractal, in [0, 1].
        num_fractals: Of which each picture gets one.
        model, revision, variant, lora, dtype, scheduler, num_steps, size, guidance_interval,
            vae_tiling, safety_checker, weighting, per_sample, max_failed, format, storage: As in
            `Settings`.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        variant: str | None,
        lora: Mapping[str, Any] | None,
        dtype: str,
        scheduler: str,
        num_steps: int,
        size: int,
        guidance_interval: Sequence[float],
        vae_tiling: bool,
        safety_checker: bool,
        weighting: Weighting,
        per_sample: int,
        max_failed: float,
        format: str,
        storage: str,
        fractal_weight: float,
        num_fractals: int,
    ) -> None:
        super().__init__(
            model=model,
            revision=revision,
            variant=variant,
            lora=lora,
            dtype=dtype,
            scheduler=scheduler,
            num_steps=num_steps,
            size=size,
            guidance_interval=guidance_interval,
            vae_tiling=vae_tiling,
            safety_checker=safety_checker,
            weighting=weighting,
            per_sample=per_sample,
            max_failed=max_failed,
            format=format,
            storage=storage,
        )
        self.fractal_weight = checks.share("fractal_weight", fractal_weight)
        self.num_fractals = checks.at_least_one("num_fractals", num_fractals)

    def recipe(self) -> dict:
        """Return everything but the prompt that decides the file."""
        mixing = {"fractal_weight": self.fractal_weight, "num_fractals": self.num_fractals}
        return {**super().recipe(), "mixing": {"version": 1, **mixing}}

    def finish(
        self, rows: Sequence[Prompt], sources: Mapping[str, Tensor], pixels: Tensor
    ) -> Tensor:
        """Return the mixed pictures (B, 3, H, W), float32, in [0, 1]."""
        originals = torch.stack([sources[row.source_sha256] for row in rows])
        masks = torch.stack([half(half_of(row.seed), self.size) for row in rows])
        number = [seed_of(row.seed, "fractal") % self.num_fractals for row in rows]
        fractals = torch.stack([torch.from_numpy(fractal(one, self.size)) for one in number])
        joined = torch.lerp(originals.to(pixels), pixels, masks.to(pixels))
        return torch.lerp(joined, fractals.to(pixels) / 255, self.fractal_weight)


def half_of(seed: int) -> str:
    """Return which half of the picture with this seed is the drawn one."""
    return HALVES[seed_of(seed, "half") % len(HALVES)]


def half(name: str, size: int) -> Tensor:
    """Return how much of the drawn picture is seen at each pixel: (1, size, size), in [0, 1]."""
    seam = max(SEAM * size, 1e-6)
    middle = (torch.arange(size, dtype=torch.float32) + 0.5 - size / 2) / seam
    rising = (middle + 0.5).clamp(0, 1)
    line = rising if name in ("right", "lower") else 1 - rising
    across = line.expand(size, size)
    return (across if name in ("left", "right") else across.T)[None]

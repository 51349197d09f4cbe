"""What a stack's diffusion model draws: by noise rate, by guidance, by prompt, and from noise."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sip.core.progress import progress
from sip.stack.judge import Judge, judged
from sip.stack.measures import Numbers, ScorerView, claims_right, share
from sip.stack.pool import Pool
from sip.stack.texts import LABEL_PROMPT, Measured

NOISE_RATES = (0.3, 0.5, 0.7, 0.9)
GUIDANCE_SCALES = (1.0, 3.0, 5.0, 7.0)
GUIDANCE = 5.0  # where no other one is stated
FREE_GUIDANCE = 2.0  # of the images drawn from noise, whose distribution is measured
NUM_STEPS = 50  # of DDIM
BATCH = 140  # images


class Drawer:
    """Draws with the stock pipelines, one guidance scale a call; a seed an image.

    Args:
        folder: Of the stack.
        device: A torch device.
    """

    def __init__(self, folder: Path, device: str) -> None:
        from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

        self.redraw = StableDiffusionImg2ImgPipeline.from_pretrained(
            folder / "diffusion", dtype=torch.float32, safety_checker=None
        ).to(device)
        self.free = StableDiffusionPipeline(**self.redraw.components, requires_safety_checker=False)
        for pipe in (self.redraw, self.free):
            pipe.set_progress_bar_config(disable=True)

    def from_images(
        self, pixels: Tensor, prompts: Sequence[str], noise_rate: float, guidance: float
    ) -> Tensor:
        """Return (N, 3, S, S), in [-1, 1], on the CPU, of originals (N, 3, S, S), in [-1, 1]."""
        drawn = [
            self.redraw(
                [prompts[row] for row in rows],
                image=(pixels[rows] + 1) / 2,
                strength=noise_rate,
                **self._common(rows, guidance),
            ).images
            for rows in torch.arange(len(prompts)).split(BATCH)
        ]
        return torch.cat(drawn).float().cpu().clamp(0, 1) * 2 - 1

    def from_noise(self, prompts: Sequence[str], side: int, guidance: float) -> Tensor:
        """Return (N, 3, side, side), in [-1, 1], on the CPU."""
        drawn = []
        with progress("card", len(prompts), "image", delay=2) as bar:
            for rows in torch.arange(len(prompts)).split(BATCH):
                texts = [prompts[row] for row in rows]
                common = self._common(rows, guidance)
                drawn.append(self.free(texts, height=side, width=side, **common).images.cpu())
                bar.update(len(rows))
        return torch.cat(drawn).float().clamp(0, 1) * 2 - 1

    def _common(self, rows: Tensor, guidance: float) -> dict[str, Any]:
        return {
            "guidance_scale": guidance,
            "num_inference_steps": NUM_STEPS,
            "generator": [torch.Generator().manual_seed(int(row)) for row in rows],
            "output_type": "pt",
        }


@dataclass(frozen=True)
class Eyes:
    """Who looks at generated images: the scorer, and the judge where there are labels."""

    scorer: ScorerView
    judge: Judge | None

    def labels(self, pixels: Tensor) -> Tensor:
        """Return the judge's labels (N,) of images (N, 3, S, S), in [-1, 1]."""
        assert self.judge is not None
        return judged(self.judge, pixels)[0]

    def features(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return unit vectors (N, D) of each of them, by its name."""
        found = {"scorer": self.scorer.images(pixels)}
        if self.judge is not None:
            found["judge"] = F.normalize(judged(self.judge, pixels)[1], dim=1)
        return found


def prompts_of(pool: Pool, rng: random.Random) -> list[str]:
    """Return label (where known) and caption of each image, as the prompts stage joins them."""
    captions = [pool.texts.caption(row, rng)[0] for row in range(len(pool.images))]
    if pool.texts.labels is None:
        return captions
    pairs = ((pool.texts.named(row), said) for row, said in enumerate(captions))
    return [f"{named}, {said}" if said else named for named, said in pairs]


def drawing_quality(drawer: Drawer, pool: Pool, eyes: Eyes) -> Numbers:
    """Return label keeping and distances by noise rate, the effect of guidance and of the prompt.

    Args:
        drawer: Of the stack.
        pool: Held-out images.
        eyes: Who judges.
    """
    rng = random.Random(0)
    pixels = pool.pixels(torch.arange(len(pool)))
    own = prompts_of(pool, rng)
    labels = pool.texts.labels if eyes.judge is not None else None
    report: Numbers = {}
    if labels is not None:
        report["judge's own accuracy"] = share(eyes.labels(pixels) == labels)
    before = eyes.features(pixels)
    with progress("card", len(NOISE_RATES) + len(GUIDANCE_SCALES) + 2, "set") as bar:
        for rate in NOISE_RATES:
            drawn, at = drawer.from_images(pixels, own, rate, GUIDANCE), f"noise rate {rate}"
            if labels is not None:
                report[f"{at}: label kept"] = share(eyes.labels(drawn) == labels)
            distance = ((drawn - pixels) / 2).pow(2).mean((1, 2, 3)).sqrt().mean().item()
            report[f"{at}: pixel distance (RMS)"] = round(distance, 4)
            for name, after in eyes.features(drawn).items():
                cosine = (after * before[name]).sum(1).mean().item()
                report[f"{at}: {name}'s distance (1 - cosine)"] = round(1 - cosine, 4)
            bar.update()
        for scale in GUIDANCE_SCALES:
            drawn, at = drawer.from_images(pixels, own, 0.9, scale), f"guidance scale {scale:g}"
            if labels is not None:
                report[f"noise rate 0.9, {at}: label kept"] = share(eyes.labels(drawn) == labels)
            if isinstance(pool.texts, Measured):
                levels = pool.texts.grammar.describe(((drawn + 1) * 127.5).round().byte())
                right, _, _ = claims_right(pool.texts.grammar, own, levels)
                report[f"noise rate 0.9, {at}: stated attributes found"] = share(right)
            bar.update()
        if labels is not None:
            classes = len(pool.texts.names)
            steps = torch.tensor([rng.randrange(1, classes) for _ in range(len(pool))])
            others = (labels + steps) % classes
            texts = [LABEL_PROMPT.format(label=pool.texts.names[label]) for label in others]
            for rate in (0.5, 0.9):
                drawn = drawer.from_images(pixels, texts, rate, GUIDANCE)
                taken = share(eyes.labels(drawn) == others)
                report[f"noise rate {rate}, another class as prompt: class taken over"] = taken
                bar.update()
    return report


def contact_sheet(drawer: Drawer, pool: Pool, num: int, path: Path) -> None:
    """Draw the same originals over noise rate x guidance scale, and write them as one PNG."""
    from sip.stack.samples import save_sheet

    rows = torch.arange(min(num, len(pool)))
    pixels, own = pool.pixels(rows), prompts_of(pool, random.Random(0))
    columns, titles = [pixels], ["original"]
    for rate in NOISE_RATES:
        for scale in GUIDANCE_SCALES:
            columns.append(drawer.from_images(pixels, own[: len(rows)], rate, scale))
            titles.append(f"noise {rate} guidance {scale:g}")
    grid = [[column[row] for column in columns] for row in rows.tolist()]
    save_sheet(grid, path, titles, cell=64)

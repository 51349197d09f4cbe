"""What a stack's diffusion model generates: by noise rate, guidance, prompt, and from noise."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sip.core.progress import Progress, say
from sip.core.text import format_duration
from sip.stack.judge import AnyJudge, judged
from sip.stack.measures import Numbers, ScorerView, claims_right, share
from sip.stack.pool import Pool
from sip.stack.texts import LABEL_PROMPT, Measured
from sip.weights.safety import OWN

NOISE_RATES = (0.3, 0.5, 0.7, 0.9)
GUIDANCE_SCALES = (1.0, 3.0, 5.0, 7.0)
GUIDANCE = 5.0  # if no other scale is stated
FROM_NOISE_GUIDANCE = 2.0  # of the images from noise, whose distribution is measured
PROMPT_RATES = (0.5, 0.9)  # noise rates at which another class is prompted
NUM_STEPS = 50  # of DDIM
JUDGE_ACCURACY = "judge's own accuracy, the ceiling of label kept"
BATCH = 140  # images


class StockPipelines:
    """Generate images with diffusers' own pipelines: one guidance scale a call, a seed an image.

    Args:
        folder: Folder of the stack.
        device: A torch device.
        bar: Advances by each image.
    """

    def __init__(self, folder: Path, device: str, bar: Progress) -> None:
        from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

        import_module(OWN[0])  # diffusers takes no class of a module that is not imported yet
        self.bar = bar
        self.img2img = StableDiffusionImg2ImgPipeline.from_pretrained(
            folder / "diffusion", dtype=torch.float32, safety_checker=None
        ).to(device)
        self.txt2img = StableDiffusionPipeline(
            **self.img2img.components, requires_safety_checker=False
        )
        for pipe in (self.img2img, self.txt2img):
            pipe.set_progress_bar_config(disable=True)

    def from_images(
        self, pixels: Tensor, prompts: Sequence[str], noise_rate: float, guidance: float
    ) -> Tensor:
        """Return (N, 3, S, S), in [-1, 1], on the CPU, of originals (N, 3, S, S), in [-1, 1]."""
        return self._generate(
            self.img2img,
            prompts,
            guidance,
            lambda rows: {"image": (pixels[rows] + 1) / 2, "strength": noise_rate},
        )

    def from_noise(self, prompts: Sequence[str], side: int, guidance: float) -> Tensor:
        """Return (N, 3, side, side), in [-1, 1], on the CPU."""
        size = {"height": side, "width": side}
        return self._generate(self.txt2img, prompts, guidance, lambda _: size)

    def _generate(
        self,
        pipe: Any,
        prompts: Sequence[str],
        guidance: float,
        inputs: Callable[[Tensor], dict[str, Any]],
    ) -> Tensor:
        """Return images (N, 3, S, S), in [-1, 1], on the CPU, of one pipeline."""
        batches = []
        for rows in torch.arange(len(prompts)).split(BATCH):
            is_first, start = self.bar.n == 0, time.monotonic()
            output = pipe(
                [prompts[row] for row in rows],
                guidance_scale=guidance,
                num_inference_steps=NUM_STEPS,
                generator=[torch.Generator().manual_seed(int(row)) for row in rows],
                output_type="pt",
                **inputs(rows),
            )
            batches.append(output.images.cpu())
            self.bar.update(len(rows))
            if is_first and self.bar.total:
                seconds = (time.monotonic() - start) * self.bar.total / len(rows)
                say("card", f"takes about {format_duration(seconds)}")
        return torch.cat(batches).float().clamp(0, 1) * 2 - 1


@dataclass(frozen=True)
class Judges:
    """The models that judge generated images: the scorer, and the judge if there are labels."""

    scorer: ScorerView
    judge: AnyJudge | None

    def labels(self, pixels: Tensor) -> Tensor:
        """Return the judge's labels (N,) of images (N, 3, S, S), in [-1, 1]."""
        assert self.judge is not None
        return judged(self.judge, pixels)[0]

    def features(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return unit vectors (N, D) of each of them, by its name."""
        vectors = {"scorer": self.scorer.images(pixels)}
        if self.judge is not None:
            vectors["judge"] = F.normalize(judged(self.judge, pixels)[1], dim=1)
        return vectors


def prompts_of(pool: Pool, rng: random.Random) -> list[str]:
    """Return label (if known) and caption of each image, as the prompts stage joins them."""
    captions = [pool.texts.caption(row, rng)[0] for row in range(len(pool.images))]
    if pool.texts.labels is None:
        return captions
    pairs = ((pool.texts.named(row), caption) for row, caption in enumerate(captions))
    return [f"{named}, {caption}" if caption else named for named, caption in pairs]


def num_generated(num_held_out: int, num_shown: int, has_labels: bool) -> int:
    """Return how many images `generation_quality` and `contact_sheet` generate together."""
    sets = len(NOISE_RATES) + len(GUIDANCE_SCALES) + (len(PROMPT_RATES) if has_labels else 0)
    shown = min(num_shown, num_held_out) * len(NOISE_RATES) * len(GUIDANCE_SCALES)
    return num_held_out * sets + shown


def generation_quality(pipelines: StockPipelines, pool: Pool, judges: Judges) -> Numbers:
    """Return label keeping and distances by noise rate, the effect of guidance and of the prompt.

    Args:
        pipelines: Pipelines of the stack.
        pool: Held-out images.
        judges: The stack's scorer and the card's judge.
    """
    rng = random.Random(0)
    pixels = pool.pixels(torch.arange(len(pool)))
    own = prompts_of(pool, rng)
    labels = pool.texts.labels if judges.judge is not None else None
    report: Numbers = {}
    if labels is not None:
        report[JUDGE_ACCURACY] = share(judges.labels(pixels) == labels)
    before = judges.features(pixels)
    for rate in NOISE_RATES:
        images, at = pipelines.from_images(pixels, own, rate, GUIDANCE), f"noise rate {rate}"
        if labels is not None:
            report[f"{at}: label kept"] = share(judges.labels(images) == labels)
        distance = ((images - pixels) / 2).pow(2).mean((1, 2, 3)).sqrt().mean().item()
        report[f"{at}: pixel distance (RMS)"] = round(distance, 4)
        for name, after in judges.features(images).items():
            cosine = (after * before[name]).sum(1).mean().item()
            report[f"{at}: {name}'s distance (1 - cosine)"] = round(1 - cosine, 4)
    for scale in GUIDANCE_SCALES:
        images = pipelines.from_images(pixels, own, 0.9, scale)
        at = f"noise rate 0.9, guidance scale {scale:g}"
        if labels is not None:
            report[f"{at}: label kept"] = share(judges.labels(images) == labels)
        if isinstance(pool.texts, Measured):
            levels = pool.texts.grammar.describe(((images + 1) * 127.5).round().byte())
            right, _, _ = claims_right(pool.texts.grammar, own, levels)
            report[f"{at}: stated attributes found"] = share(right)
    if labels is not None:
        classes = len(pool.texts.names)
        steps = torch.tensor([rng.randrange(1, classes) for _ in range(len(pool))])
        others = (labels + steps) % classes
        texts = [LABEL_PROMPT.format(label=pool.texts.names[label]) for label in others]
        for rate in PROMPT_RATES:
            images = pipelines.from_images(pixels, texts, rate, GUIDANCE)
            taken = share(judges.labels(images) == others)
            report[f"noise rate {rate}, another class as prompt: class taken over"] = taken
    return report


def contact_sheet(pipelines: StockPipelines, pool: Pool, num: int, path: Path) -> None:
    """Generate from the same originals over noise rate x guidance scale, and write one PNG."""
    from sip.stack.samples import save_sheet

    rows = torch.arange(min(num, len(pool)))
    pixels, own = pool.pixels(rows), prompts_of(pool, random.Random(0))
    columns, titles = [pixels], ["original"]
    for rate in NOISE_RATES:
        for scale in GUIDANCE_SCALES:
            columns.append(pipelines.from_images(pixels, own[: len(rows)], rate, scale))
            titles.append(f"noise {rate} guidance {scale:g}")
    grid = [[column[row] for column in columns] for row in rows.tolist()]
    save_sheet(grid, path, titles, cell=64)

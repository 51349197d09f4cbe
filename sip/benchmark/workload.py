"""The prompts of the benchmark: different rows, from image files, in blocks of equal cost."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sip.core.component import refuse
from sip.core.hashing import digest
from sip.dataset.base import Sample
from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from sip.pipeline.offline import Offline

# One block; the last of its rows needs no unconditional half.
NOISE_RATES = (0.3, 0.5, 0.7, 0.3, 0.5, 0.7, 0.3, 0.5, 0.7, 0.5)
GUIDANCE_SCALES = (2.0, 7.5, 3.0, 5.0, 1.5, 6.0, 4.0, 9.0, 2.5, 1.0)
BLOCK = len(NOISE_RATES)
NUM_FILES = 100  # different images
LARGEST = 512  # px; larger images are generated from these
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LOOKS = ("thin", "bold", "tall", "wide", "small", "large", "slanted", "upright", "round", "plain")
ENDS = ("line", "bold line", "loop", "open loop at the top", "long stroke that leans to the right")


def make_prompts(offline: "Offline", num: int, folder: Path) -> list[Prompt]:
    """Write source images and return `num` prompts for them, each with its own text.

    Args:
        offline: Its prompt writer makes the texts, from made-up labels and captions.
        num: Number of prompts; each `BLOCK` of them, from the first on, takes the same number of
            U-Net evaluations.
        folder: Folder of the images; created if missing.
    """
    size = offline.generator.size
    paths = _write_images(folder, min(size, LARGEST), min(num, NUM_FILES))
    per_sample = offline.generator.per_sample
    samples = [
        Sample(
            sample_id=f"benchmark/{number}",
            path=str(paths[number % len(paths)]),
            label=number % len(NAMES),
            class_name=NAMES[number % len(NAMES)],
            split="train",
            width=size,
            height=size,
            sha256=digest(number),
        )
        for number in range(-(-num // per_sample))
    ]
    captions = [[_caption(number)] for number in range(len(samples))]
    prompts = offline.write(samples, captions, [[0.3]] * len(samples))[:num]
    if not prompts:  # of a table
        rule = "one that writes prompts for any image"
        raise refuse("prompts", rule, type(offline.writer).__name__, "choose prompts=label_caption")
    return [
        replace(
            prompt,
            guidance_scale=GUIDANCE_SCALES[number % BLOCK],
            noise_rate=NOISE_RATES[number % BLOCK],
        )
        for number, prompt in enumerate(prompts)
    ]


def sample_of(prompts: list[Prompt], num: int) -> list[Prompt]:
    """Return about `num` prompts that cost as much on average as all of them.

    These are whole blocks, at least one; if `prompts` are not whole blocks, return all of them.
    """
    if len(prompts) % BLOCK:
        return prompts
    return prompts[: max(1, num // BLOCK) * BLOCK]


def crops(size: int, num: int) -> list[Image.Image]:
    """Return square crops of two photographs, never enlarged, always at the same places.

    The photographs are those of scikit-learn (640 x 427 px, decoded from JPEG). If `size` is more
    than their height, an image is 427 rows of one above rows of the other.

    Args:
        size: Side, px.
        num: Number of crops.
    """
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    if size > photographs[0].shape[0]:  # one above the other, and the other way round
        photographs = [np.concatenate(order) for order in (photographs, photographs[::-1])]
    rng = np.random.default_rng(0)
    cut = []
    for position in range(num):
        photograph = photographs[position % len(photographs)]
        # A stack is cut from its top, so that its seam is one line.
        top = 0 if size > 427 else rng.integers(photograph.shape[0] - size + 1)
        left = rng.integers(photograph.shape[1] - size + 1)
        cut.append(Image.fromarray(photograph[top : top + size, left : left + size]))
    return cut


def _write_images(folder: Path, size: int, num: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.jpg" for number in range(num)]
    for path, image in zip(paths, crops(size, num), strict=True):
        image.save(path, quality=95)
    return paths


def _caption(number: int) -> str:
    """Return a caption; the first 500 differ, and so do their lengths."""
    look, second = LOOKS[number % 10], LOOKS[number // 10 % 10]
    return f"{look} digit with a {second} {ENDS[number // 100 % len(ENDS)]}"

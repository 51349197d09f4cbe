"""The drawing list of the benchmark: unlike rows, from picture files, in blocks of equal cost."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sip.benchmark.formats import crops
from sip.core.hashing import digest
from sip.dataset.base import Sample
from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from sip.pipeline.offline import Offline

# One block; the last of its rows needs no unconditional half.
NOISE_RATES = (0.3, 0.5, 0.7, 0.3, 0.5, 0.7, 0.3, 0.5, 0.7, 0.5)
GUIDANCE_SCALES = (2.0, 7.5, 3.0, 5.0, 1.5, 6.0, 4.0, 9.0, 2.5, 1.0)
BLOCK = len(NOISE_RATES)
NUM_FILES = 100  # different pictures
LARGEST = 512  # px; larger pictures are drawn from these
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LOOKS = ("thin", "bold", "tall", "wide", "small", "large", "slanted", "upright", "round", "plain")
ENDS = ("line", "bold line", "loop", "open loop at the top", "long stroke that leans to the right")


def drawing_list(offline: "Offline", num: int, folder: Path) -> list[Prompt]:
    """Write pictures and return `num` rows that are drawn from them, each with its own text.

    Args:
        offline: Its prompt writer makes the texts, from made-up labels and captions.
        num: Rows; every `BLOCK` of them, from the first on, have the same U-Net evaluations.
        folder: For the pictures; made if it is not there.
    """
    size = offline.generator.size
    paths = _write_pictures(folder, min(size, LARGEST), min(num, NUM_FILES))
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
    return [
        replace(
            prompt,
            guidance_scale=GUIDANCE_SCALES[number % BLOCK],
            noise_rate=NOISE_RATES[number % BLOCK],
        )
        for number, prompt in enumerate(prompts)
    ]


def sample_of(prompts: list[Prompt], num: int) -> list[Prompt]:
    """Return about `num` rows that cost as much on average as the whole list.

    These are whole blocks, at least one; a list that is not cut into whole blocks is its own
    sample.
    """
    if len(prompts) % BLOCK:
        return prompts
    return prompts[: max(1, num // BLOCK) * BLOCK]


def _write_pictures(folder: Path, size: int, num: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.jpg" for number in range(num)]
    for path, picture in zip(paths, crops(size, num), strict=True):
        picture.save(path, quality=95)
    return paths


def _caption(number: int) -> str:
    """Return a caption; the first 500 differ, and so do their lengths."""
    look, second = LOOKS[number % 10], LOOKS[number // 10 % 10]
    return f"{look} digit with a {second} {ENDS[number // 100 % len(ENDS)]}"

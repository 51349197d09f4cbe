"""The rows that a run has to make, as work: what they are known by and what each costs."""

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

import numpy as np

from sip.captions.openai import OpenAi
from sip.core.hashing import digest
from sip.core.shapes import Size
from sip.core.spill import Spilled, unique
from sip.dataset.base import Sample
from sip.pipeline.components import trial_prompt
from sip.pipeline.known import KnownRows
from sip.pipeline.offline import Offline
from sip.pipeline.planned import PlannedRows, alike
from sip.prompts.base import Prompt

ASSUMED_GUIDANCE = 2.0  # of a row whose caption is not there yet: with guidance, the costlier way
STAGES = {"caption": "captions", "score": "scores", "generate": "images"}


def readings(offline: Offline, known: KnownRows) -> list[PlannedRows]:
    """Return the captions and scores to compute."""
    work = []
    if known.to_caption:
        place = str(offline.stage("captions").folder)
        work.append(PlannedRows("caption", place, known.to_caption, seconds=None))
    if known.to_score:
        place = str(offline.stage("scores").folder)
        work.append(PlannedRows("score", place, known.to_score, seconds=None))
    return work


def known_images(
    offline: Offline, prompts: Sequence[Prompt], first: Container[str]
) -> list[PlannedRows]:
    """Return the images of prompts.

    Args:
        offline: The stages.
        prompts: Prompts of the images.
        first: Keys of the images that are generated whatever a verdict says.
    """
    generator = offline.generator

    def cost(prompt: Prompt) -> tuple[int, int, bool, str]:
        size = generator.size_name(prompt.source_size)
        passes = generator.num_evaluations(prompt), generator.num_control_evaluations(prompt)
        return *passes, prompt.image_id in first, size

    return [
        PlannedRows(
            "generate",
            str(offline.stage("images").folder),
            Spilled(prompt.image_id for prompt in group),
            evaluations=evaluations,
            least=evaluations if is_first else 0,
            seconds=None,
            size=size,
            control=control,
        )
        for (evaluations, control, is_first, size), group in alike(prompts, cost).items()
    ]


def coming_images(
    offline: Offline, samples: Sequence[Sample], coming: Sequence[Sample]
) -> list[PlannedRows]:
    """Return the images whose captions are not there yet, under keys that stand for theirs.

    Given the images stage, a prompt is decided by the recipes of the stages before it, the original
    with its class, mask and condition, and, for a writer that looks at all captions, by the whole
    set and the number of variants: two images never have one key, whatever the captions will be.

    Args:
        offline: The stages.
        samples: All originals.
        coming: Originals without a caption or score.
    """
    if not coming:
        return []
    counts = offline.num_images(samples)
    makers = (offline.captioner, offline.scorer, offline.writer)
    decides = digest(
        [maker.recipe() for maker in makers if maker is not None],
        _digest_of_set(sample.sha256 for sample in samples),
        max(counts.values(), default=0),
    )
    name = offline.generator.size_name
    companions = offline.generator.companions_of(coming).values()

    def original(sample: Sample) -> list[str]:
        read = (one[sample.sample_id].key for one in companions)
        return [sample.sha256, sample.class_name, *read]

    sizes = alike(coming, lambda sample: name(Size(sample.width, sample.height)))
    prompts = assumed_prompts(offline)
    costs = [offline.generator.num_evaluations(prompt) for prompt in prompts]
    controls = [offline.generator.num_control_evaluations(prompt) for prompt in prompts]
    backoff = offline.writer.backoff
    learns = backoff is not None and backoff.learn is not None  # an image may start at any rung
    least = min(costs) if learns else max(costs)
    return [
        PlannedRows(
            "generate",
            str(offline.stage("images").folder),
            Spilled(
                unique(
                    digest(decides, *original(sample), variant, rung, *filter(None, [size]))
                    for sample in of_size
                    for variant in range(counts[sample.sample_id])
                )
            ),
            evaluations=evaluations,
            least=evaluations if evaluations == least else 0,
            seconds=None,
            size=size,
            exact=False,
            control=control,
        )
        for rung, (evaluations, control) in enumerate(zip(costs, controls, strict=True))
        for size, of_size in sizes.items()
    ]


def _digest_of_set(keys: Iterable[str]) -> str:
    """Return a hash of keys in any order; in memory are 32 bytes of each."""
    hashes = np.fromiter((hashlib.sha256(key.encode()).digest() for key in keys), "S32")
    return hashlib.sha256(np.sort(hashes).tobytes()).hexdigest()


def timed(
    offline: Offline, work: Sequence[PlannedRows], samples: Sequence[Sample], num_devices: int
) -> list[PlannedRows]:
    """Return the work with its seconds, by a short measurement."""
    asks = isinstance(offline.captioner, OpenAi)  # a plan asks for nothing
    measured = {STAGES[rows.kind] for rows in work if not (asks and rows.kind == "caption")}
    sizes: Counter[str] = Counter()
    for rows in work:
        sizes[rows.size] += len(rows.keys) if rows.kind == "generate" else 0
    speed = offline.trials.speed(samples, measured, +sizes)

    def seconds(rows: PlannedRows) -> float:
        if rows.kind != "generate":
            return speed.caption if rows.kind == "caption" else speed.score
        evaluation, image = speed.images[rows.size]
        return rows.evaluations * evaluation + image

    return [
        replace(rows, seconds=seconds(rows) / num_devices)
        if STAGES[rows.kind] in measured
        else rows
        for rows in work
    ]


def assumed_prompts(offline: Offline) -> list[Prompt]:
    """Return what an image is generated from whose caption is not there yet, on each rung."""
    backoff = offline.writer.backoff
    rates = [max(offline.writer.noise_rates)] if backoff is None else backoff.rates
    return [replace(trial_prompt(rate), guidance_scale=ASSUMED_GUIDANCE) for rate in rates]

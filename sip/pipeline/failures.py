"""How many images of a job are missing, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.spill import KeyNumbers
from sip.core.text import join_first
from sip.dataset.base import Sample
from sip.images.base import Generator
from sip.prompts.base import Prompt
from sip.store.stage import StageStore

NUM_NAMED = 5  # unreadable originals


def failures(
    stage: StageStore,
    counts: Mapping[str, int],
    prompts: Sequence[Prompt],
    samples: Sequence[Sample],
    uncaptioned: Mapping[str, str],
) -> Counter[str]:
    """Return how many images of these samples are missing, by reason.

    Args:
        stage: The stage of images.
        counts: sample_id -> number of images that are generated from it.
        prompts: Prompts of all samples whose originals can be read.
        samples: The originals.
        uncaptioned: sample_id -> why a service gave no caption, of those that can be read.
    """
    keys = stage.failed(prompt.image_id for prompt in prompts)
    reasons = Counter(row["reason"] for row in stage.each(keys))
    for sample_id, (reason, _) in without_prompt(counts, prompts, samples, uncaptioned).items():
        reasons[reason] += counts[sample_id]
    return reasons


def without_prompt(
    counts: Mapping[str, int],
    prompts: Sequence[Prompt],
    samples: Sequence[Sample],
    uncaptioned: Mapping[str, str],
) -> dict[str, tuple[str, str | None]]:
    """Return sample_id -> reason and error, of originals that should have a prompt and have none.

    The arguments are those of `failures`.
    """
    return {
        sample.sample_id: ("no caption", uncaptioned[sample.sample_id])
        if sample.sample_id in uncaptioned
        else ("unreadable", None)
        for sample in _unread(prompts, samples, counts)
    }


def report_failures(
    stage: StageStore,
    generator: Generator,
    counts: Mapping[str, int],
    prompts: Sequence[Prompt],
    samples: Sequence[Sample],
    uncaptioned: Mapping[str, str],
) -> None:
    """Print how many images failed, and why; the arguments are those of `failures`.

    Raises:
        UserError: More than `images.max_failed` of them.
    """
    reasons = failures(stage, counts, prompts, samples, uncaptioned)
    num, total = sum(reasons.values()), sum(counts[sample.sample_id] for sample in samples)
    if not num:
        return
    unread = _unread(prompts, samples, counts)
    if without := [one for one in unread if one.sample_id in uncaptioned]:
        names = join_first([f"{s.path} ({uncaptioned[s.sample_id]})" for s in without], NUM_NAMED)
        say("images", f"no caption: {names}")
    if unread := [one for one in unread if one.sample_id not in uncaptioned]:
        names = ", ".join(sample.path for sample in unread[:NUM_NAMED])
        say("images", f"unreadable: {names}; fix or delete them before training")
    by_reason = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    text = f"{num} of {total} images failed ({by_reason}); retry=failed tries them again"
    if num > generator.max_failed * total:
        raise UserError(
            f"images: {text}; images.max_failed={generator.max_failed:g} is the share "
            "that may fail; the others are kept"
        )
    say("images", text)


def _unread(
    prompts: Sequence[Prompt], samples: Sequence[Sample], counts: Mapping[str, int]
) -> list[Sample]:
    """Return the originals that should have a prompt and have none."""
    if len(prompts) == sum(counts.values()):
        return []
    listed = KeyNumbers()
    for prompt in prompts:
        listed[prompt.sample_id] = 1
    return [one for one in samples if one.sample_id not in listed and counts[one.sample_id]]

"""Learn at which noise rate a class starts its ladder, from its first originals.

Which originals these are depends on the content of the class's originals only, and the counts
follow from rows of the store, so a resumed run and several processes learn the same. With other
originals of a class, as with other shots, its start may be another: the images of few shots are
then no subset of those of more.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sip.core.hashing import digest
from sip.pipeline.rungs import Tried, is_accepted
from sip.prompts.base import Backoff, Prompt


def learned_from(prompts: Sequence[Prompt], num: int | None) -> list[bool]:
    """Return of each prompt whether its original is one of the first `num` of its class.

    Args:
        prompts: Those of all originals.
        num: None: all are.
    """
    if num is None:
        return [True] * len(prompts)
    ranks: dict[int, dict[str, str]] = defaultdict(dict)
    for prompt in prompts:
        ranks[prompt.label][prompt.sample_id] = digest("ladder", prompt.source_sha256)
    chosen = set()
    for label, ranked in ranks.items():
        first = sorted(ranked, key=lambda sample_id: (ranked[sample_id], sample_id))[:num]
        chosen |= {(label, sample_id) for sample_id in first}
    return [(prompt.label, prompt.sample_id) in chosen for prompt in prompts]


def start_rates(images: Iterable[Tried], backoff: Backoff) -> dict[int, float]:
    """Return label -> the noise rate at which further images of the class start.

    What is accepted at one rate counts as accepted at all lower ones. The acceptance of a rate is
    the mean of its posterior, with a uniform prior: (accepted + 1) / (images + 2). If it is too
    low at all rates, the class starts at the lowest one.

    Args:
        images: Rungs that were tried of images that started at the highest rate.
        backoff: The ladder, and the acceptance to exceed.
    """
    accepted_at: dict[int, list[float]] = defaultdict(list)
    for rungs in images:
        prompt, verdict = rungs[-1]
        accepted_at[prompt.label].append(prompt.noise_rate if is_accepted(verdict) else 0.0)
    return {
        label: next(
            (
                rate
                for rate in backoff.rates
                if (sum(own >= rate for own in rates) + 1) / (len(rates) + 2)
                > backoff.min_acceptance
            ),
            backoff.rates[-1],
        )
        for label, rates in accepted_at.items()
    }

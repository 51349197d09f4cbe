"""Generate each image; one whose class is lost again, at the next lower noise rate.

Every rung of the ladder is an ordinary row of the store with a key of its own, so a later start
finds what is there and decides alike. All images of a rung are generated before they are judged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sip.core.progress import say
from sip.core.stages import StageLog
from sip.filter.base import Verdict
from sip.pipeline.filtering import Control, OfflineFacts, candidate, judge, mark
from sip.pipeline.offline import Offline
from sip.pipeline.rungs import LadderCounts, Tried, is_accepted
from sip.pipeline.stored import Candidates, StoredImage
from sip.prompts.base import Prompt


@dataclass(frozen=True)
class Settled:
    """What was generated for a prompt list.

    Attributes:
        tried: One entry for each prompt of the list, in its order.
        verdicts: On all that did not fail, in the order of `prompts`; None without a ladder.
    """

    tried: Sequence[Tried]
    verdicts: list[Verdict] | None

    @property
    def prompts(self) -> list[Prompt]:
        """All rungs, image by image, the highest first."""
        return [prompt for rungs in self.tried for prompt, _ in rungs]

    @property
    def counts(self) -> LadderCounts | None:
        """Images tried and accepted at each rate; None without a ladder."""
        return None if self.verdicts is None else LadderCounts.of(self.tried)

    @property
    def last(self) -> list[Prompt]:
        """The rung at which each image was accepted, or given up."""
        return [rungs[-1][0] for rungs in self.tried]

    def images(self, offline: Offline, captions: Mapping[str, Candidates]) -> Iterator[StoredImage]:
        """Yield all rungs, those that failed too; the rows of rejected ones say so."""
        return mark(offline.images(self.prompts, captions), self.verdicts)


def settle(
    offline: Offline,
    prompts: Sequence[Prompt],
    class_names: Sequence[str],
    stages: StageLog,
    control: Callable[[], Control] | None = None,
) -> Settled:
    """Generate the images of a prompt list, each at the highest noise rate that is accepted.

    Without a ladder, each is generated once.

    Args:
        offline: The stages; its writer knows the ladder.
        prompts: At the highest noise rate.
        class_names: The classes in words, by label.
        stages: Gets the counts and the time.
        control: Finds or trains the control, if the verdict reads it.
    """
    backoff = offline.writer.backoff
    if backoff is None:
        offline.generate(prompts, stages)
        return Settled([[(prompt, None)] for prompt in prompts], None)
    rungs = [backoff.rungs(prompt) for prompt in prompts]
    tried: list[Tried] = [[] for _ in prompts]
    waiting = list(range(len(prompts)))
    rows = StageLog()  # of all rungs
    for rate in backoff.rates:
        now = [number for number in waiting if rungs[number][len(tried[number])].noise_rate == rate]
        if not now:
            continue
        at_rate = [rungs[number][len(tried[number])] for number in now]
        offline.generate(at_rate, rows, keep=True)
        found = _verdicts(offline, at_rate, class_names, rows, control)
        accepted = {n for n, verdict in zip(now, found, strict=True) if is_accepted(verdict)}
        for number, prompt, verdict in zip(now, at_rate, found, strict=True):
            tried[number].append((prompt, verdict))
        say("verdict", f"noise rate {rate:g}: {len(accepted):,} of {len(now):,} images accepted")
        waiting = [
            number
            for number in waiting
            if number not in accepted and len(tried[number]) < len(rungs[number])
        ]
    stages.take(rows)
    offline.models.drop("images")  # its memory is the classifier's
    verdicts = [verdict for entry in tried for _, verdict in entry if verdict is not None]
    return Settled(tried, verdicts)


def _verdicts(
    offline: Offline,
    prompts: Sequence[Prompt],
    class_names: Sequence[str],
    stages: StageLog,
    control: Callable[[], Control] | None,
) -> list[Verdict | None]:
    """Return the verdict on each prompt's image; None: it failed."""
    assert offline.verdict is not None
    images = list(offline.images(prompts, {}))
    good = [image for image in images if image.is_ok]
    found = iter(judge(offline, offline.verdict, good, class_names, stages, "verdict", control))
    return [next(found) if image.is_ok else None for image in images]


@dataclass(frozen=True)
class Foreseen:
    """What a later call of `settle` may have to generate.

    Attributes:
        waiting: For each prompt the rungs that may be needed, the highest first; empty if it is
            accepted or given up.
        settled: Keys of the rungs whose verdict is known.
    """

    waiting: list[list[Prompt]]
    settled: set[str]


def foresee(offline: Offline, prompts: Sequence[Prompt], class_names: Sequence[str]) -> Foreseen:
    """Follow the ladders as far as images and their embeddings are in the store.

    Args:
        offline: The stages; nothing is generated or embedded.
        prompts: At the highest noise rate.
        class_names: By label; empty: no verdict is asked for, which would load the scorer.
    """
    backoff = offline.writer.backoff
    if backoff is None:
        return Foreseen([[prompt] for prompt in prompts], set())
    waiting = [backoff.rungs(prompt) for prompt in prompts]
    if offline.verdict is None or offline.verdict.reads != {"embeddings"} or not class_names:
        return Foreseen(waiting, set())
    settled: set[str] = set()
    for rate in backoff.rates:
        at_rate = {n: rungs[0] for n, rungs in enumerate(waiting) if rungs}
        at_rate = {n: prompt for n, prompt in at_rate.items() if prompt.noise_rate == rate}
        for number, verdict in _known_verdicts(offline, at_rate, class_names).items():
            settled.add(waiting[number][0].image_id)
            waiting[number] = [] if is_accepted(verdict) else waiting[number][1:]
    offline.models.drop("embeddings")
    return Foreseen(waiting, settled)


def _known_verdicts(
    offline: Offline, prompts: Mapping[int, Prompt], class_names: Sequence[str]
) -> dict[int, Verdict | None]:
    """Return the verdicts that need no new row; None: the image failed and stays as it is."""
    assert offline.verdict is not None
    missing = set(offline.stage("images").missing([one.image_id for one in prompts.values()]))
    there = {n: prompt for n, prompt in prompts.items() if prompt.image_id not in missing}
    images = dict(zip(there, offline.images(list(there.values()), {}), strict=True))
    found: dict[int, Verdict | None] = {}
    if not offline.retry_failed:
        found = {n: None for n, image in images.items() if not image.is_ok}
    good = {n: image for n, image in images.items() if image.is_ok}
    keys = {n: str(image.row.file_sha256) for n, image in good.items()}
    stage = offline.stage("embeddings")
    unknown = {*stage.missing(keys.values()), *stage.failed(keys.values())}
    judged = {n: candidate(image) for n, image in good.items() if keys[n] not in unknown}
    if judged:
        facts = OfflineFacts(offline, class_names, None)
        verdicts = offline.verdict.judge(list(judged.values()), facts)
        found |= dict(zip(judged, verdicts, strict=True))
    return found

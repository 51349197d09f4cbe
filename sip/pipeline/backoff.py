"""Generate each image; one whose class is lost again, at the next lower noise rate.

Every rung of the ladder is an ordinary row of the store with a key of its own, so a later start
finds what is there and decides alike. All images of a rung are generated before they are judged.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain

from sip.core.progress import say
from sip.core.stages import StageLog
from sip.core.text import counted
from sip.filter.base import Verdict
from sip.pipeline.filtering import Control, OfflineFacts, candidate, judge, mark
from sip.pipeline.offline import Offline
from sip.pipeline.rungs import LadderCounts, Tried, is_accepted
from sip.pipeline.starts import learned_from, start_rates
from sip.pipeline.stored import Candidates, StoredImage
from sip.prompts.base import Backoff, Prompt


@dataclass(frozen=True)
class Settled:
    """What was generated for a prompt list.

    Attributes:
        prompts: All rungs, image by image, the highest first.
        last: The rung at which each image was accepted, or given up.
        verdicts: On all that did not fail, in the order of `prompts`; None without a ladder.
        counts: Images tried and accepted at each rate; None without a ladder.
    """

    prompts: Sequence[Prompt]
    last: Sequence[Prompt]
    verdicts: list[Verdict] | None = None
    counts: LadderCounts | None = None

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
    if backoff is None or not prompts:
        offline.generate(prompts, stages)
        return Settled(prompts, prompts)
    rows = StageLog()  # of all rungs
    start = [backoff.rungs(prompt) for prompt in prompts]
    is_first = learned_from(prompts, backoff.learn)
    first = [rungs for rungs, learns in zip(start, is_first, strict=True) if learns]
    of_first = _descend(offline, first, class_names, rows, control)
    starts = start_rates(of_first, backoff)
    others = [prompt for prompt, learns in zip(prompts, is_first, strict=True) if not learns]
    _say_starts(backoff, prompts, others, starts)
    rest = [backoff.rungs(replace(one, noise_rate=starts[one.label])) for one in others]
    parts = iter(of_first), iter(_descend(offline, rest, class_names, rows, control))
    stages.take(rows)
    offline.models.drop("images")  # its memory is the classifier's
    tried = [next(parts[0] if learns else parts[1]) for learns in is_first]
    verdicts = [verdict for entry in tried for _, verdict in entry if verdict is not None]
    return Settled(
        [prompt for rungs in tried for prompt, _ in rungs],
        [rungs[-1][0] for rungs in tried],
        verdicts,
        LadderCounts.of(tried, {one.class_name: starts[one.label] for one in others}),
    )


def _descend(
    offline: Offline,
    rungs: Sequence[Sequence[Prompt]],
    class_names: Sequence[str],
    stages: StageLog,
    control: Callable[[], Control] | None,
) -> list[Tried]:
    """Generate each image at the first of its rungs that is accepted; return what was tried."""
    assert offline.writer.backoff is not None
    tried: list[Tried] = [[] for _ in rungs]
    waiting = list(range(len(rungs)))
    for rate in offline.writer.backoff.rates:
        now = [number for number in waiting if rungs[number][len(tried[number])].noise_rate == rate]
        if not now:
            continue
        at_rate = [rungs[number][len(tried[number])] for number in now]
        offline.generate(at_rate, stages, keep=True)
        found = _verdicts(offline, at_rate, class_names, stages, control)
        accepted = {n for n, verdict in zip(now, found, strict=True) if is_accepted(verdict)}
        for number, prompt, verdict in zip(now, at_rate, found, strict=True):
            tried[number].append((prompt, verdict))
        say("verdict", f"noise rate {rate:g}: {len(accepted):,} of {len(now):,} images accepted")
        waiting = [
            number
            for number in waiting
            if number not in accepted and len(tried[number]) < len(rungs[number])
        ]
    return tried


def _say_starts(
    backoff: Backoff,
    prompts: Sequence[Prompt],
    others: Sequence[Prompt],
    starts: Mapping[int, float],
) -> None:
    """Print where classes start, if that is learned; or that there is nothing to learn it for."""
    if backoff.learn is None or not prompts:
        return
    if not others:
        say("verdict", f"no class has more than prompts.learn={backoff.learn} originals")
    labels = Counter(starts[label] for label in {one.label for one in others})
    for rate, num in sorted(labels.items(), reverse=True):
        say("verdict", f"{counted(num, 'class', 'classes')} go on from noise rate {rate:g}")


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
        rungs: The rungs that may be needed, image by image, the highest first; none of an image
            that is accepted or given up.
        needed: Rungs of which at least one is needed, of each image; None: all of `rungs` are.
        settled: Keys of the rungs whose verdict is known.
    """

    rungs: Sequence[Prompt]
    needed: list[list[Prompt]] | None = None
    settled: Set[str] = frozenset()


def foresee(
    offline: Offline, prompts: Sequence[Prompt], class_names: Sequence[str], is_whole: bool = True
) -> Foreseen:
    """Follow the ladders as far as images and their embeddings are in the store.

    Args:
        offline: The stages; nothing is generated or embedded.
        prompts: At the highest noise rate.
        class_names: By label; empty: no verdict is asked for, which would load the scorer.
        is_whole: Whether these are the prompts of all originals: which of them the start of a
            class is learned from is not known before.
    """
    backoff = offline.writer.backoff
    if backoff is None:
        return Foreseen(prompts)
    is_known = offline.verdict is not None and offline.verdict.reads == {"embeddings"}
    asked = class_names if is_known else ()
    waiting = [backoff.rungs(prompt) for prompt in prompts]
    needed = [list(rungs) for rungs in waiting]
    is_first = learned_from(prompts, backoff.learn)
    if backoff.learn is not None and not is_whole:
        return Foreseen([*chain(*waiting)], needed)
    first = {n: waiting[n] for n, learns in enumerate(is_first) if learns}
    tried, settled = _follow(offline, first, asked)
    unsettled = {prompts[n].label for n in first if waiting[n]}
    starts = start_rates([rungs for n, rungs in tried.items() if not waiting[n]], backoff)
    rest: dict[int, list[Prompt]] = {}
    for n, prompt in enumerate(prompts):
        if not is_first[n] and prompt.label not in unsettled:
            rest[n] = waiting[n] = backoff.rungs(replace(prompt, noise_rate=starts[prompt.label]))
    settled |= _follow(offline, rest, asked)[1]
    for n in first | rest:
        needed[n] = waiting[n][:1]
    offline.models.drop("embeddings")
    return Foreseen([*chain(*waiting)], needed, settled)


def _follow(
    offline: Offline, waiting: Mapping[int, list[Prompt]], class_names: Sequence[str]
) -> tuple[dict[int, Tried], set[str]]:
    """Take away the rungs whose verdict is known, and those below an accepted one.

    Returns:
        The rungs with their verdicts, and their keys.
    """
    assert offline.writer.backoff is not None
    tried: dict[int, Tried] = {number: [] for number in waiting}
    for rate in offline.writer.backoff.rates if class_names else ():
        at_rate = {n: rungs[0] for n, rungs in waiting.items() if rungs}
        at_rate = {n: prompt for n, prompt in at_rate.items() if prompt.noise_rate == rate}
        for number, verdict in _known_verdicts(offline, at_rate, class_names).items():
            tried[number].append((waiting[number][0], verdict))
            del waiting[number][: None if is_accepted(verdict) else 1]
    keys = {prompt.image_id for rungs in tried.values() for prompt, _ in rungs}
    return tried, keys


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

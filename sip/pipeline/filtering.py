"""Applies the chosen filter to what was drawn: facts in, marked pictures and counts out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.stages import StageLog
from sip.core.tars import read_checked
from sip.core.text import join_first
from sip.filter.base import Candidate, FilterCounts, Verdict
from sip.pipeline.offline import Offline
from sip.pipeline.stored import StoredImage

if TYPE_CHECKING:
    from sip.filter.base import Filter

REJECTED = "rejected"  # the status of a picture that a filter took out
NUM_SHOWN = 5  # classes that a line names
Control = Callable[[Sequence[str]], np.ndarray]  # paths -> probabilities (N, classes)


@dataclass(frozen=True)
class Sifted:
    """Drawn pictures as a filter leaves them.

    Attributes:
        pictures: All, the rejected ones marked in their rows.
        counts: What the filter kept and rejected; None without a filter.
    """

    pictures: list[StoredImage]
    counts: FilterCounts | None

    @property
    def kept(self) -> list[StoredImage]:
        """The pictures to train on."""
        return [picture for picture in self.pictures if picture.is_ok]


def sift(
    offline: Offline | None,
    pictures: list[StoredImage],
    class_names: Sequence[str],
    stages: StageLog,
    control: Callable[[], Control],
) -> Sifted:
    """Apply the chosen filter; all pictures are kept where there is none. Raises as `verdicts`."""
    if offline is None or offline.filter is None:
        return Sifted(pictures, None)
    found = verdicts(offline, pictures, class_names, stages, control)
    return Sifted(list(mark(pictures, found)), FilterCounts.of(found))


@dataclass
class OfflineFacts:
    """What filters may ask for, from the offline rooms and the arm's control."""

    offline: Offline
    class_names: Sequence[str]
    control_of: Control | None

    @property
    def num_threads(self) -> int:
        """Threads that read pictures."""
        return self.offline.runtime.num_workers

    def embeddings(self, keys: Sequence[str]) -> np.ndarray:
        """Return the scorer's unit vectors, (N, D), float32, of pictures by their hash."""
        return self.offline.embeddings(keys)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the scorer's unit vectors, (N, D), float32, of texts."""
        module = self.offline.models.module("embeddings")
        return module.scorer.embed_texts(texts).numpy()

    def control(self, paths: Sequence[str]) -> np.ndarray:
        """Return the probabilities, (N, classes), float32, by a classifier of the originals."""
        assert self.control_of is not None
        return self.control_of(paths)


def verdicts(
    offline: Offline,
    drawn: Iterable[StoredImage],
    class_names: Sequence[str],
    stages: StageLog,
    control: Callable[[], Control] | None = None,
) -> list[Verdict]:
    """Judge the drawn pictures, those that failed left out; say what came of it.

    Args:
        offline: Whose `filter` is asked.
        drawn: In the order of the drawing list.
        class_names: The classes in words, by label.
        control: Finds or trains the control, where the filter reads it.

    Raises:
        UserError: None is kept, or a picture cannot be read or is damaged.
    """
    chosen = offline.filter
    assert chosen is not None
    candidates = [_candidate(picture) for picture in drawn if picture.is_ok]
    if not candidates:
        return []
    if "embeddings" in chosen.reads:
        wanted = {one.source_sha256: one.source for one in candidates}
        drawn_ones = {one.sha256: one.path for one in candidates}
        offline.embed(wanted | drawn_ones, stages, drawn_ones)
    else:
        with ThreadPoolExecutor(offline.runtime.num_workers) as threads:
            for _ in threads.map(_check_file, candidates):
                pass
    seen = control() if control is not None and "control" in chosen.reads else None
    with stages.stage("filter") as row:
        found = chosen.judge(candidates, OfflineFacts(offline, class_names, seen))
        row["made"] = len(found)
        row["rejected"] = sum(verdict.reason is not None for verdict in found)
        row["kept"] = row["made"] - row["rejected"]
    if "embeddings" in chosen.reads:
        offline.models.drop("embeddings")  # its memory is the classifier's
    _report(chosen, candidates, found)
    return found


def mark(pictures: Iterable[StoredImage], found: Sequence[Verdict] | None) -> Iterator[StoredImage]:
    """Yield the pictures that were judged, and failed ones; the rejected ones say so in their row.

    Args:
        pictures: As they were judged: the same, in the same order.
        found: What `verdicts` returned; None: no filter is set.
    """
    if found is None:
        yield from pictures
        return
    rest = iter(found)
    for picture in pictures:
        verdict = next(rest) if picture.is_ok else None
        if verdict is None or verdict.reason is None:
            yield picture
        else:
            row = replace(picture.row, status=REJECTED, reason=verdict.reason, error=verdict.detail)
            yield replace(picture, row=row)


def _candidate(picture: StoredImage) -> Candidate:
    prompt = picture.prompt
    assert picture.row.file_sha256 is not None
    return Candidate(
        image_id=prompt.image_id,
        sample_id=prompt.sample_id,
        label=prompt.label,
        class_name=prompt.class_name,
        path=picture.file,
        sha256=picture.row.file_sha256,
        source=prompt.source,
        source_sha256=prompt.source_sha256,
    )


def _check_file(one: Candidate) -> None:
    """Raise `DamagedError` where a drawn picture is not what was written."""
    read_checked(one.path, one.sha256)


def _report(chosen: "Filter", candidates: Sequence[Candidate], found: Sequence[Verdict]) -> None:
    """Say which classes have no drawn picture left.

    Raises:
        UserError: None has.
    """
    counts = FilterCounts.of(found)
    if counts.rejected:
        say("filter", f"rejected: {counts.reasons_text}")
    if not counts.kept:
        raise UserError(
            f"filter={chosen.recipe()['class'].split('.')[-2]}: expected some of the "
            f"{len(found):,} drawn pictures to be kept, all were rejected "
            f"({counts.reasons_text}); loosen filter.*, or use filter=none"
        )
    names = {one.label: one.class_name for one in candidates}
    pairs = zip(candidates, found, strict=True)
    left = {one.label for one, verdict in pairs if verdict.reason is None}
    if empty := [name for label, name in sorted(names.items()) if label not in left]:
        share = f"{len(empty)} of {len(names)} classes"
        say("filter", f"no drawn picture is left of {share}: {join_first(empty, NUM_SHOWN)}")

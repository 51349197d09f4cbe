"""Which captions and scores are in the store, and which prompts can be written from them."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sip.captions.base import StatedCaptions
from sip.core.hashing import digest
from sip.core.spill import Spilled, unique
from sip.dataset.base import Sample
from sip.pipeline.components import StageName
from sip.pipeline.offline import Offline, score_keys

Row = TypeVar("Row")


@dataclass(frozen=True)
class KnownRows:
    """The samples whose prompts can be written now, and how many others wait for which stage.

    Attributes:
        samples: Samples whose rows of captions and scores are there.
        captions, scores: Their rows; None if the prompts do not read them.
        to_caption, to_score: Keys of the rows to compute; a score whose caption is not there yet
            has a key that stands for it.
        coming: The samples whose prompts can be written after that.
    """

    samples: Sequence[Sample]
    captions: Sequence[list[str]] | None
    scores: Sequence[list[float]] | None
    to_caption: Sequence[str]
    to_score: Sequence[str]
    coming: Sequence[Sample]


def known_rows(offline: Offline, samples: Sequence[Sample]) -> KnownRows:
    """Look up the captions and scores that are there."""
    known, scores = samples, None
    captions: Sequence[list[str]] | None = None
    to_caption: Sequence[str] = ()
    to_score, coming = Spilled[str](), Spilled[Sample]()
    if isinstance(offline.captioner, StatedCaptions):
        captions = offline.captioner.stated(known)
    elif offline.captioner:
        keys: Sequence[str] = Spilled(map(offline.captioner.key, known))
        kept, missing = _there(offline, "captions", keys)
        coming, to_caption = Spilled(of(known, missing)), Spilled(unique(of(keys, missing)))
        known = of(known, kept)
        captions = offline.column("captions", of(keys, kept), "captions")
    if offline.scorer and captions is not None:
        keys = score_keys(known, captions)
        kept, missing = _there(offline, "scores", keys)
        if to_caption:
            captioner = offline.stage("captions").fingerprint
            to_score.extend(digest(captioner, key) for key in to_caption)
        to_score.extend(unique(of(keys, missing)))
        coming.extend(of(known, missing))
        known, captions = of(known, kept), of(captions, kept)
        scores = offline.column("scores", of(keys, kept), "similarities")
    return KnownRows(known, captions, scores, to_caption, to_score, coming)


def of(rows: Sequence[Row], positions: Sequence[int]) -> Sequence[Row]:
    """Return the rows at some positions, each different; the same list if these are all."""
    if len(positions) == len(rows):
        return rows
    return Spilled(rows[n] for n in positions)


def _there(
    offline: Offline, name: StageName, keys: Sequence[str]
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the positions of the keys that have a good row, and of those to compute."""
    stage = offline.stage(name)
    stage.refresh()
    kept, wanted = array("q"), array("q")
    for n, key in enumerate(keys):
        if stage.lacks(key, offline.retry_failed):
            wanted.append(n)
        elif not stage.has_failed(key):
            kept.append(n)
    return kept, wanted

"""Which captions and scores are in the store, and which prompts can be written from them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sip.captions.base import StatedCaptions
from sip.core.hashing import digest
from sip.dataset.base import Sample
from sip.pipeline.components import StageName
from sip.pipeline.offline import Offline, score_keys


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

    samples: list[Sample]
    captions: list[list[str]] | None
    scores: list[list[float]] | None
    to_caption: list[str]
    to_score: list[str]
    coming: list[Sample]


def known_rows(offline: Offline, samples: Sequence[Sample]) -> KnownRows:
    """Look up the captions and scores that are there."""
    known, captions, scores = list(samples), None, None
    to_caption: list[str] = []
    to_score: list[str] = []
    coming: list[Sample] = []
    if isinstance(offline.captioner, StatedCaptions):
        captions = offline.captioner.stated(known)
    elif offline.captioner:
        keys = [offline.captioner.key(sample) for sample in known]
        kept, missing = _there(offline, "captions", keys)
        coming = [known[n] for n in missing]
        to_caption = [keys[n] for n in missing]
        known = [known[n] for n in kept]
        captions = offline.column("captions", [keys[n] for n in kept], "captions")
    if offline.scorer and captions is not None:
        keys = score_keys(known, captions)
        kept, missing = _there(offline, "scores", keys)
        if to_caption:
            captioner = offline.stage("captions").fingerprint
            to_score = [digest(captioner, key) for key in to_caption]
        to_score += [keys[n] for n in missing]
        coming += [known[n] for n in missing]
        known, captions = [known[n] for n in kept], [captions[n] for n in kept]
        scores = offline.column("scores", [keys[n] for n in kept], "similarities")
    return KnownRows(known, captions, scores, to_caption, to_score, coming)


def _there(offline: Offline, name: StageName, keys: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the positions of the keys that have a good row, and of those to compute."""
    stage = offline.stage(name)
    missing, failed = set(stage.missing(keys)), set(stage.failed(keys))
    kept = [n for n, key in enumerate(keys) if key not in missing | failed]
    wanted = missing | failed if offline.retry_failed else missing
    return kept, [n for n, key in enumerate(keys) if key in wanted]

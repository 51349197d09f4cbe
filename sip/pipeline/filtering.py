"""Apply the chosen filter to generated images: facts in, marked images and counts out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.spill import Spilled
from sip.core.stages import StageLog
from sip.core.tars import read_checked
from sip.core.text import counted, join_first
from sip.filter.base import Candidate, FilterCounts, Verdict
from sip.pipeline.offline import Offline
from sip.pipeline.stored import StoredImage

if TYPE_CHECKING:
    from sip.filter.base import Filter

REJECTED = "rejected"  # the status of an image that a filter took out
NUM_SHOWN = 5  # classes that a line names
Control = Callable[[Sequence[str]], np.ndarray]  # paths -> probabilities (N, classes)


@dataclass(frozen=True)
class Sifted:
    """Generated images as a filter leaves them.

    Attributes:
        images: All, the rejected ones marked in their rows.
        counts: What the filter kept and rejected; None without a filter.
    """

    images: Sequence[StoredImage]
    counts: FilterCounts | None

    @cached_property
    def kept(self) -> Sequence[StoredImage]:
        """The images to train on."""
        if all(image.is_ok for image in self.images):
            return self.images
        return Spilled(image for image in self.images if image.is_ok)


def sift(
    offline: Offline | None,
    images: Sequence[StoredImage],
    class_names: Sequence[str],
    stages: StageLog,
    control: Callable[[], Control],
) -> Sifted:
    """Apply the chosen filter; all images are kept if there is none. Raises as `verdicts`."""
    if offline is None or offline.filter is None:
        return Sifted(images, None)
    found = verdicts(offline, images, class_names, stages, control)
    return Sifted(Spilled(mark(images, found)), FilterCounts.of(found))


@dataclass
class OfflineFacts:
    """What filters may ask for, from the offline stages and the arm's control."""

    offline: Offline
    class_names: Sequence[str]
    control_of: Control | None

    @property
    def num_threads(self) -> int:
        """Threads that read images."""
        return self.offline.runtime.num_workers

    def embeddings(self, keys: Sequence[str]) -> np.ndarray:
        """Return the scorer's unit vectors, (N, D), float32, of images by their hash."""
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
    generated: Iterable[StoredImage],
    class_names: Sequence[str],
    stages: StageLog,
    control: Callable[[], Control] | None = None,
) -> list[Verdict]:
    """Apply the chosen filter to the generated images that are ok; print the outcome.

    Args:
        offline: Whose `filter` is asked.
        generated: In the order of the prompts.
        class_names: The classes in words, by label.
        stages: Gets the counts and the time.
        control: Finds or trains the control, if the filter reads it.

    Raises:
        UserError: None is kept, or an image cannot be read or is damaged.
    """
    chosen = offline.filter
    assert chosen is not None
    good = [image for image in generated if image.is_ok]
    found = judge(offline, chosen, good, class_names, stages, "filter", control)
    if found:
        _report(good, found)
    return found


def judge(
    offline: Offline,
    chosen: "Filter",
    images: Sequence[StoredImage],
    class_names: Sequence[str],
    stages: StageLog,
    name: str,
    control: Callable[[], Control] | None = None,
) -> list[Verdict]:
    """Return a filter's verdict on each image.

    Args:
        offline: The stages.
        chosen: The filter.
        images: Those that did not fail.
        class_names: The classes in words, by label.
        stages: Gets the counts and the time.
        name: Name of the stage in it.
        control: Finds or trains the control, if the filter reads it.

    Raises:
        UserError: An image cannot be read or is damaged.
    """
    candidates = [candidate(image) for image in images]
    if not candidates:
        return []
    if "embeddings" in chosen.reads:
        wanted = {one.source_sha256: one.source for one in candidates}
        of_generated = {one.sha256: one.path for one in candidates}
        offline.embed(wanted | of_generated, stages, of_generated)
    else:
        with ThreadPoolExecutor(offline.runtime.num_workers) as threads:
            for _ in threads.map(_check_file, candidates):
                pass
    seen = control() if control is not None and "control" in chosen.reads else None
    with stages.stage(name) as row:
        found = chosen.judge(candidates, OfflineFacts(offline, class_names, seen))
        row["computed"] = len(found)
        row["rejected"] = sum(verdict.reason is not None for verdict in found)
        row["kept"] = row["computed"] - row["rejected"]
    if "embeddings" in chosen.reads:
        offline.models.drop("embeddings")  # its memory is the classifier's
    return found


def mark(images: Iterable[StoredImage], found: Sequence[Verdict] | None) -> Iterator[StoredImage]:
    """Yield the images that were judged, and failed ones; the rows of rejected ones say so.

    Args:
        images: As they were judged: the same, in the same order.
        found: What `verdicts` returned; None: no filter is set.
    """
    if found is None:
        yield from images
        return
    rest = iter(found)
    for image in images:
        verdict = next(rest) if image.is_ok else None
        if verdict is not None and verdict.probability is not None:
            image = replace(image, probability=verdict.probability)
        if verdict is None or verdict.reason is None:
            yield image
        else:
            row = replace(image.row, status=REJECTED, reason=verdict.reason, error=verdict.detail)
            yield replace(image, row=row)


def joined(
    first: Sequence[Verdict] | None, second: Sequence[Verdict] | None
) -> list[Verdict] | None:
    """Return the verdicts of two filters, of which the second judged what the first kept.

    None: that filter is not set.
    """
    if first is None or second is None:
        both = second if first is None else first
        return None if both is None else list(both)
    rest = iter(second)
    return [verdict if verdict.reason is not None else next(rest) for verdict in first]


def candidate(image: StoredImage) -> Candidate:
    """Return what filters see of a generated image that is ok."""
    prompt = image.prompt
    assert image.row.file_sha256 is not None
    return Candidate(
        image_id=prompt.image_id,
        sample_id=prompt.sample_id,
        label=prompt.label,
        class_name=prompt.class_name,
        path=image.file,
        sha256=image.row.file_sha256,
        source=prompt.source,
        source_sha256=prompt.source_sha256,
        source_label=None if prompt.source_class is None else prompt.source_class.label,
    )


def _check_file(one: Candidate) -> None:
    """Raise `DamagedError` if a generated image is not what was written."""
    read_checked(one.path, one.sha256)


def _report(images: Sequence[StoredImage], found: Sequence[Verdict]) -> None:
    """Print why images were rejected, and which classes have none left.

    Raises:
        UserError: None has.
    """
    counts = FilterCounts.of(found)
    if not counts.kept:
        first = found[0].detail or found[0].reason
        raise UserError(
            f"filter: must keep some of {counted(len(found), 'generated image')}, got none "
            f"({counts.reasons_text}; the first: {first}); loosen filter.*, or use filter=none"
        )
    if counts.rejected:
        say("filter", f"rejected: {counts.reasons_text}")
    prompts = [image.prompt for image in images]
    names = {one.label: one.class_name for one in prompts}
    pairs = zip(prompts, found, strict=True)
    left = {one.label for one, verdict in pairs if verdict.reason is None}
    if empty := [name for label, name in sorted(names.items()) if label not in left]:
        share = f"{len(empty)} of {len(names)} classes"
        say("filter", f"no generated image is left of {share}: {join_first(empty, NUM_SHOWN)}")

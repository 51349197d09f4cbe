"""Review: the images of a run in an order, and decisions that are saved one by one."""

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sip.api.run import Run, RunImage
from sip.config.provenance import Recorded
from sip.core.csv_table import csv_text
from sip.core.errors import UserError, not_one_of
from sip.core.files import plain_disk_errors, write_atomically
from sip.core.text import key_of
from sip.core.uri import Place
from sip.filter.review import ACCEPT, COLUMNS, DECISIONS, REJECT, REVIEW, read_review

# Name on the page -> what a run knows of an image; higher is better in all but distances.
SIMILARITY = "similarity of caption and original"
LABEL = "similarity to its label"
CAPTION = "similarity to its caption"
AGREEMENT = "agreement of the zero-shot class"
DISTANCE = "distance to its original"
_lock = threading.Lock()  # decisions of several browser windows


@dataclass(frozen=True)
class ReviewItem:
    """An image to decide on.

    Attributes:
        image: The image.
        values: Name of an order -> value.
    """

    image: RunImage
    values: Mapping[str, float]


class ReviewedRun:
    """A run, what it knows of its images, and the decisions on them.

    Args:
        folder: Folder of the run.
        store: The store; None for the one that the run names.

    Raises:
        UserError: It is no finished run, has no images, or its review is damaged.
    """

    def __init__(self, folder: Path, store: Place | None = None) -> None:
        self.run = Run(folder, None if store is None else str(store))
        if not len(self.run):
            raise UserError(f"run: must have generated images, got {folder} without any")
        self.file = folder / REVIEW
        self._sorted: dict[tuple[str, bool], list[ReviewItem]] = {}  # each key press asks
        _ = self.decisions

    @cached_property
    def items(self) -> list[ReviewItem]:
        """The images that the run kept, in the run's order."""
        quality = self.run.record.image_quality()
        return [ReviewItem(image, _values(image, quality.get(image.id, {}))) for image in self.run]

    @cached_property
    def orders(self) -> list[str]:
        """Names of the orders that the run knows."""
        names = (LABEL, AGREEMENT, DISTANCE, CAPTION, SIMILARITY)
        return [name for name in names if any(name in item.values for item in self.items)]

    @property
    def decisions(self) -> dict[str, str]:
        """Image id -> decision; read from the file, which another window may write too."""
        return read_review(self.file, "review") if self.file.exists() else {}

    def ordered(self, order: str, falling: bool) -> list[ReviewItem]:
        """Return the images by a value; those without one come last.

        Args:
            order: One of `orders`; "" for the order of the run.
            falling: Whether the highest come first.
        """
        if not order:
            return self.items
        if order not in self.orders:
            raise not_one_of("order", self.orders, order)
        if (order, falling) not in self._sorted:
            self._sorted[order, falling] = self._by_value(order, falling)
        return self._sorted[order, falling]

    def _by_value(self, order: str, falling: bool) -> list[ReviewItem]:
        sign = -1 if falling else 1

        def place(item: ReviewItem) -> tuple[bool, float, float]:
            value = item.values.get(order, math.nan)
            missing = math.isnan(value)
            return missing, 0.0 if missing else sign * value, sign * item.values.get(LABEL, 0.0)

        return sorted(self.items, key=place)

    def decide(self, changes: Mapping[str, str | None]) -> dict[str, str | None]:
        """Save decisions; return those that were there before, to undo these.

        Args:
            changes: Image id -> decision; None: undecided.

        Raises:
            UserError: The review is damaged, or cannot be written.
        """
        if wrong := [value for value in changes.values() if value not in (None, *DECISIONS)]:
            raise not_one_of("decision", DECISIONS, wrong[0])
        with _lock, plain_disk_errors(self.file, "review"):
            known = self.decisions
            before = {name: known.get(name) for name in changes}
            after = known | dict(changes)
            write_review({name: value for name, value in after.items() if value}, self.file)
        return before

    def below(self, order: str, threshold: float | None) -> list[str]:
        """Return the ids of the undecided images that a threshold rejects.

        Args:
            order: One of `orders`.
            threshold: Values below it are rejected; of a distance, values above it.
        """
        if order not in self.orders:
            raise not_one_of("order", self.orders, order)
        if threshold is None or not math.isfinite(threshold):
            got = "none" if threshold is None else threshold
            raise UserError(f"threshold: must be a number, got {got}; type one")
        known, sign = self.decisions, -1 if order == DISTANCE else 1
        return [
            item.image.id
            for item in self.items
            if order in item.values
            and sign * item.values[order] < sign * threshold
            and item.image.id not in known
        ]

    def commands(self) -> str:
        """Return the commands that use the review, one a line.

        The training gets the settings of the run, so that it uses the same images. What the run's
        own filter rejected has no decision, and is dropped.
        """
        folder, summary = self.run.folder, self.run.record.summary
        recorded = Recorded.of(self.run.command)
        words = [word for word in recorded.overrides if not _is_replaced(word)]
        if not any(word.startswith("augmentation=") for word in words):
            words.append("augmentation=sip")
        used = ["filter=review", f"filter.file={folder}"]
        used += ["filter.undecided=drop"] if summary.filter else []
        export = Recorded().line("export", [f"run={folder}", "review=keep", "output=reviewed"])
        return f"{export}\n{recorded.line('train', [*words, *used])}"

    def counts(self) -> dict[str, int]:
        """Return how many images are accepted, rejected and undecided."""
        known = self.decisions
        found = Counter(known.get(item.image.id, "undecided") for item in self.items)
        return {name: found[name] for name in (ACCEPT, REJECT, "undecided")}


@dataclass
class ReviewState:
    """Where a window is in a review.

    Attributes:
        run: The run.
        order, falling: As `ReviewedRun.ordered` takes them.
        position: Place of the image that is shown.
        undo: What was there before each step, the latest last.
    """

    run: ReviewedRun
    order: str = ""
    falling: bool = False
    position: int = 0
    undo: list[dict[str, str | None]] = field(default_factory=list)

    @property
    def items(self) -> Sequence[ReviewItem]:
        """The images in the order that was chosen."""
        return self.run.ordered(self.order, self.falling)

    @property
    def current(self) -> ReviewItem:
        """The image that is shown."""
        return self.items[self.position]

    def move(self, step: int) -> None:
        """Show another image; stays at both ends."""
        self.position = min(max(self.position + step, 0), len(self.run.items) - 1)

    def decide(self, decision: str) -> None:
        """Decide on the image that is shown, and show the next."""
        self.undo.append(self.run.decide({self.current.image.id: decision}))
        self.move(1)

    def reject_below(self, threshold: float | None) -> int:
        """Reject the undecided images below a threshold; return their number."""
        names = self.run.below(self.order, threshold)
        if names:
            self.undo.append(self.run.decide(dict.fromkeys(names, REJECT)))
        return len(names)

    def take_back(self) -> int:
        """Undo the latest step of this window; return how many images it was of."""
        if not self.undo:
            return 0
        before = self.undo.pop()
        self.run.decide(before)
        if len(before) == 1:
            ids = [item.image.id for item in self.items]
            self.position = ids.index(next(iter(before)))
        return len(before)


def write_review(decisions: Mapping[str, str], file: Path) -> None:
    """Write a review whole; without decisions there is no file."""
    if not decisions:
        file.unlink(missing_ok=True)
        return
    write_atomically(file, csv_text([COLUMNS, *decisions.items()]))


def _is_replaced(override: str) -> bool:
    """Return whether a training with the review has another value, or needs another one."""
    key = key_of(override)
    fractions = ("dataset.val_fraction", "dataset.test_fraction")  # 0 from Python: no test images
    return key.startswith("filter") or (key in fractions and override.endswith("=0"))


def _values(image: RunImage, quality: Mapping[str, Any]) -> dict[str, float]:
    """Return what is known of an image, by the name of the order."""
    known = {
        SIMILARITY: image.similarity,
        LABEL: quality.get("label_similarity"),
        CAPTION: quality.get("caption_similarity"),
        DISTANCE: quality.get("original_distance"),
    }
    if quality.get("zero_shot") is not None:
        known[AGREEMENT] = float(quality["zero_shot"] == image.class_name)
    return {name: float(value) for name, value in known.items() if value is not None}

"""Rejects what a person rejected in the studio (`python -m sip.studio`), image by image.

Ours. The decisions are rows of `review.csv` in the folder of the run that was reviewed:

    image_id,decision
    8a3f0c...,reject

Images are known by their id, a hash of everything that decides their pixels, so a review is valid
in every run that uses the same images.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from sip.core.component import component, known_by
from sip.core.csv_table import open_csv
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.text import counted, join_first, reason_of
from sip.filter.base import KEPT, Candidate, Facts, ImageFilter, Verdict

REVIEW = "review.csv"  # in the folder of a run
COLUMNS = ("image_id", "decision")
ACCEPT, REJECT = "accept", "reject"
DECISIONS = (ACCEPT, REJECT)
NUM_SHOWN = 5  # bad cells that a message names


@component
class Review(ImageFilter):
    """Keeps and rejects what a review says.

    Args:
        file: A `review.csv`, or the folder of a run that has one.
        undecided: Whether images without a decision are kept or dropped.
    """

    file: str = known_by("content")
    undecided: Literal["keep", "drop"]

    @cached_property
    def _decisions(self) -> Mapping[str, str]:
        return read_review(review_file(self.file))

    @property
    def content(self) -> str:
        """Hash of the decisions; their order does not matter."""
        return digest(sorted(self._decisions.items()))

    @property
    def reads(self) -> frozenset[str]:
        """Needs no facts."""
        return frozenset()

    @property
    def single(self) -> bool:
        """Each image has a decision of its own."""
        return True

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Look each image up.

        Raises:
            UserError: The review has a decision on none of them.
        """
        decisions = [self._decisions.get(image.image_id) for image in images]
        if not any(decisions):
            raise UserError(
                "filter.file: must be a review of images that this run uses, got "
                f"{review_file(self.file)} with {counted(len(self._decisions), 'decision')} on "
                "other images; name the run that was reviewed and use its settings, or use "
                "filter=none"
            )
        reasons = [reason_to_reject(decision, self.undecided) for decision in decisions]
        return [KEPT if reason is None else Verdict(reason, reason) for reason in reasons]


def reason_to_reject(decision: str | None, undecided: str) -> str | None:
    """Return why an image is not used; None if it is.

    Args:
        decision: The one of the review; None: there is none.
        undecided: "keep" or "drop" images without a decision.
    """
    if decision == REJECT:
        return "rejected in review"
    return "not reviewed" if decision is None and undecided == "drop" else None


def review_file(place: str | Path) -> Path:
    """Return the file of a review, which may be named by the folder of its run."""
    path = Path(place).expanduser()
    return path / REVIEW if path.is_dir() else path


def read_review(file: Path, key: str = "filter.file") -> dict[str, str]:
    """Return image id -> decision, in the order of the file.

    Args:
        file: A `review.csv`.
        key: Key that names it, for messages.

    Raises:
        UserError: It is not there, cannot be read, has no decision, or cells do not fit.
    """
    if not file.exists():
        raise UserError(
            f"{key}: must be a {REVIEW} or the folder of a run with one, got {file}, which is not "
            "there; review the images of a run with python -m sip.studio"
        )
    try:
        table = open_csv(file, COLUMNS)
        lines = [(table.line_num, cells) for cells in table]
    except (OSError, ValueError, csv.Error) as error:
        reason = reason_of(error)
        raise UserError(
            f"{key}: must be a CSV file in UTF-8, got {file} ({reason}); fix or delete it"
        ) from error
    columns = table.fieldnames or ()
    if missing := [name for name in COLUMNS if name not in columns]:
        shown = ", ".join(columns) or "no columns"
        raise UserError(
            f"{key}: must be a table with the columns {' and '.join(COLUMNS)}, got {file} with "
            f"{shown}; add the column {missing[0]}"
        )
    return _decisions_of(lines, file, key)


def _decisions_of(
    lines: Sequence[tuple[int, Mapping[str, str | None]]], file: Path, key: str
) -> dict[str, str]:
    """Return the decisions of the rows. Raises as `read_review`."""
    found: dict[str, str] = {}
    bad = []
    for line, cells in lines:
        image_id, decision = ((cells[name] or "").strip() for name in COLUMNS)
        if not image_id:
            bad.append(f"row {line}, column image_id: must be the id of an image, got nothing")
        elif image_id in found:
            bad.append(f"row {line}, column image_id: must be listed once, got {image_id} again")
        if decision not in DECISIONS:
            rule = " or ".join(DECISIONS)
            bad.append(f"row {line}, column decision: must be {rule}, got {decision!r}")
        found[image_id] = decision
    if bad:
        raise UserError(f"{key}: {file}: {join_first(bad, NUM_SHOWN)}; fix these rows")
    if not found:
        raise UserError(
            f"{key}: must be a review with a decision, got {file} with none; review the images "
            "with python -m sip.studio"
        )
    return found

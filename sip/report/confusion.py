"""Confusion matrices of the page: which class the arms of a group take for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sip.core.errors import UserError
from sip.core.text import reason_of
from sip.records.parquet import matrix_of, read_table
from sip.records.read import TrainingRun
from sip.report.results import Arm, ArmGroup

MAX_SHOWN = 20  # classes; with more, the cells of a matrix cannot be read
NUM_PAIRS = 8  # of the classes that are confused most
LEVELS = 10  # shades of a cell
SPLIT = "test"


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix: images of a true class that were predicted as a class."""

    count: int
    share: float  # of the true class, in [0, 1]

    @property
    def level(self) -> int:
        """Shade, 0 for no image."""
        return -(-int(self.share * 1000) * LEVELS // 1000) if self.count else 0


@dataclass(frozen=True)
class Confusion:
    """What an arm takes for what, over all its seeds.

    Attributes:
        arm: Its name.
        classes: Their names.
        rows: A row of cells for each true class; empty for more than 20 classes.
        pairs: Those classes that are confused most: true, predicted, cell.
    """

    arm: str
    classes: list[str]
    rows: list[list[Cell]]
    pairs: list[tuple[str, str, Cell]]


def confusions(group: ArmGroup, damaged: list[str]) -> list[Confusion]:
    """Return the matrix of each arm that has predictions.

    Args:
        group: The arms.
        damaged: Gets a line for each run whose predictions cannot be read.
    """
    found = []
    names: dict[int, str] = {}
    for arm in group.arms:
        counts = _counts(arm, damaged)
        if counts is None:
            continue
        if not names:
            names = _class_names([run.record for run in arm.runs.values()], damaged)
        found.append(matrix(arm.name, counts, [names.get(n, str(n)) for n in range(len(counts))]))
    return found


def matrix(arm: str, counts: np.ndarray, classes: Sequence[str]) -> Confusion:
    """Return the matrix of counts (C, C), int64: true classes by predicted ones."""
    totals = counts.sum(1).clip(1)

    def cell(true: int, predicted: int) -> Cell:
        num = counts[true, predicted]
        return Cell(int(num), float(num / totals[true]))

    every = range(len(classes) if len(classes) <= MAX_SHOWN else 0)
    wrong = [(t, p) for t, p in zip(*np.nonzero(counts), strict=True) if t != p]
    wrong.sort(key=lambda pair: (-counts[pair], pair))
    pairs = [(classes[t], classes[p], cell(t, p)) for t, p in wrong[:NUM_PAIRS]]
    return Confusion(arm, list(classes), [[cell(t, p) for p in every] for t in every], pairs)


def _counts(arm: Arm, damaged: list[str]) -> np.ndarray | None:
    """Return the counts (C, C) of an arm's runs together; None if there are none."""
    total: np.ndarray | None = None
    for run in arm.runs.values():
        try:
            counts = run_counts(run.record)
        except UserError as error:
            damaged.append(str(error))
            continue
        if counts is not None and (total is None or total.shape == counts.shape):
            total = counts if total is None else total + counts
    return total


def run_counts(run: TrainingRun) -> np.ndarray | None:
    """Return the counts (C, C), int64, of a run on the test split; None without predictions.

    Raises:
        UserError: The file is damaged.
    """
    import pyarrow.compute as pc

    file = run.folder / "predictions.parquet"
    if not file.is_file():
        return None
    table = read_table(file, columns=["split", "label", "logits"])
    rows = table.filter(pc.equal(table["split"], SPLIT))
    labels, logits = rows["label"].to_numpy(), matrix_of(rows["logits"], "logits", file)
    try:
        num = logits.shape[1]
        if not len(labels) or labels.min() < 0 or labels.max() >= num:
            raise ValueError("labels are outside of the classes")
        counts = np.zeros((num, num), dtype=np.int64)
        np.add.at(counts, (labels, logits.argmax(1)), 1)
    except (ValueError, TypeError, IndexError) as error:
        reason = reason_of(error)[:120]
        raise UserError(f"{file}: must hold a label and logits per image ({reason})") from error
    return counts


def _class_names(runs: Sequence[TrainingRun], damaged: list[str]) -> dict[int, str]:
    """Return label -> class name from the real images of the first run that lists them."""
    for run in runs:
        try:
            columns = ["kind", "label", "class_name"]
            rows = run.images(columns=columns, filters=[("kind", "=", "real")])
        except UserError as error:
            damaged.append(str(error))
            continue
        names: dict[int, str] = {}
        for row in rows:  # a wrong label of dataset.label_noise brings its own class name
            names.setdefault(row["label"], str(row["class_name"]))
        return names
    return {}

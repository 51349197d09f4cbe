"""Compute metrics, a table of classes and the confusion matrix from a run's predictions.

A run does so at its end; `python -m sip.evaluate` does it again for finished runs: a new
metric needs no new training.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sip.core.errors import UserError
from sip.core.files import atomic_file
from sip.core.paths import SUMMARY, require_run
from sip.records.parquet import iterate_rows, matrix_of, read_table
from sip.records.read import IMAGES, RunRecord, TrainingRun, read_run, runs_of
from sip.records.summary import TrainingSummary

if TYPE_CHECKING:
    from torch import Tensor

UNEQUAL = 2  # largest over smallest class above which head, middle and tail are reported


def evaluate(folder: Path) -> dict[str, float]:
    """Write `per_class.csv` and `confusion.png` (both of test); return all metrics of val and test.

    Args:
        folder: Folder of a run, with `predictions.parquet` and `images.parquet`.

    Raises:
        UserError: One of these is missing.
    """
    from sip.metrics.classification import classification

    class_names, counts = _classes(folder)
    predictions = _predictions(folder)
    groups = _groups(counts, len(class_names))
    metrics = {
        f"{split}/{name}": value
        for split, (logits, labels) in predictions.items()
        for name, value in classification(logits, labels, groups).items()
    }
    write_classes(folder, *predictions["test"], class_names)
    return metrics


def write_classes(
    folder: Path, logits: "Tensor", labels: "Tensor", class_names: Sequence[str]
) -> None:
    """Write `per_class.csv` and `confusion.png`.

    Args:
        folder: May be somebody else's and hold links: files are written next to them and renamed.
        logits: (N, C), float32.
        labels: (N,), int64.
        class_names: C of them.
    """
    from sip.metrics.classification import per_class
    from sip.metrics.confusion import write_confusion

    rows = per_class(logits, labels, class_names)
    with atomic_file(folder / "per_class.csv") as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with atomic_file(folder / "confusion.png") as part:
        write_confusion(logits, labels, class_names, part)


def refresh(runs: Path, only: Path | None = None) -> int:
    """Compute the metrics of finished training runs again; return their number.

    Args:
        runs: Folder of the runs.
        only: Folder of the one run to take; None for all.

    Raises:
        UserError: There are none, or one has lost its predictions.
    """
    from sip.core.progress import progress
    from sip.records.write import write_summary

    records = runs_of(runs) if only is None else [read_training_run(only)]
    bar = progress("evaluate", len(records), "run")
    for run in records:
        write_summary(run.folder, run.summary.evaluated(evaluate(run.folder)))
        bar.update(1)
    bar.close()
    return len(records)


def read_training_run(folder: Path) -> TrainingRun:
    """Return a finished run of `sip.train`.

    Raises:
        UserError: It is none.
    """
    require_run(folder, "run", SUMMARY)
    run = read_run(folder)
    if not isinstance(run.summary, TrainingSummary):
        raise UserError(f"run: must be a run of sip.train, got {folder}, which trained nothing")
    return RunRecord(folder, run.summary)


def _classes(folder: Path) -> tuple[list[str], Counter[int]]:
    """Return the names of the classes, and the number of real training images of each label."""
    names: dict[int, str] = {}
    counts: Counter[int] = Counter()
    for row in iterate_rows(folder / IMAGES, ["kind", "split", "label", "class_name"]):
        if row["kind"] == "real":  # a wrong label of dataset.label_noise brings its own class name
            names.setdefault(row["label"], row["class_name"])
            counts[row["label"]] += row["split"] == "train"
    return [names.get(label, str(label)) for label in range(max(names) + 1)], +counts


def _groups(counts: Counter[int], num_classes: int) -> dict[str, tuple[int, ...]]:
    from sip.dataset.subsets import frequency_groups

    unequal = max(counts.values()) >= UNEQUAL * min(counts.values())
    return frequency_groups(counts, num_classes) if unequal else {}


def _predictions(folder: Path) -> dict[str, tuple["Tensor", "Tensor"]]:
    """Return split -> logits (N, C), float32, and labels (N,), int64."""
    import pyarrow.compute as pc
    import torch

    file = folder / "predictions.parquet"
    table = read_table(file, columns=["split", "label", "logits"])
    predictions = {}
    for split in ("val", "test"):
        members = table.filter(pc.equal(table["split"], split))
        logits = torch.from_numpy(matrix_of(members["logits"], "logits", file)).float()
        labels = torch.from_numpy(members["label"].to_numpy().astype("int64"))
        predictions[split] = (logits, labels)
    return predictions

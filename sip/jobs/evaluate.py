"""Compute metrics, a table of classes and the confusion matrix from a run's predictions.

A run does so at its end; `python -m sip.evaluate` does it again for finished runs, so that a new
metric needs no new training.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sip.core.files import atomic_file
from sip.records.parquet import read_table
from sip.records.read import read_images, runs_of

if TYPE_CHECKING:
    from torch import Tensor

UNEQUAL = 2  # largest over smallest class from which on head, middle and tail are told apart


def evaluate(folder: Path) -> dict[str, float]:
    """Write `per_class.csv` and `confusion.png` (both of test); return all metrics of val and test.

    Args:
        folder: Folder of a run, with `predictions.parquet` and `images.parquet`.

    Raises:
        UserError: One of these is missing.
    """
    from sip.metrics.classification import classification, per_class
    from sip.metrics.confusion import write_confusion

    class_names, training_labels = _classes(folder)
    predictions = _predictions(folder)
    groups = _groups(training_labels, len(class_names))
    found = {
        f"{split}/{name}": value
        for split, (logits, labels) in predictions.items()
        for name, value in classification(logits, labels, groups).items()
    }
    logits, labels = predictions["test"]
    rows = per_class(logits, labels, class_names)
    # Written next to it and renamed: the folder may be somebody else's, and hold links.
    with atomic_file(folder / "per_class.csv") as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with atomic_file(folder / "confusion.png") as part:
        write_confusion(logits, labels, class_names, part)
    return found


def refresh(runs: Path) -> int:
    """Compute the metrics of all finished training runs of a folder again; return their number.

    Raises:
        UserError: There are none, or one has lost its predictions.
    """
    from sip.core.progress import progress
    from sip.records.write import write_summary

    found = runs_of(runs, None)
    bar = progress("evaluate", len(found), "run")
    for run in found:
        # Metrics from elsewhere, such as those of the generated images, stay.
        others = {
            name: value
            for name, value in run.summary.metrics.items()
            if not name.startswith(("val/", "test/"))
        }
        summary = replace(run.summary, metrics=others | evaluate(run.folder))
        write_summary(run.folder, summary)
        bar.update(1)
    bar.close()
    return len(found)


def _classes(folder: Path) -> tuple[list[str], list[int]]:
    """Return the names of the classes, and the labels of the real training images."""
    columns = ["kind", "split", "label", "class_name"]
    real = [row for row in read_images(folder, columns=columns) if row["kind"] == "real"]
    names: dict[int, str] = {}
    for row in real:  # a wrong label of dataset.label_noise brings its own class name
        names.setdefault(row["label"], row["class_name"])
    class_names = [names.get(label, str(label)) for label in range(max(names) + 1)]
    return class_names, [row["label"] for row in real if row["split"] == "train"]


def _groups(labels: Sequence[int], num_classes: int) -> dict[str, tuple[int, ...]]:
    from sip.dataset.subsets import frequency_groups

    counts = Counter(labels).values()
    unequal = max(counts) >= UNEQUAL * min(counts)
    return frequency_groups(labels, num_classes) if unequal else {}


def _predictions(folder: Path) -> dict[str, tuple["Tensor", "Tensor"]]:
    """Return split -> logits (N, C), float32, and labels (N,), int64."""
    import torch

    columns = ["split", "label", "logits"]
    rows = read_table(folder / "predictions.parquet", columns=columns).to_pylist()
    found = {}
    for split in ("val", "test"):
        members = [row for row in rows if row["split"] == split]
        logits = torch.tensor([row["logits"] for row in members], dtype=torch.float32)
        found[split] = (logits, torch.tensor([row["label"] for row in members]))
    return found

"""What a run's stored predictions say: all metrics, a table of classes, the confusion matrix.

A run calls it at its end. `python -m sip.evaluate` does the same for runs that are long finished,
so that a new metric needs no new training.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.core.errors import UserError
from sip.records.read import read_summary, read_table

if TYPE_CHECKING:
    from torch import Tensor

UNEQUAL = 2  # largest over smallest class from which on head, middle and tail are told apart


def evaluate(folder: Path) -> dict[str, float]:
    """Write `per_class.csv` and `confusion.png` (both of test); return all metrics of val and test.

    Args:
        folder: Of a run, with `predictions.parquet` and `pictures.parquet`.

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
    with (folder / "per_class.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_confusion(logits, labels, class_names, folder / "confusion.png")
    return found


def refresh(runs: Path) -> int:
    """Compute the metrics of all finished runs of a folder anew; return their number.

    Raises:
        UserError: There are none, or one has lost its predictions.
    """
    from sip.core.progress import progress
    from sip.records.write import write_summary

    files = [file for file in sorted(runs.glob("*/summary.json")) if _is_run(file)]
    if not files:
        raise UserError(f"evaluate: expected finished runs of sip.train in {runs}, found none")
    bar = progress("evaluate", len(files), "run")
    for file in files:
        summary = read_summary(file)
        # What came from elsewhere, such as the metrics of the drawn pictures, stays.
        others = {
            name: value
            for name, value in summary.get("metrics", {}).items()
            if not name.startswith(("val/", "test/"))
        }
        write_summary(file, {**summary, "metrics": {**others, **evaluate(file.parent)}})
        bar.update(1)
    bar.close()
    return len(files)


def shown(metrics: dict[str, float]) -> str:
    """Return the line of the run's table."""
    names = {
        "test/top5": "top-5",
        "test/mean_per_class": "mean per class",
        "test/ece": "calibration error",
        "test/nll": "negative log-likelihood",
        "test/head": "head",
        "test/middle": "middle",
        "test/tail": "tail",
    }
    return ", ".join(f"{text} {metrics[key]:.3f}" for key, text in names.items() if key in metrics)


def _is_run(file: Path) -> bool:
    return "test_accuracy" in read_summary(file)


def _classes(folder: Path) -> tuple[list[str], list[int]]:
    """Return the names of the classes, and the labels of the real training pictures."""
    rows = _read(folder / "pictures.parquet", ["kind", "split", "label", "class_name"])
    real = [row for row in rows if row["kind"] == "real"]
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

    rows = _read(folder / "predictions.parquet", ["split", "label", "logits"])
    found = {}
    for split in ("val", "test"):
        members = [row for row in rows if row["split"] == split]
        logits = torch.tensor([row["logits"] for row in members], dtype=torch.float32)
        found[split] = (logits, torch.tensor([row["label"] for row in members]))
    return found


def _read(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    if not path.exists():
        raise UserError(f"evaluate: expected {path}, which a finished run has; train it again")
    return read_table(path, columns=columns).to_pylist()

"""Metrics of finished runs are computed from their stored predictions."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sip.core.errors import UserError
from sip.dataset.subsets import FREQUENCY_GROUPS
from sip.evaluate import task
from sip.jobs.evaluate import evaluate, refresh
from sip.jobs.objectives import VALIDATION
from sip.metrics.classification import classification
from sip.records.write import write_summary
from tests.composing import composed
from tests.records.made_up import training_summary

NAMES = ("cat", "dog", "newt")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three classes with 8, 4 and 1 training images."""
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    training = [(label, "train") for label, num in enumerate((8, 4, 1)) for _ in range(num)]
    images = [*training, *((label, part) for part in ("val", "test") for label in range(3))]
    rows = [
        {"kind": "real", "split": split, "label": label, "class_name": NAMES[label]}
        for label, split in images
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "images.parquet")
    rows = []
    for split, answers in (("val", (0, 1, 2)), ("test", (0, 1, 0))):
        for label, answer in enumerate(answers):
            logits = [4.0 if column == answer else 0.0 for column in range(3)]
            rows.append({"split": split, "label": label, "logits": logits})
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions.parquet")
    write_summary(folder, training_summary(metrics={"generated/vendi": 3.0, "test/old": 1.0}))
    return folder


def test_metrics_of_both_splits_and_of_frequency_groups(run: Path) -> None:
    metrics = evaluate(run)
    assert metrics["val/top1"] == 1
    assert metrics["test/top1"] == metrics["test/mean_per_class"] == pytest.approx(2 / 3)
    assert (metrics["test/head"], metrics["test/middle"], metrics["test/tail"]) == (1, 1, 0)


def test_a_search_may_go_by_every_metric_of_val() -> None:
    groups = dict.fromkeys(FREQUENCY_GROUPS, (0,))
    metrics = classification(torch.eye(6), torch.arange(6), groups)
    assert {f"val/{name}" for name in metrics} == {*VALIDATION} - {"val/accuracy"}


def test_only_training_images_make_a_class_rare(run: Path) -> None:
    table = pq.read_table(run / "images.parquet").to_pylist()
    equal = [row | {"label": number % 3} for number, row in enumerate(table[:12])]
    test = [row | {"split": "test", "label": 0} for row in table[:8]]
    generated = [row | {"kind": "generated", "label": 1} for row in table[:8]]
    rows = [*equal, *table[13:], *test, *generated]
    pq.write_table(pa.Table.from_pylist(rows), run / "images.parquet")
    assert not {"test/head", "test/tail"} & evaluate(run).keys()


def test_table_of_classes_and_matrix_are_written(run: Path) -> None:
    evaluate(run)
    rows = list(csv.DictReader((run / "per_class.csv").read_text().splitlines()))
    assert [(row["class_name"], float(row["recall"])) for row in rows] == [
        ("cat", 1.0), ("dog", 1.0), ("newt", 0.0),
    ]  # fmt: skip
    with Image.open(run / "confusion.png") as image:
        assert image.width > 200


def test_refresh_keeps_what_is_not_its_own(run: Path) -> None:
    assert refresh(run.parent) == 1
    summary = json.loads((run / "summary.json").read_text())
    metrics = summary["metrics"]
    assert (summary["val_accuracy"], summary["test_accuracy"]) == (1, pytest.approx(2 / 3))
    assert "test/top1" not in metrics and "test/mean_per_class" in metrics
    assert metrics["generated/vendi"] == 3
    assert "test/old" not in metrics
    assert metrics["test/nll"] > 1


def test_missing_predictions_are_refused(run: Path, tmp_path: Path) -> None:
    (run / "predictions.parquet").unlink()
    with pytest.raises(
        UserError, match=r"predictions.parquet: must be a file of a run \(No such file"
    ):
        evaluate(run)
    with pytest.raises(UserError, match="runs: must be a folder with runs, got .*elsewhere"):
        refresh(tmp_path / "elsewhere")


def test_a_link_in_a_run_folder_is_replaced_and_not_followed(run: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("per_class.csv", "confusion.png"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(victim)
    evaluate(run)
    assert victim.read_text() == "mine"
    assert not any((run / name).is_symlink() for name in ("per_class.csv", "confusion.png"))


def test_runs_that_are_no_folder_are_one_line() -> None:
    with pytest.raises(UserError, match="^runs: must be a folder, got null; say runs=FOLDER$"):
        task(composed("runs=null", name="evaluate"))
    with pytest.raises(UserError, match="^run: must be one folder, got .*; say run=runs/<name>"):
        task(composed("run=[a,b]", name="evaluate"))

"""Columns of lists as arrays, and what is refused."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sip.classifier.base import TrainingImage
from sip.classifier.train import write_predictions
from sip.core.errors import UserError
from sip.jobs.evaluate import _predictions
from sip.records.parquet import matrix_of
from sip.records.read import RunRecord
from tests.records.made_up import training_summary

NUM, CLASSES = 400, 500


def test_predictions_come_back_without_an_object_for_each_number(tmp_path: Path) -> None:
    rows = [TrainingImage(f"{number:04d}", "", number % CLASSES) for number in range(NUM)]
    logits = torch.randn(NUM, CLASSES, generator=torch.manual_seed(0))
    tracemalloc.start()
    splits = {"val": (rows, logits), "test": (rows[::-1], logits.flip(0))}
    write_predictions(tmp_path / "predictions.parquet", splits)
    found = _predictions(tmp_path)
    run = RunRecord(tmp_path, training_summary()).predictions
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for split, (members, values) in splits.items():
        labels = [row.label for row in members]
        assert torch.equal(found[split][0], values) and found[split][1].tolist() == labels
    right = logits.argmax(1).numpy() == np.arange(NUM) % CLASSES
    for split in splits:  # by name
        assert run[split].ids == tuple(row.sample_id for row in rows)
        assert np.array_equal(run[split].right, right)
    assert peak < 3 * 4 * 2 * NUM * CLASSES  # bytes; a number as a Python object takes 24


@pytest.mark.parametrize(
    ("lists", "got"),
    [
        ([[1.0], [1.0, 2.0]], "lists of 1 and 2"),
        ([[1.0], None], "none"),
        ([[], []], "none"),
        ([None, None], "none"),
        (["a", "b"], "none"),
    ],
)
def test_what_is_no_matrix_is_refused(lists: list, got: str) -> None:
    column = pa.table({"logits": lists})["logits"]
    with pytest.raises(UserError, match=f"a.parquet: logits: must be .* got {got}; "):
        matrix_of(column, "logits", Path("a.parquet"))


def test_rows_that_were_filtered_out_are_not_in_the_matrix(tmp_path: Path) -> None:
    table = pa.table({"logits": [[1.0], [2.0], [3.0]], "is_in": [False, True, True]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    read = pq.read_table(tmp_path / "a.parquet")
    kept = read.filter(read["is_in"])
    assert matrix_of(kept["logits"], "logits", tmp_path).tolist() == [[2.0], [3.0]]
    assert len(matrix_of(kept.slice(2)["logits"], "logits", tmp_path)) == 0

"""The table of experiments/adapt comes out of its values per seed again."""

import importlib.util
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parents[2] / "experiments" / "adapt"


def test_the_committed_table_is_that_of_the_committed_values() -> None:
    spec = importlib.util.spec_from_file_location("adapt_results", FOLDER / "results.py")
    assert spec and spec.loader
    results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(results)
    table = pd.read_csv(FOLDER / "results.csv")
    assert results.summary(table) in (FOLDER / "README.md").read_text()
    kept = table[table.arm == "datadream_like"].groupby("adapted").label_kept.mean()
    assert kept[False] < 5 < 80 < kept[True]

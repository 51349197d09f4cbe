"""Gains as shots: the curve of no augmentation, read backwards."""

from pathlib import Path

import pytest

from sip.core.errors import UserError
from sip.tables.document import document
from sip.tables.query import select_runs
from tests.tables.made_up import write_run
from tests.tables.test_tables import fields, layout

CURVE = {1: 0.50, 2: 0.60, 4: 0.70, 8: 0.80}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return runs of none, of sip with 5 points more, and of cutmix, far above all."""
    folder = tmp_path_factory.mktemp("shots")
    for shots, accuracy in CURVE.items():
        for seed in range(3):
            for arm, gain in {"none": 0.0, "sip": 0.05, "cutmix": 0.3}.items():
                config, value = {"dataset.shots": shots}, accuracy + gain + seed / 100
                write_run(folder, arm, seed, min(value, 1.0), config=config, shots=shots)
    return folder


def test_a_gain_of_half_a_doubling_is_half_a_doubling(folder: Path) -> None:
    table = document(select_runs(folder), layout("table=shots"))
    grid = next(n for n, one in enumerate(table.grids) if "quivalent shots" in one.title)
    assert list(table.grids[grid].header) == ["Augmentation", "1", "2", "4", "8"]
    rows = {row[0]: row[1:] for row in fields(table, grid)}
    assert rows["sip"] == ["1.4 ± 0.0 (3)", "2.8 ± 0.0 (3)", "5.7 ± 0.0 (3)", "> 8.0 (3)"]
    assert rows["cutmix"][0] == "8.0 ± 0.0 (3)"
    assert rows["cutmix"][1:] == ["> 8.0 (3)"] * 3


def test_the_interval_is_over_the_seeds_and_less_than_the_first_point_is_said(
    tmp_path: Path,
) -> None:
    for shots, accuracy in CURVE.items():
        for seed in range(3):
            config = {"dataset.shots": shots}
            for arm in ("none", "cutmix"):
                write_run(tmp_path, arm, seed, accuracy, config=config, shots=shots)
            worse = accuracy - 0.02 * (seed + 1) if shots == 1 else accuracy + 0.02 * seed
            write_run(tmp_path, "sip", seed, worse, config=config, shots=shots)
    table = document(select_runs(tmp_path), layout("table=shots"))
    same, row = fields(table, len(table.grids) - 1)
    assert same[1:] == [f"{shots}.0 ± 0.0 (3)" for shots in CURVE]
    assert row[1] == "< 1.0 (3)" and row[2].startswith("2.3 ± 0.")


def test_seeds_beyond_both_ends_of_the_curve_have_no_number(tmp_path: Path) -> None:
    for shots, accuracy in {1: 0.50, 2: 0.60}.items():
        for seed, gain in enumerate((-0.2, 0.2, 0.0)):
            config = {"dataset.shots": shots}
            write_run(tmp_path, "none", seed, accuracy, config=config, shots=shots)
            write_run(tmp_path, "sip", seed, accuracy + gain, config=config, shots=shots)
    table = document(select_runs(tmp_path), layout("table=shots"))
    assert fields(table, len(table.grids) - 1)[0][1:] == ["-", "-"]


def test_a_metric_of_which_less_is_better_has_no_equivalent_shots() -> None:
    for metric in ("test/nll", "val/ece"):
        with pytest.raises(UserError, match=f"^table.value: must be .* got {metric}; set table.eq"):
            layout("table=shots", f"table.value={metric}")


def test_one_point_is_no_curve(tmp_path: Path) -> None:
    for arm in ("none", "sip"):
        write_run(tmp_path, arm, 0, config={"dataset.shots": 5})
    table = document(select_runs(tmp_path), layout("table=shots"))
    assert not any("quivalent" in grid.title for grid in table.grids)

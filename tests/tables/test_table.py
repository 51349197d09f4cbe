"""The table of arms from made-up runs."""

import csv

import pytest

from sip.tables.main import arms, markdown, write


def run(augmentation: str, seed: int, accuracy: float) -> dict:
    return {
        "backbone": "resnet50",
        "augmentation": augmentation,
        "seed": seed,
        "test_accuracy": accuracy,
        "num_real": 50,
        "num_drawn": 50 if augmentation == "sip" else 0,
        "steps": 100,
        "unet_evaluations": 2500 if augmentation == "sip" else 0,
        "stages": [{"stage": "classifier", "seconds": 10.0}],
    }


def test_difference_is_paired_by_seed() -> None:
    rows = arms(
        [run("none", s, 0.7 + 0.05 * s) for s in range(4)]
        + [run("sip", s, 0.75 + 0.05 * s) for s in range(3)]
    )
    none, sip = rows
    assert none.difference is None
    assert sip.difference is not None
    assert sip.difference.estimate.num == 3
    assert sip.difference.estimate.mean == pytest.approx(5.0)


def test_difference_with_0_in_its_interval_is_not_bold() -> None:
    noisy = [run("none", s, 0.7) for s in range(3)] + [
        run("sip", s, a) for s, a in enumerate([0.6, 0.9, 0.7])
    ]
    clear = [run("none", s, 0.7) for s in range(3)] + [
        run("sip", s, a) for s, a in enumerate([0.81, 0.8, 0.82])
    ]
    assert "**" not in markdown(arms(noisy), "")
    assert "**+11.00" in markdown(arms(clear), "")


def test_two_runs_of_one_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="seed 0, differ in their recipes"):
        arms([run("none", 0, 0.7), run("none", 0, 0.8)])


def test_files_hold_the_same_cells(tmp_path) -> None:
    rows = arms([run("none", s, 0.7 + s / 100) for s in range(3)])
    write(rows, "footer", tmp_path / "out" / "table")
    with (tmp_path / "out" / "table.csv").open() as file:
        read = list(csv.reader(file))
    assert read[1][:2] == ["resnet50", "none"]
    assert "71.00 ± 2.48" in read[1]
    assert "71.00 ± 2.48" in (tmp_path / "out" / "table.md").read_text()

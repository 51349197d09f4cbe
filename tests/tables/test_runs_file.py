"""A table comes out again from its values per seed and its predictions alone."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sip.core.errors import UserError
from sip.tables.__main__ import task
from sip.tables.document import Document, document, recomputed
from sip.tables.formats import write
from sip.tables.query import select_runs
from sip.tables.runs_file import read_rows
from tests.composing import composed
from tests.tables.made_up import write_arms, write_run
from tests.tables.test_tables import layout


def written(folder: Path, output: Path, *overrides: str) -> Document:
    """Write a table of all runs; return it."""
    shape = layout(*overrides)
    table = document(select_runs(folder), shape)
    write(table, shape.value, output)
    return table


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Document]:
    """Return the files and the table of arms of which two have candidates."""
    folder = tmp_path_factory.mktemp("chosen")
    write_arms(folder / "runs", {"none": 0.6, "randaugment": 0.7, "cutmix": 0.68, "moex": 0.66})
    for rate, accuracy in {0.3: 0.8, 0.5: 0.75}.items():
        for seed in range(5):
            config = {"prompts.noise_rate": rate}
            write_run(folder / "runs", "sip", seed, accuracy + seed / 50, config=config,
                      val_accuracy=0.9 - rate + seed / 100)  # fmt: skip
    return folder, written(folder / "runs", folder / "table", "table=confirmatory")


def unlike(first: Path, second: Path) -> list[str]:
    """Return the lines of two files that differ, those of the first one first."""
    lines = [path.read_text().splitlines() for path in (first, second)]
    return [line for here, there in (lines, lines[::-1]) for line in here if line not in there]


def check_again(folder: Path, *overrides: str) -> None:
    """Compute `<folder>/table` again from its two files alone; refuse any other difference."""
    moved = folder / "only"
    moved.mkdir()
    for end in ("_runs.csv", "_predictions.npz"):
        shutil.copy(folder / f"table{end}", moved)
    shape = layout(*overrides)
    write(recomputed(moved / "table_runs.csv", shape), shape.value, moved / "table")
    for end in ("md", "tex"):
        ours, theirs = unlike(moved / f"table.{end}", folder / f"table.{end}")
        source = ", from table_runs.csv" if end == "md" else ", from table\\_runs.csv"
        assert source in ours and ours.replace(source, "") == theirs
    assert (moved / "table.csv").read_bytes() == (folder / "table.csv").read_bytes()


def test_a_chosen_table_comes_out_again_without_a_run(chosen) -> None:
    folder, table = chosen
    assert any(note.startswith("Chosen on validation") for note in table.notes)
    check_again(folder, "table=confirmatory")


def test_the_metric_that_chooses_is_that_of_the_file(chosen, tmp_path: Path) -> None:
    file = chosen[0] / "table_runs.csv"
    with pytest.raises(UserError, match="table.select_by: must be that of .*; set .*=val/top1"):
        recomputed(file, layout("table=confirmatory", "table.select_by=val/top5"))
    own = ["table=selected", "table.select_by=val/top5"]
    for seed in range(2):
        write_run(tmp_path / "runs", "sip", seed, metrics={"val/top5": 0.9 + seed / 100})
    written(tmp_path / "runs", tmp_path / "table", *own)
    check_again(tmp_path, *own)
    with pytest.raises(UserError, match="; set table.select_by=val/top5"):
        recomputed(tmp_path / "table_runs.csv", layout("table=selected"))


def test_tables_with_gaps_times_and_diverged_runs_come_out_again(tmp_path: Path) -> None:
    own = {"commit": "fedcba9876543210", "experiments": ("main", "trial"), "steps": 300}
    for dataset in ("digits", "dtd"):
        arms = {"none": 0.7, "randaugment": 0.8, "sip": 0.74, "sip_randaugment": 0.82}
        write_arms(tmp_path / "runs", arms, dataset=dataset)
    write_run(tmp_path / "runs", "cutmix", 0, choices={"augmentation/base": "crop"}, **own)
    write_run(
        tmp_path / "runs",
        "cutmix",
        1,
        test_accuracy=float("nan"),
        metrics={"test/top1": float("nan")},
    )
    for seed in range(2):
        config = {"dataset.shots": None, "prompts.seed": 0}
        write_run(tmp_path / "runs", "sip_cutmix", seed, config=config, shots=None, machine=None)
    for name in ("arms", "main", "cost", "combinations"):
        folder = tmp_path / name
        folder.mkdir()
        table = written(tmp_path / "runs", folder / "table", f"table={name}")
        assert table.commands and any(note.startswith("Diverged") for note in table.notes)
        assert any("share one generated set" in note for note in table.notes)
        check_again(folder, f"table={name}")


def test_rows_have_value_seed_steps_and_machine(chosen) -> None:
    folder, _ = chosen
    rows = read_rows(folder / "table_runs.csv")
    assert len(rows) == 30
    row = next(row for row in rows if (row.row, row.seed, row.setting[-3:]) == ("sip", 3, "0.5"))
    assert (row.value, row.test, row.val) == (81.0, 81.0, pytest.approx(43.0))
    assert (row.best_step, row.last_step, row.threads) == (200, 250, 1)
    assert row.machine and row.machine.line() == "AMD EPYC, AVX2, 1 thread"
    assert (row.libraries, row.commit) == ("torch=2.15.0", "0123456789abcdef")
    assert (row.num_generated, row.seconds_train, row.seconds_generate) == (50, 13.0, 25.0)
    assert row.setting.startswith("prompts.noise_rate=0.5")


def test_predictions_take_a_bit_an_image_and_equal_tables_are_equal_bytes(
    chosen, tmp_path: Path
) -> None:
    folder, _ = chosen
    file = folder / "table_predictions.npz"
    with np.load(file) as found:
        assert found["right"].nbytes == 30 * 200 // 8
    written(folder / "runs", tmp_path / "table", "table=confirmatory")
    for end in ("_predictions.npz", "_runs.csv"):
        assert (tmp_path / f"table{end}").read_bytes() == (folder / f"table{end}").read_bytes()


def test_without_predictions_nothing_is_said_of_images(chosen, tmp_path: Path) -> None:
    shutil.copy(chosen[0] / "table_runs.csv", tmp_path)
    again = recomputed(tmp_path / "table_runs.csv", layout("table=confirmatory"))
    assert all(one.images is None for one in again.compared)
    assert "7 comparisons" not in again.comparison_notes and again.claims[0].difference is not None


def test_the_command_reads_it(chosen, capsys: pytest.CaptureFixture) -> None:
    given = [f"from={chosen[0]}/table_runs.csv", "table=confirmatory", f"runs={chosen[0]}/none"]
    task(composed(*given, name="tables"))
    printed = capsys.readouterr().out
    assert "best of 3 on validation" in printed and ", from table_runs.csv." in printed


def test_what_is_no_such_file_is_one_line(chosen, tmp_path: Path) -> None:
    def refused(name: str, content: str, match: str) -> None:
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=f"^from: must be the files .*{match}"):
            recomputed(tmp_path / "x_runs.csv", layout())

    whole = (chosen[0] / "table_runs.csv").read_text()
    head, first, *_ = whole.splitlines()
    refused("x_runs.csv", "", "it has no run")
    refused("x_runs.csv", "a,b\n1,2\n", "block: field required")
    refused("x_runs.csv", whole.replace(",0,test/top1", ",zero,test/top1"), "seed: input should")
    refused("x_runs.csv", f"{head}\n{first}\n{first}\n", "two runs of cutmix, seed 0")
    (tmp_path / "x_runs.csv").write_text(whole)
    refused("x_predictions.npz", "no zip", "x_predictions.npz")
    content = (chosen[0] / "table_predictions.npz").read_bytes()
    for cut in (content[:-9], content[:100] + b"x" * 300 + content[400:]):  # a download that broke
        (tmp_path / "x_predictions.npz").write_bytes(cut)
        with pytest.raises(UserError, match="^from: must be the files .*x_predictions.npz"):
            recomputed(tmp_path / "x_runs.csv", layout())
    (tmp_path / "x_predictions.npz").unlink()
    refused("x_runs.csv", f"{head}\n{'x' * 200_000}", "field larger than field limit")
    (tmp_path / "x_runs.csv").write_text(whole)
    with pytest.raises(UserError, match=r"^from: no such file .*none_runs.csv; .* x_runs.csv$"):
        recomputed(tmp_path / "none_runs.csv", layout())
    with pytest.raises(UserError, match=r"no such file .*; name a table's \.\._runs.csv$"):
        recomputed(tmp_path / "none" / "x_runs.csv", layout())
    old = tmp_path / "old_runs.csv"
    pd.read_csv(chosen[0] / "table_runs.csv").drop(columns=["stack", "limits"]).to_csv(old)
    with pytest.raises(UserError, match="lacks the columns limits, stack|stack, limits") as error:
        recomputed(old, layout())
    assert "must" not in str(error.value) and str(error.value).endswith(" output=old")
    with pytest.raises(UserError, match="table.value: must be the metric of .*top1"):
        recomputed(chosen[0] / "table_runs.csv", layout("table.value=val/top1"))

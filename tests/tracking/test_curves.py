"""The curve of a run that was killed twice is one curve."""

import csv
from pathlib import Path

from sip.tracking.curves import join, put_aside


def write(folder: Path, steps: range, start: str) -> None:
    rows = [f"{step},{start}{step}," for step in steps]
    (folder / "metrics.csv").write_text("\n".join(["step,loss,val", *rows]) + "\n")


def test_parts_are_joined_and_the_later_start_counts(tmp_path: Path) -> None:
    write(tmp_path, range(0, 50, 10), "a")
    put_aside(tmp_path, goes_on=True)
    write(tmp_path, range(30, 60, 10), "b")
    put_aside(tmp_path, goes_on=True)
    (tmp_path / "metrics.csv").write_text("step,val,lr\n50,c,1\n60,c,2\n")
    join(tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [0, 10, 20, 30, 40, 50, 60]
    assert [row["loss"] for row in rows] == ["a0", "a10", "a20", "b30", "b40", "", ""]
    assert [row["lr"] for row in rows] == [""] * 5 + ["1", "2"]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_fresh_start_forgets_what_came_to_nothing(tmp_path: Path) -> None:
    write(tmp_path, range(3), "a")
    put_aside(tmp_path, goes_on=True)
    put_aside(tmp_path, goes_on=False)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path, range(3), "b")
    before = (tmp_path / "metrics.csv").read_text()
    join(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == before

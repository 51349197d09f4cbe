"""The base transform in tables and reports: stated, and named if it differs."""

from pathlib import Path

import pytest

from sip.config.command import Command
from sip.report.results import groups
from sip.report.runs import find_runs
from sip.tables.__main__ import task
from sip.tables.document import Document, document
from sip.tables.layout import TableLayout
from sip.tables.query import select_runs
from tests.composing import composed
from tests.tables.made_up import write_run

BASE = "augmentation/base"


def write_arm(folder: Path, arm: str, base: str = "none", **rest: object) -> None:
    """Write two seeds of an arm with a base transform."""
    for seed in range(2):
        write_run(folder, arm, seed, choices={BASE: base}, **rest)


def table(folder: Path, *overrides: str) -> Document:
    shape = TableLayout.of(composed(*overrides, name="tables").table)
    return document(select_runs(folder, (), shape.where), shape)


def rows(made: Document) -> list[str]:
    (grid,) = [grid for grid in made.grids if not grid.compares]
    return [row[0].text for row in grid.rows]


def notes(made: Document) -> list[str]:
    return [note for note in made.notes if note.startswith(("Base", "CONFOUNDED"))]


def test_one_base_transform_is_stated_and_in_no_name(tmp_path: Path) -> None:
    for arm in ("none", "sip"):
        write_arm(tmp_path, arm, "crop", overrides=("augmentation.base.min_scale=0.5",))
    made = table(tmp_path)
    assert rows(made) == ["none", "sip"]
    assert notes(made) == ["Base transform of all rows: crop (min_scale=0.5)."]
    (group,) = groups(find_runs(tmp_path, (), None, []))
    assert group.bases == ["crop (min_scale=0.5)"] and group.confounded is None
    assert [arm.name for arm in group.arms] == ["none", "sip"]


def test_two_bases_of_one_arm_are_rows_named_by_choices(tmp_path: Path) -> None:
    for sweep, base in (("arms", "crop"), ("seeds", "none")):
        write_arm(tmp_path, "none", base, overrides=(f"+sweep={sweep}",))
    made = table(tmp_path)
    assert rows(made) == ["none, base none", "none, base crop"]
    assert {one.against for one in made.compared} == {"none, none"} and notes(made) == []
    assert any("compared with none, base none, the first of them" in n for n in made.notes)
    (group,) = groups(find_runs(tmp_path, (), None, []))
    assert [arm.name for arm in group.arms] == ["none, base none", "none, base crop"]
    assert group.confounded is None


@pytest.mark.parametrize("more", [[], ["table=confirmatory"], ["table=main"]])
def test_arms_with_unlike_bases_are_named_and_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str]
) -> None:
    write_arm(tmp_path, "none")
    write_arm(tmp_path, "cutmix")
    write_arm(tmp_path, "sip", "crop")
    made = table(tmp_path, *more)
    assert rows(made) == ["none, base none", "cutmix, base none", "sip, base crop"]
    place = "resnet50 × digits" if "table=main" in more else "resnet50"
    stated, warning = notes(made)
    assert (
        stated
        == "Base transform: crop (sip, base crop); none (cutmix, base none / none, base none)."
    )
    assert warning.startswith(f"CONFOUNDED, {place}: the base transforms differ too")
    assert "sip, base crop against none, base none" in warning and "cutmix" not in warning
    task(composed(f"runs={tmp_path}", *more, name="tables"))
    assert f"warning      {warning}" in capsys.readouterr().err
    (group,) = groups(find_runs(tmp_path, (), None, []))
    assert "sip, base crop (crop)" in (group.confounded or "")
    assert "is not that of none, base none (none)" in (group.confounded or "")


def test_bases_that_differ_between_columns_only_are_no_mixture(tmp_path: Path) -> None:
    for dataset, base in (("digits", "none"), ("cifar10", "pad_crop")):
        for arm in ("none", "sip"):
            write_arm(tmp_path, arm, base, dataset=dataset)
    made = table(tmp_path, "table=main")
    assert rows(made) == ["none", "sip"]
    assert notes(made) == ["Base transform: none (digits); pad_crop (cifar10)."]


def test_a_column_for_each_base_compares_within_it(tmp_path: Path) -> None:
    for base in ("none", "crop"):
        for arm in ("none", "sip"):
            write_arm(tmp_path, arm, base)
    made = table(tmp_path)
    assert list(made.grids[0].header) == ["Augmentation", "base none", "base crop"]
    assert rows(made) == ["none", "sip"] and not made.warnings
    mixed = table(tmp_path, "table.columns=null")
    assert (
        len(mixed.warnings) == 1 and "sip, base crop against none, base none" in mixed.warnings[0]
    )
    one = table(tmp_path, Command.for_hydra(f"+table.where.{BASE}=crop"))
    assert rows(one) == ["none", "sip"] and notes(one) == ["Base transform of all rows: crop."]


def test_several_experiments_are_one_table_and_one_report(tmp_path: Path) -> None:
    write_arm(tmp_path, "none", experiments=("retr",))
    write_arm(tmp_path, "sip", experiments=("trial",))
    write_arm(tmp_path, "cutmix", experiments=("other",))
    runs = select_runs(tmp_path, ["retr", "trial"])
    assert len(runs) == 4 and len(find_runs(tmp_path, ["retr", "trial"], None, [])) == 4
    task(composed(f"runs={tmp_path}", "experiment=[retr,trial]", name="tables"))

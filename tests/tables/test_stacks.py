"""The cost table has a row for the training of a stack."""

import json
from pathlib import Path

import pytest

from sip.tables.document import document
from sip.tables.formats import markdown
from sip.tables.layout import TableLayout
from sip.tables.query import select_runs
from tests.composing import composed
from tests.tables.made_up import write_run

CONF = Path(__file__).parents[2] / "conf"


def layout(name: str) -> TableLayout:
    return TableLayout.of(composed(f"table={name}", name="tables").table)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return a folder with the reports of a stack."""
    folder = tmp_path / "cifar10-tiny"
    folder.mkdir()
    for part, seconds in (("vae", 100.4), ("diffusion", 900.0), ("judge", 5000.0)):
        report = {"steps": 500, "seconds": seconds, "loss": 0.1, "parameters": 9, "device": "CPU"}
        (folder / f"{part}.report.json").write_text(json.dumps(report))
    return folder


def write_runs(folder: Path, model: str) -> None:
    for seed in range(2):
        for arm in ("none", "sip"):
            write_run(folder, arm, seed, config={"profile.diffusion.model": model})


def test_the_cost_table_has_a_row_for_the_stack(tmp_path: Path, stack: Path) -> None:
    write_runs(tmp_path / "runs", f"{stack}/diffusion")
    made = document(select_runs(tmp_path / "runs"), layout("cost"))
    row = [field.text for field in made.grids[0].rows[-1]]
    values = dict(zip(made.grids[0].header, row, strict=True))
    assert row[0] == "(training the stack cifar10-tiny, once for all)"
    assert (values["Steps"], values["Total, s"]) == ("1,000", "1,000")  # the judge is no part
    assert values["Test top-1, %"] == "-"
    assert "training the stack cifar10-tiny" in markdown(made)


def test_other_tables_and_public_models_have_none(tmp_path: Path, stack: Path) -> None:
    write_runs(tmp_path / "own", f"{stack}/diffusion")
    write_runs(tmp_path / "public", "some/hub-model")
    for folder, name in (("own", "arms"), ("public", "cost")):
        made = document(select_runs(tmp_path / folder), layout(name))
        assert "stack" not in markdown(made)

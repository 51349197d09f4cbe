"""The committed tables come out again of the values per seed that lie next to them."""

from pathlib import Path

import pytest

from sip.tables.__main__ import task
from tests.composing import composed

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
VALUES = sorted(EXPERIMENTS.rglob("*_runs.csv"))
# Page -> what its tables were made with, but for table=arms.
OPTIONS = {
    "stability/table": ("table.value=val/top1", "table.also=[]", "table.family=[]"),
    "main/claims": ("table=confirmatory",),
    "main/generated": ("table=generated",),
    "adaptive/table": ("table.validation=true",),
    "adaptive/generated": ("table=generated",),
    "adaptive/harm": ("table.validation=true",),
}


@pytest.mark.parametrize("values", VALUES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_committed_table_comes_out_again(values: Path, tmp_path: Path) -> None:
    table = values.with_name(values.name.removesuffix("_runs.csv"))
    options = OPTIONS[f"{values.parent.name}/{table.name}"]
    task(composed(*options, f"from={values}", f"output={tmp_path}/again", name="tables"))
    again = (tmp_path / "again.md").read_text().replace(f", from {values.name}", "")
    assert again == table.with_suffix(".md").read_text()

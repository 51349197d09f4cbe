"""Each bad input ends in one line that says what is wrong, before any costly work."""

import re
from pathlib import Path

import pytest

from tests.trust.cases import AREAS, Case, seen
from tests.trust.every import ALL

TABLE = Path(__file__).parents[2] / "experiments" / "trust" / "bad_input.md"
LONGEST = 1000  # characters of a line


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.area}: {case.name}"[:80])
def test_it_is_one_line(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = seen(case, tmp_path)
    assert re.search(case.words, said), said
    assert "\n" not in said and len(said) < LONGEST and "Traceback" not in said
    assert not list(tmp_path.rglob("*.safetensors*")) or case.area == "weights"
    assert not (tmp_path / "store" / "captions").exists()  # nothing was made


def test_there_are_enough_of_every_kind() -> None:
    assert len(ALL) >= 60 and {case.area for case in ALL} == set(AREAS)
    assert len({(case.area, case.name) for case in ALL}) == len(ALL)


def test_the_committed_table_names_them_all() -> None:
    text = TABLE.read_text()
    from sip.core.text import escape_markdown

    missing = [case.name for case in ALL if f"| {escape_markdown(case.name)} |" not in text]
    assert missing == []

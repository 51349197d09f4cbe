"""Each bad input ends in one line that says what is wrong, before any costly work."""

import re
from pathlib import Path

import pytest

from tests.trust import datasets, files, models, settings
from tests.trust.cases import Case, seen

ALL = [*settings.CASES, *datasets.CASES, *models.CASES, *files.CASES]
LONGEST = 2000  # characters of a line


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.area}: {case.name}"[:80])
def test_it_is_one_line(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = seen(case, tmp_path)
    assert re.search(case.words, said), said
    assert "\n" not in said and len(said) < LONGEST and "Traceback" not in said
    assert not list(tmp_path.rglob("*.safetensors*")) or case.area == "weights"
    assert not (tmp_path / "store" / "captions").exists()  # nothing was made

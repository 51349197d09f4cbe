"""A short form of the fuzzing, and the engine's own eyes: it sees crashes, hangs and errors."""

import signal
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import configurations, engine, pictures, troubled
from tests.fuzz.engine import fuzz


def test_the_engine_sees_errors_and_crashes(tmp_path: Path) -> None:
    report = fuzz(troubled.prepare, 0.3, 0, tmp_path)
    assert set(report.findings) == {1, 3}
    assert report.findings[1] == "KeyError: 'not expected'"
    assert report.findings[3] == f"the process died with exit code -{signal.SIGSEGV}"
    assert report.tried > 3 and report.answers["KeyError"] == 1 and report.peak > 2**20
    assert "input 3: the process died" in "\n".join(report.lines())


def test_the_engine_sees_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.2)
    report = fuzz(troubled.prepare_endless, 0.1, 0, tmp_path)
    assert report.findings == {0: "no answer within 0.2 s"} and report.tried == 0


@pytest.mark.parametrize("module", [pictures, configurations])
def test_a_few_seconds_find_nothing(module, tmp_path: Path) -> None:
    report = fuzz(module.prepare, 2, 1, tmp_path)
    assert report.findings == {}, report.lines()
    assert report.tried > 0


def test_an_input_is_the_same_each_time() -> None:
    whole = pictures._wholes()
    for number in range(20):
        made = [pictures.damaged(Random(f"0-{number}"), whole[number]) for _ in range(2)]
        assert made[0] == made[1]
        texts = [configurations.override(Random(f"0-{number}")) for _ in range(2)]
        assert texts[0] == texts[1]

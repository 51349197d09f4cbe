"""The quick half of `make faults`: things break, and each is handled."""

import subprocess

import pytest

from tests.commands import run_module
from tests.faults import FAULTS

QUICK = [fault.name for fault in FAULTS if fault.quick]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    return run_module("tests.faults", ["quick"], tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", QUICK)
def test_it_is_handled(told: subprocess.CompletedProcess[str], name: str) -> None:
    lines = told.stdout.splitlines()
    number = next(n for n, line in enumerate(lines) if line.endswith(f" s  {name}"))
    verdict = lines[number].split("  ")[0]
    if verdict == "not run":
        pytest.skip(lines[number + 1].strip())
    assert verdict == "handled", "\n".join(lines[number : number + 3]) + told.stderr[-1000:]

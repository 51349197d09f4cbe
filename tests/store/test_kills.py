"""A job that is killed again and again ends with what an unbroken one makes, byte by byte."""

import json
from pathlib import Path

import pytest

from tests.commands import run_module


@pytest.mark.parametrize(
    ("num_kills", "storage"),
    [
        pytest.param(5, "files", id="files"),
        pytest.param(100, "files", id="files-long", marks=pytest.mark.slow),
        pytest.param(100, "webdataset", id="webdataset-long", marks=pytest.mark.slow),
    ],
)
def test_a_killed_job_equals_an_unbroken_one(tmp_path: Path, num_kills: int, storage: str) -> None:
    arguments = [str(tmp_path), str(num_kills), "0", f"images.storage={storage}"]
    done = run_module("tests.kills", arguments, tmp_path / "said", timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] >= num_kills and told["jobs"] >= 1

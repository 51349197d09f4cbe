"""A job that is killed again and again ends with what an unbroken one makes, byte by byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("num_kills", "storage"),
    [
        pytest.param(5, "files", id="files"),
        pytest.param(100, "files", id="files-long", marks=pytest.mark.slow),
        pytest.param(100, "webdataset", id="webdataset-long", marks=pytest.mark.slow),
    ],
)
def test_a_killed_job_equals_an_unbroken_one(tmp_path: Path, num_kills: int, storage: str) -> None:
    script = str(ROOT / "tests" / "kills.py")
    command = [sys.executable, script, str(tmp_path), str(num_kills), "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, f"images.storage={storage}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] >= num_kills and told["jobs"] >= 1

"""A job that is killed again and again ends with what an unbroken one makes, byte by byte."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands import run_module

LADDER = (
    "prompts=sip_adaptive",
    "prompts.ladder=[0.9,0.5,0.3]",
    "prompts.noise_rate=0.9",
    "prompts.learn=1",
    "prompts.min_acceptance=0.4",
    "prompts/verdict=similarity",
    "prompts.verdict.threshold=0.3035",
)


@pytest.mark.parametrize(
    ("num_kills", "overrides"),
    [
        pytest.param(5, [], id="files"),
        pytest.param(100, [], id="files-long", marks=pytest.mark.slow),
        pytest.param(100, ["images.storage=webdataset"], id="webdataset-long",
                     marks=pytest.mark.slow),
        pytest.param(100, LADDER, id="ladder-long", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_killed_job_equals_an_unbroken_one(
    tmp_path: Path, num_kills: int, overrides: Sequence[str]
) -> None:
    arguments = [str(tmp_path), str(num_kills), "0", *overrides]
    done = run_module("tests.kills", arguments, tmp_path / "said", timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] >= num_kills and told["jobs"] >= 1

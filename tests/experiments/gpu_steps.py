"""Steps that go wrong, for the tests of what runs them; imported in processes of their own."""

import subprocess
import sys
import time
import warnings

from experiments.gpu import gpu_tests
from experiments.gpu.job import Job, StepError

TESTS = """
import warnings
import pytest

@pytest.mark.gpu
def test_right():
    assert 1 + 1 == 2

@pytest.mark.gpu
def test_warns():
    warnings.warn("the library has changed", FutureWarning)

@pytest.mark.gpu
def test_wrong():
    assert 1 + 1 == 3, "arithmetic"

def test_without_a_gpu():
    raise AssertionError("it must not run")
"""


def works(job: Job) -> None:
    job.record(first=1)
    job.record(second={"rate": 2.5}, first=None)


def raises(job: Job) -> None:
    job.record(before=1)
    raise RuntimeError("the kernel is missing")


def measures_a_failure(job: Job) -> None:
    raise StepError("2 of 7 failed")


def hangs(job: Job) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    job.record(child=child.pid)
    time.sleep(600)


def dies(job: Job) -> None:
    import os

    job.record(before=1)
    os._exit(9)


def tests_a_library(job: Job) -> None:
    file = job.scratch / "test_made_up.py"
    file.write_text(TESTS)
    gpu_tests.gpu_files = lambda: [str(file)]
    warnings.resetwarnings()
    gpu_tests.run(job)

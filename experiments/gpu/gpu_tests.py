"""Step 1: the tests that need a GPU.

Warnings are errors in this project, and other versions of the libraries bring other warnings. So
after a failure all are run once more with warnings allowed: what then passes is named as such.
"""

import os
import re
from typing import Any

from experiments.gpu.job import Job, StepError
from experiments.gpu.settings import ROOT

LINES = 30  # of a traceback, at most
MARK = re.compile(r"\bmark\.gpu\b")


class Reports:
    """A plugin that keeps the outcome of every test.

    Attributes:
        outcomes: Node id -> "passed", "failed" or "skipped".
        tracebacks: Node id -> the end of its short traceback.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.tracebacks: dict[str, list[str]] = {}

    def pytest_collectreport(self, report: Any) -> None:
        """Keep a file that cannot be collected."""
        if report.failed:
            self._keep(report, "failed")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the worst of set-up, call and tear-down."""
        if report.when == "call" or report.outcome != "passed":
            self._keep(report, report.outcome)

    def _keep(self, report: Any, outcome: str) -> None:
        if self.outcomes.get(report.nodeid) != "failed":
            self.outcomes[report.nodeid] = outcome
        if outcome == "failed":
            self.tracebacks[report.nodeid] = report.longreprtext.splitlines()[-LINES:]

    def names(self, outcome: str) -> list[str]:
        """Return the tests with an outcome."""
        return [name for name, one in self.outcomes.items() if one == outcome]


def gpu_files() -> list[str]:
    """Return the test files with a test that needs a GPU; only they are collected."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = (file for file in files if MARK.search(file.read_text()))
    return [file.relative_to(ROOT).as_posix() for file in marked if "experiments" not in file.parts]


def run_pytest(words: list[str], *options: str) -> Reports:
    """Run tests in this process; return the results."""
    import pytest

    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what else is installed has no say
    reports = Reports()
    fixed = ["-m", "gpu", "-p", "no:cacheprovider", "-q", "--tb=short", "-c", "pyproject.toml"]
    code = pytest.main([*fixed, *options, *words], plugins=[reports])
    if not reports.outcomes:
        raise StepError(f"pytest ran no test (exit code {int(code)}); see day.log")
    return reports


def run(job: Job) -> None:
    """Run the tests; without a GPU they are collected and skipped."""
    switches = ["--run-gpu"] if job.is_cuda else []
    files = gpu_files()
    job.record(files=files, warnings_allowed=False)
    first = run_pytest(files, *switches)
    failed = first.names("failed")
    counts = {name: len(first.names(name)) for name in ("passed", "failed", "skipped")}
    job.record(counts=counts, failed=first.tracebacks or None)
    summary = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    job.record(summary=summary + ("" if job.is_cuda else " (no GPU: collected only)"))
    if not failed:
        return
    again = run_pytest(files, *switches, "-W", "default")
    only_warnings = [name for name in failed if again.outcomes.get(name) == "passed"]
    job.record(failed_by_a_warning_only=only_warnings)
    still = len(failed) - len(only_warnings)
    raise StepError(
        f"{len(failed)} of {len(first.outcomes)} failed, {len(only_warnings)} of them by a warning "
        f"only; {still} fail with warnings allowed: {', '.join(again.names('failed')) or 'none'}"
    )

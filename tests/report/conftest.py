"""The page of made-up runs."""

from pathlib import Path

import pytest

from sip.report.__main__ import task
from tests.composing import composed
from tests.report.made_up import make_runs


def write_page(root: Path, *overrides: str) -> Path:
    """Write a page as the command would, each to a file of its own; return it."""
    number = len(list((root / "out").glob("*")))
    output = root / "out" / f"report{number}.html"
    given = [f"runs={root}/runs", f"output={output}", f"experiments={root}/none", *overrides]
    task(composed(*given, name="report"))
    return output


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs, a store and figures."""
    root = tmp_path_factory.mktemp("report")
    make_runs(root)
    return root


@pytest.fixture(scope="session")
def page(root: Path) -> Path:
    """Return the page of the runs."""
    question = "question='Does it help, \"really\" <b>?'"
    return write_page(root, "experiment=trial", question)

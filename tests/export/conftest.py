"""A made-up run, and options to export it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sip.export.main import Options
from tests.export.made_up import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a finished run."""
    return make_run(tmp_path)


@pytest.fixture
def options(run: Path, tmp_path: Path) -> Callable[..., Options]:
    """Return a function that gives options, with changes."""

    def make(**changes: Any) -> Options:
        plain: dict[str, Any] = {
            "run": run,
            "output": tmp_path / "out" / "set",
            "format": "image_folder",
            "parts": ["train"],
            "originals": "none",
            "link": False,
            "per_file": 3,
            "store": None,
        }
        return Options(**(plain | changes))

    return make

"""What the tabs share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from sip.core.errors import UserError


@contextmanager
def shown_error() -> Iterator[None]:
    """Show an error of the user on the page, in its one line."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def code_box(label: str, elem_id: str) -> gr.Textbox:
    """Lay out a text to copy."""
    return gr.Textbox(
        label=label, lines=2, max_lines=24, buttons=["copy"], interactive=False,
        elem_id=elem_id, elem_classes="sip-code",
    )  # fmt: skip


def run_names(runs: Path) -> list[str]:
    """Return the names of the finished runs with a list of images, the latest first."""
    folders = [file.parent for file in runs.glob("*/images.parquet")]
    finished = [folder for folder in folders if (folder / "summary.json").is_file()]
    finished.sort(key=lambda folder: (folder / "summary.json").stat().st_mtime, reverse=True)
    return [folder.name for folder in finished]

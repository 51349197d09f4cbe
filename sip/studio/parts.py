"""What the tabs share."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import gradio as gr

from sip.config.provenance import Recorded
from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.text import key_of
from sip.studio import html

# Groups whose settings do not tell what a run's images look like.
NOT_SHOWN = ("paths", "dataset", "runtime", "logger", "trainer", "hydra", "metrics", "executor")


def error_line(error: UserError) -> str:
    """Return an error as HTML, and show it on the terminal."""
    say("studio", str(error))
    return html.note(str(error), "sip-error")


def or_error(act: Callable[..., tuple[Any, ...]], outputs: Sequence[Any]) -> Callable[..., Any]:
    """Return an action with one more output: the error, if it failed by a mistake of the user.

    Its other outputs then stay as they are; the next action takes the error away.

    Args:
        act: Returns a value for each output.
        outputs: Its components, without the one of the error.
    """

    @functools.wraps(act)
    def guarded(*values: Any) -> tuple[Any, ...]:
        try:
            return (*act(*values), "")
        except UserError as error:
            return (*(gr.skip() for _ in outputs), error_line(error))

    return guarded


def code_box(label: str, elem_id: str) -> gr.Textbox:
    """Lay out a text to copy."""
    return gr.Textbox(
        label=label, lines=2, max_lines=24, buttons=["copy"], interactive=False,
        elem_id=elem_id, elem_classes="sip-code",
    )  # fmt: skip


def run_choices(runs: Path) -> list[tuple[str, str]]:
    """Return what the page calls each finished run with generated images, and its name.

    The latest comes first.
    """
    found = []
    for file in runs.glob("*/summary.json"):
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
            if summary["num_generated"] and (file.parent / "images.parquet").is_file():
                time = file.stat().st_mtime
                found.append((time, run_label(summary, time), file.parent.name))
        except (OSError, ValueError, KeyError, TypeError):  # not a run, or being written
            continue
    return [(label, name) for _, label, name in sorted(found, reverse=True)]


def run_label(summary: Mapping[str, Any], time: float) -> str:
    """Return a name that tells a run from others of the same data set.

    Args:
        summary: What the run's `summary.json` holds.
        time: When the run ended, s since 1970.
    """
    words = Recorded.of(summary.get("command")).overrides
    typed = [word.lstrip("+") for word in words if "=" in word]
    shown = [word for word in typed if not key_of(word).startswith(NOT_SHOWN)]
    pairs = (word.partition("=") for word in shown)
    settings = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, _, value in pairs)
    when = f"{datetime.fromtimestamp(time):%d %b %H:%M}"  # noqa: DTZ006, as clocks here show it
    parts = [when, settings, str(summary.get("dataset")), str(summary.get("fingerprint"))[:5]]
    return " · ".join(filter(None, parts))

"""Damaged runs, read by tables, pages, exports and evaluations.

Damaged summaries: tests/records. Wrong options: the tests of each program.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.export import made_up as exports
from tests.report import made_up as pages
from tests.tables import made_up as tables
from tests.trust.cases import Case, task

Make = Callable[[Path], Any]


def table_run(*changes: Callable[[Path], Any]) -> Make:
    """Return what writes a run for tables into FOLDER/runs, and changes its folder."""

    def make(folder: Path) -> None:
        run = tables.write_run(folder / "runs", "sip")
        for change in changes:
            change(run)

    return make


def page_run(*changes: Callable[[Path], Any]) -> Make:
    """Return what writes a run for the report into FOLDER/runs, and changes its folder."""

    def make(folder: Path) -> None:
        run = pages.make_run(folder, "none", 0)
        for change in changes:
            change(run)

    return make


def export_run(*changes: Callable[[Path], Any]) -> Make:
    """Return what writes a run for an export to FOLDER/run, and changes its folder."""

    def make(folder: Path) -> None:
        run = exports.make_run(folder)
        for change in changes:
            change(run)
        run.rename(folder / "run")

    return make


def text(name: str, content: str) -> Callable[[Path], Any]:
    """Return what overwrites a file of a run."""
    return lambda run: (run / name).write_text(content)


def out_of_place(run: Path) -> None:
    """Put the predictions of a run in the place of its images."""
    (run / "predictions.parquet").rename(run / "images.parquet")


RUNS, CONFIG, IMAGES = "runs=FOLDER/runs", "config.yaml", "images.parquet"
TABLE, PAGE = (RUNS, "output=FOLDER/out/table"), (RUNS, "output=FOLDER/out.html")
LEFT_OUT = "runs: must hold finished training runs, got none"  # damaged ones are named and left out
EXPORT = ("run=FOLDER/run", "output=FOLDER/out")
STRANGE = "paths: {store: STORE}\ndataset: {_target_: os.system, command: x}"
LISTED: list[tuple[str, str, Make, tuple[str, ...], str]] = [
    ("tables", "a summary cut off", table_run(text("summary.json", "{")), TABLE, LEFT_OUT),
    ("tables", "a summary that is a list", table_run(text("summary.json", "[]")), TABLE, LEFT_OUT),
    ("tables", "a configuration that is no YAML", table_run(text(CONFIG, "a: [")),
     (*TABLE, "table.rows=[prompts.noise_rate]"), LEFT_OUT),
    ("tables", "damaged predictions", table_run(text("predictions.parquet", "PAR1")),
     (*TABLE, "table.control=sip"), "handled|predictions.parquet"),
    ("report", "damaged images", page_run(text(IMAGES, "x")), PAGE, IMAGES),
    ("report", "no store in the configuration", page_run(text(CONFIG, "a: 1")), PAGE, "store"),
    ("export", "damaged images", export_run(text(IMAGES, "x")), EXPORT, IMAGES),
    ("export", "no configuration", export_run(text(CONFIG, "")), EXPORT, CONFIG),
    ("export", "originals of an untrusted class", export_run(text(CONFIG, STRANGE)),
     (*EXPORT, "originals=as_used", "store=FOLDER/store"), "os.system.*nothing was called"),
    ("evaluate", "images of another kind", table_run(out_of_place), (RUNS,), IMAGES),
]  # fmt: skip

CASES = [
    Case("tables and exports", f"{name}: {what}", task(name, make, *given), words)
    for name, what, make, given, words in LISTED
]

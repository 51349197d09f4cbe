"""Damaged runs, and wrong wishes of tables, pages, exports and evaluations."""

import json
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


def without(name: str, key: str) -> Callable[[Path], Any]:
    """Return what removes a key of a run's JSON file."""

    def change(run: Path) -> None:
        values = json.loads((run / name).read_text())
        del values[key]
        (run / name).write_text(json.dumps(values))

    return change


SUMMARY = "summary.json"
RUNS = "runs=FOLDER/runs"
TABLE, PAGE = (RUNS, "output=FOLDER/out/table"), (RUNS, "output=FOLDER/out.html")
EXPORT = ("run=FOLDER/run", "output=FOLDER/out")
LISTED: list[tuple[str, str, Make, tuple[str, ...], str]] = [
    ("tables", "no runs", lambda folder: None, TABLE, "runs: must hold finished training runs"),
    ("tables", "a summary cut off", table_run(text(SUMMARY, '{"seed": 1')), TABLE,
     "summary.json: must be a run's summary .*; the run is damaged: delete its folder"),
    ("tables", "an empty summary", table_run(text(SUMMARY, "")), TABLE, "must be a run's summary"),
    ("tables", "a summary that is a list", table_run(text(SUMMARY, "[]")), TABLE, "got \\[\\]"),
    ("tables", "a summary without a seed", table_run(without(SUMMARY, "seed")), TABLE,
     "summary.json: seed: field required"),
    ("tables", "a configuration that is no YAML", table_run(text("config.yaml", "a: [")),
     (*TABLE, "table.rows=[prompts.noise_rate]"), "config.yaml: must be YAML"),
    ("tables", "damaged predictions", table_run(text("predictions.parquet", "PAR1")),
     (*TABLE, "table.control=sip"), "handled|predictions.parquet: must be a Parquet file"),
    ("tables", "a metric that no run has", table_run(), (*TABLE, "table.value=test/f1"),
     "no run has the metric 'test/f1'; there are"),
    ("tables", "a key that no run has", table_run(), (*TABLE, "table.rows=[prompts.colour]"),
     "no run has the key 'prompts.colour'"),
    ("tables", "a value that no run has", table_run(), (*TABLE, "table.where={seed: 77}"),
     "table.where.seed: must be one of 0, got 77"),
    ("tables", "rows of nothing", table_run(), (*TABLE, "table.rows=[]"), "table.rows: expected"),
    ("report", "no runs", lambda folder: None, PAGE, "runs: must hold finished training runs"),
    ("report", "a summary cut off", page_run(text(SUMMARY, "{")), PAGE, "must be a run's summary"),
    ("report", "a summary without stages", page_run(without(SUMMARY, "stages")), PAGE,
     "stages: field required"),
    ("report", "damaged pictures", page_run(text("pictures.parquet", "x")), PAGE,
     "pictures.parquet: must be a Parquet file"),
    ("report", "no store in the configuration", page_run(text("config.yaml", "a: 1")), PAGE,
     "config.yaml: paths.store: must be a folder"),
    ("report", "less than no pictures", page_run(), (*PAGE, "max_images=-1"),
     "max_images: must be a whole number >= 0, got -1"),
    ("report", "thumbnails of a text", page_run(), (*PAGE, "thumbnail_size=small"),
     "thumbnail_size: must be a whole number >= 16, got 'small'"),
    ("report", "an experiment that is not there", page_run(), (*PAGE, "experiment=none"),
     "experiment 'none', got 1 of other experiments"),
    ("export", "no run", lambda folder: None, EXPORT, "must be the folder of a finished run with"),
    ("export", "no output", export_run(), ("run=FOLDER/run",), "export: expected output, came"),
    ("export", "an output that is there", export_run(), ("run=FOLDER/run", "output=FOLDER/run"),
     "output: expected a new or empty folder"),
    ("export", "a format that is not there", export_run(), (*EXPORT, "format=zip"),
     "format: expected one of image_folder, webdataset, datasets, came 'zip'"),
    ("export", "files of no pictures", export_run(), (*EXPORT, "per_file=0"),
     "per_file: expected a number >= 1, came 0"),
    ("export", "damaged pictures", export_run(text("pictures.parquet", "x")), EXPORT,
     "expected the images of a run in .*pictures.parquet"),
    ("export", "a summary cut off", export_run(text(SUMMARY, "{")), EXPORT,
     "must be a run's summary"),
    ("export", "a store that is gone", export_run(), (*EXPORT, "store=FOLDER/no"),
     "expected the store in .*; say where it is with store="),
    ("export", "no configuration", export_run(text("config.yaml", "")), EXPORT,
     "config.yaml: must be a configuration, got None"),
    ("export", "originals of a class that is not to be trusted", export_run(
        text("config.yaml", "paths: {store: STORE}\ndataset: {_target_: os.system, command: x}")
    ), (*EXPORT, "originals=true", "store=FOLDER/store"), "nothing was called"),
    ("evaluate", "no runs", lambda folder: None, (RUNS,), "must hold finished training runs"),
    ("evaluate", "a summary cut off", table_run(text(SUMMARY, "{")), (RUNS,), "a run's summary"),
    ("evaluate", "no pictures", table_run(), (RUNS,), "pictures.parquet: must be a Parquet file"),
    ("evaluate", "pictures of another kind",
     table_run(lambda run: (run / "predictions.parquet").rename(run / "pictures.parquet")), (RUNS,),
     "pictures.parquet: must be a Parquet file"),
]  # fmt: skip

CASES = [
    Case("tables and exports", f"{name}: {what}", task(name, make, *given), words)
    for name, what, make, given, words in LISTED
]

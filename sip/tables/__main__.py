"""Tables and figures: `python -m sip.tables table=main output=experiments/main/table`."""

from pathlib import Path
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from omegaconf import DictConfig

    from sip.records.read import TrainingRun


def task(config: "DictConfig") -> None:
    """Read finished runs; print and write a table of them, or draw a figure."""
    from sip.core.files import check_output

    if config.output:
        check_output(Path(config.output))
    if config.get("figure"):
        _draw(config)
        return
    from sip.core.progress import say
    from sip.tables.document import document, recomputed
    from sip.tables.formats import markdown, write
    from sip.tables.layout import TableLayout, names
    from sip.tables.query import select_runs

    layout = TableLayout.of(config.table)
    experiments = names(config.experiment) or ()
    damaged: list[str] = []
    if config["from"]:
        result = recomputed(Path(config["from"]), layout, experiments)
    else:
        runs = select_runs(Path(config.runs), experiments, layout.where, damaged)
        result = document(runs, layout, experiments)
    print(markdown(result))
    for line in result.warnings:
        say("warning", line)
    for line in damaged:
        print(f"left out: {line}")
    if config.output:
        write(result, layout.value, Path(config.output))


def _draw(config: "DictConfig") -> None:
    """Draw a figure of the runs' numbers, or a sheet of their images."""
    from sip.config.provenance import choice
    from sip.core.errors import not_one_of

    kinds = {"points": _points, "forest": _forest, "sheet": _sheet}
    kind = config.figure.get("kind")
    if kind not in kinds:
        raise not_one_of("figure.kind", kinds, kind)
    output = Path(config.output or choice("figure"))
    damaged: list[str] = []
    files = kinds[kind](config, output, damaged)
    for line in damaged:
        print(f"left out: {line}")
    if files:
        print(f"figure: {', '.join(map(str, files))}")


def _points(config: "DictConfig", output: Path, damaged: list[str]) -> list[Path]:
    from sip.tables.figures import draw
    from sip.tables.points import Figure

    figure = Figure.of(config.figure)
    runs = _selected(config, figure.where, damaged, figure.y)
    if all(run.metric(figure.x) is None and run.value(figure.x) is None for run in runs):
        print(f"figure skipped: none of {len(runs)} runs has {figure.x}")
        return []
    return draw(runs, figure, output)


def _forest(config: "DictConfig", output: Path, damaged: list[str]) -> list[Path]:
    from sip.core.progress import say
    from sip.tables.forest import Forest, forest_groups, read_groups
    from sip.tables.forest_plot import draw_forest
    from sip.tables.layout import names

    forest = Forest.of(config.figure)
    if forest.csv is not None:
        return draw_forest(read_groups(Path(forest.csv), forest), forest, output)
    runs = _selected(config, forest.where, damaged, forest.value)
    groups = forest_groups(runs, forest, names(config.experiment) or ())
    for line in dict.fromkeys(line for group in groups for line in group.confounded):
        say("warning", line)
    return draw_forest(groups, forest, output)


def _sheet(config: "DictConfig", output: Path, damaged: list[str]) -> list[Path]:
    from sip.tables.sheet_page import draw_sheet
    from sip.tables.sheets import Sheet, grid

    sheet = Sheet.of(config.figure)
    runs = _selected(config, sheet.where, damaged)
    return draw_sheet(grid(runs, sheet), sheet, output)


def _selected(
    config: "DictConfig",
    where: "Mapping[str, Any]",
    damaged: list[str],
    metric: str | None = None,
) -> "list[TrainingRun]":
    """Return the runs of a figure; those whose metric it leaves out are named."""
    from sip.core.progress import say
    from sip.tables.layout import names
    from sip.tables.query import diverged, select_runs, unmeasured

    experiments = names(config.experiment) or ()
    runs = select_runs(Path(config.runs), experiments, where, damaged, "figure")
    if metric is not None:
        for line in [*diverged(runs, metric), *unmeasured(runs, metric)]:
            say("warning", line)
    return runs


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="tables")


if __name__ == "__main__":
    main()

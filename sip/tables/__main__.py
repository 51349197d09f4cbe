"""Tables and figures: `python -m sip.tables table=main output=experiments/main/table`."""

from pathlib import Path
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Read finished runs; print and write a table of them, or draw a figure."""
    if config.get("figure"):
        _draw(config)
        return
    from sip.tables.document import document, recomputed
    from sip.tables.formats import markdown, write
    from sip.tables.layout import TableLayout
    from sip.tables.query import select_runs

    layout = TableLayout.of(config.table)
    damaged: list[str] = []
    if config["from"]:
        result = recomputed(Path(config["from"]), layout)
    else:
        runs = select_runs(Path(config.runs), config.experiment, layout.where, damaged)
        result = document(runs, layout, config.experiment)
    print(markdown(result))
    for line in damaged:
        print(f"left out: {line}")
    if config.output:
        write(result, layout.value, Path(config.output))


def _draw(config: "DictConfig") -> None:
    """Draw a figure of the runs' numbers, or a sheet of their images."""
    from sip.config.provenance import choice
    from sip.core.errors import not_one_of

    kinds = {"points": _points, "forest": _forest, "sheet": _sheet}
    if config.figure.kind not in kinds:
        raise not_one_of("figure.kind", kinds, config.figure.kind)
    output = Path(config.output or choice("figure"))
    damaged: list[str] = []
    files = kinds[config.figure.kind](config, output, damaged)
    for line in damaged:
        print(f"left out: {line}")
    if files:
        print(f"figure: {', '.join(map(str, files))}")


def _points(config: "DictConfig", output: Path, damaged: list[str]) -> list[Path]:
    from sip.tables.figures import draw
    from sip.tables.points import Figure
    from sip.tables.query import select_runs

    figure = Figure.of(config.figure)
    runs = select_runs(Path(config.runs), config.experiment, figure.where, damaged, "figure")
    if not any(run.metric(figure.x) is not None or run.value(figure.x) for run in runs):
        print(f"figure skipped: none of {len(runs)} runs has {figure.x}")
        return []
    return draw(runs, figure, output)


def _forest(config: "DictConfig", output: Path, damaged: list[str]) -> list[Path]:
    from sip.tables.forest import Forest, forest_groups, read_groups
    from sip.tables.forest_plot import draw_forest
    from sip.tables.query import select_runs

    forest = Forest.of(config.figure)
    if forest.csv is not None:
        return draw_forest(read_groups(Path(forest.csv), forest), forest, output)
    runs = select_runs(Path(config.runs), config.experiment, forest.where, damaged, "figure")
    return draw_forest(forest_groups(runs, forest, config.experiment), forest, output)


def _sheet(config: "DictConfig", output: Path, damaged: list[str]) -> list[Path]:
    from sip.tables.query import select_runs
    from sip.tables.sheet_page import draw_sheet
    from sip.tables.sheets import Sheet, grid

    sheet = Sheet.of(config.figure)
    runs = select_runs(Path(config.runs), config.experiment, sheet.where, damaged, "figure")
    return draw_sheet(grid(runs, sheet), sheet, output)


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="tables")


if __name__ == "__main__":
    main()

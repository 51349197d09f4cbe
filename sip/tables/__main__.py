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
    from sip.tables.document import document
    from sip.tables.formats import markdown, write
    from sip.tables.layout import TableLayout
    from sip.tables.query import select_runs

    layout = TableLayout.of(config.table)
    runs = select_runs(Path(config.runs), config.experiment, layout.where)
    made = document(runs, layout, config.experiment)
    print(markdown(made))
    if config.output:
        write(made, layout.value, Path(config.output))


def _draw(config: "DictConfig") -> None:
    """Draw a figure of the runs' numbers, or a sheet of their images."""
    from sip.config.provenance import choice
    from sip.core.errors import UserError
    from sip.tables.figures import draw
    from sip.tables.points import Figure
    from sip.tables.query import select_runs
    from sip.tables.sheet_page import draw_sheet
    from sip.tables.sheets import Sheet, grid

    output = Path(config.output or choice("figure"))
    if config.figure.kind == "sheet":
        sheet = Sheet.of(config.figure)
        runs = select_runs(Path(config.runs), config.experiment, sheet.where)
        files = draw_sheet(grid(runs, sheet), sheet, output)
    elif config.figure.kind == "points":
        figure = Figure.of(config.figure)
        runs = select_runs(Path(config.runs), config.experiment, figure.where)
        if not any(run.metric(figure.x) is not None or run.value(figure.x) for run in runs):
            print(f"figure skipped: none of {len(runs)} runs has {figure.x}")
            return
        files = draw(runs, figure, output)
    else:
        raise UserError(f"figure.kind: must be points or sheet, got {config.figure.kind!r}")
    print(f"figure: {', '.join(map(str, files))}")


def main() -> None:
    """TrainingRun on the command line's configuration."""
    sip.config.cli.main(task, config_name="tables")


if __name__ == "__main__":
    main()

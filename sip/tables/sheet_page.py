"""The page of a contact sheet: images at their pixels, labels as text, PNG and PDF."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sip.records.files import ListedImage
from sip.tables.layout import is_number
from sip.tables.saving import save, style
from sip.tables.sheets import Sheet, SheetGrid, enlarged

DPI = 100  # a pixel of the sheet is 1/100 inch, and a pixel of the PNG
GAP = 4  # px between images
GROUP_GAP = 14  # px between groups of columns, and after the originals
MARGIN = 12  # px around
LINE = 18  # px, a line of text
CHARACTER = 7  # px, its width at most
FONT = 7.5  # points; 10 px
FRAME = "#D55E00"  # of an image that was not trained on
EMPTY = 235  # grey level of a cell without an image
MAX_NAME = 16  # characters of a class name


def draw_sheet(grid: SheetGrid, sheet: Sheet, path: Path) -> list[Path]:
    """Write `<path>.pdf` and `<path>.png`; return the files.

    Raises:
        UserError: An image cannot be read.
    """
    import matplotlib

    with matplotlib.rc_context(style()):
        return save(page(grid, sheet), path, DPI)


class Places:
    """Where the images of a grid lie on the page, in px from its upper left corner."""

    def __init__(self, grid: SheetGrid, sheet: Sheet) -> None:
        self.cell = sheet.cell
        names = [shortened(name) for name in grid.names]
        self.originals = MARGIN + CHARACTER * max(map(len, names)) + GAP
        left, last = self.originals + self.cell, None
        self.columns: list[int] = []
        for outer, _ in grid.settings:
            left += GAP if outer == last else GROUP_GAP
            self.columns.append(left)
            left, last = left + self.cell, outer
        self.heads = [head(grid, sheet, number) for number in range(len(grid.settings))]
        self.top = MARGIN + LINE * (3 + max(map(len, self.heads)))
        self.rows = [self.top + number * (self.cell + GAP) for number in range(len(names))]
        title = CHARACTER * len(sheet.title) + 2 * MARGIN
        self.width = max(left + MARGIN, title)
        self.height = self.rows[-1] + self.cell + MARGIN + (LINE if _notes(grid) else 0)


def page(grid: SheetGrid, sheet: Sheet) -> Any:
    """Return the matplotlib figure of a sheet; at `DPI` a pixel of the page is one of the PNG."""
    from matplotlib.figure import Figure as Canvas

    places = Places(grid, sheet)
    canvas = Canvas(figsize=(places.width / DPI, places.height / DPI), dpi=DPI)
    axis = canvas.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set_xlim(0, places.width)
    axis.set_ylim(places.height, 0)
    extent = (0, places.width, places.height, 0)
    axis.imshow(_mosaic(grid, sheet, places), extent=extent, interpolation="none", aspect="auto")
    _write_heads(axis, grid, sheet, places)
    for name, top in zip(grid.names, places.rows, strict=True):
        middle = top + places.cell / 2
        _text(axis, places.originals - GAP, middle, shortened(name), horizontalalignment="right")
    _write_notes(axis, grid, places)
    return canvas


def head(grid: SheetGrid, sheet: Sheet, column: int) -> list[str]:
    """Return the lines over a column: the value of the inner key, and what a rule made of it."""
    inner = grid.settings[column][1]
    if not sheet.inner or not inner:
        return []
    lines = textwrap.wrap(f"{sheet.inner_label} {inner}", sheet.cell // CHARACTER)
    is_rule = sheet.inner.endswith(".scale") and not is_number(inner)
    return lines + ([grid.scales(column)] if is_rule else [])


def shortened(name: str) -> str:
    """Return a class name that fits next to its row."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _mosaic(grid: SheetGrid, sheet: Sheet, places: Places) -> np.ndarray:
    """Return the page's images without its text, (height, width, 3), uint8."""
    mosaic = Image.new("RGB", (places.width, places.height), "white")

    def put(listed: ListedImage | None, left: int, top: int) -> None:
        image = Image.new("RGB", (sheet.cell, sheet.cell), (EMPTY,) * 3)
        if listed is not None:
            image = enlarged(listed, sheet.cell)
        left += (sheet.cell - image.width) // 2
        mosaic.paste(image, (left, top + (sheet.cell - image.height) // 2))

    for original, cells, top in zip(grid.originals, grid.cells, places.rows, strict=True):
        put(original, places.originals, top)
        for cell, left in zip(cells, places.columns, strict=True):
            put(cell.image, left, top)
    return np.asarray(mosaic)


def _write_heads(axis: Any, grid: SheetGrid, sheet: Sheet, places: Places) -> None:
    """Write the title, and over the columns the values of both keys."""
    _text(axis, MARGIN, MARGIN + LINE / 2, sheet.title, fontsize=FONT + 2, fontweight="bold")
    above = places.top - LINE / 2
    half = places.cell / 2
    _text(axis, places.originals + half, above, "original", horizontalalignment="center")
    groups: dict[str, list[int]] = {}
    columns = zip(grid.settings, places.heads, places.columns, strict=True)
    for (outer, _), lines, left in columns:
        groups.setdefault(outer, []).append(left)
        for number, text in enumerate(reversed(lines)):
            _text(axis, left + half, above - number * LINE, text, horizontalalignment="center")
    line = above - LINE * max(map(len, places.heads))
    for outer, lefts in groups.items():
        first, end = lefts[0], lefts[-1] + places.cell
        _text(axis, (first + end) / 2, line, outer, horizontalalignment="center")
        if sheet.inner:
            axis.plot((first, end), (line + LINE / 2,) * 2, color="0.4", linewidth=0.6)


def _write_notes(axis: Any, grid: SheetGrid, places: Places) -> None:
    """Frame what was not trained on, and say why below the rows."""
    from matplotlib.patches import Rectangle

    for cells, top in zip(grid.cells, places.rows, strict=True):
        for cell, left in zip(cells, places.columns, strict=True):
            if cell.note:
                size = places.cell - 1
                frame = Rectangle((left + 0.5, top + 0.5), size, size, fill=False)
                frame.set(edgecolor=FRAME, linewidth=1.5)
                axis.add_patch(frame)
    if notes := _notes(grid):
        text = f"framed: not trained on ({', '.join(notes)})"
        _text(axis, places.originals, places.height - MARGIN - LINE / 2, text, color=FRAME)


def _notes(grid: SheetGrid) -> list[str]:
    return sorted({cell.note for cells in grid.cells for cell in cells if cell.note})


def _text(axis: Any, x: float, y: float, text: str, **style: Any) -> None:
    style = {"fontsize": FONT, "verticalalignment": "center"} | style
    axis.text(x, y, text, **style)

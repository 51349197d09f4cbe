"""Save matplotlib figures: one style, PDF and PNG, equal bytes for equal figures."""

import logging
from pathlib import Path
from typing import Any

from sip.core.fonts import font_families

SUFFIXES = (".pdf", ".png")
SHARED: dict[str, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.parse_math": False,  # a name with "$" is no formula
    "grid.alpha": 0.3,
    "pdf.fonttype": 42,  # text stays text: journals ask for it
    "svg.fonttype": "none",
}


def style(**own: Any) -> Any:
    """Return matplotlib's settings of all figures; `own` ones, such as "font.size", come first."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # some fonts have no bold
    return {**SHARED, "font.family": font_families(), **own}


def save(canvas: Any, path: Path, dpi: int) -> list[Path]:
    """Write `<path>.pdf` and `<path>.png`, or the one that the path itself names.

    Args:
        canvas: matplotlib figure, without a canvas of its own yet.
        path: File without suffix; with ".pdf" or ".png" only that file is written.
        dpi: Pixels per inch of the PNG.

    Returns:
        The files.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(canvas)
    files = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    if path.suffix in SUFFIXES:
        files = [path]
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        metadata = {"CreationDate": None} if file.suffix == ".pdf" else {}
        canvas.savefig(file, dpi=dpi, metadata=metadata)
    return files

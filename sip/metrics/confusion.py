"""The confusion matrix as an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.core.fonts import font_families

if TYPE_CHECKING:
    from torch import Tensor

MAX_NUMBERS = 20  # classes; with more, numbers in the cells and all names cannot be read
MAX_NAMES = 60
MAX_LENGTH = 40  # characters of a name


def write_confusion(
    logits: "Tensor", labels: "Tensor", class_names: Sequence[str], path: Path
) -> None:
    """Plot the share of each true class that is taken for each class; rows add up to 1.

    Args:
        logits: (N, C).
        labels: (N,).
        class_names: C of them.
        path: Path of the PNG.
    """
    import matplotlib
    from sklearn.metrics import confusion_matrix

    num = len(class_names)
    counts = confusion_matrix(labels.numpy(), logits.argmax(1).numpy(), labels=list(range(num)))
    # A name with "$" is no formula, and may be in any script.
    style: Any = {"text.parse_math": False, "font.family": font_families()}
    with matplotlib.rc_context(style):
        _draw(counts, class_names).savefig(path, format="png")


def _draw(counts: Any, class_names: Sequence[str]) -> Any:
    """Return the figure of counts (C, C), int64."""
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    num = len(class_names)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    side = min(14.0, 3.0 + 0.35 * num)
    figure = Figure(figsize=(side, side * 0.92), layout="constrained", dpi=120)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if num <= MAX_NAMES:
        names = [_short(name) for name in class_names]
        axes.set_xticks(range(num), names, rotation=90, fontsize=8)
        axes.set_yticks(range(num), names, fontsize=8)
    if num <= MAX_NUMBERS:
        for row in range(num):
            for column in range(num):
                colour = "black" if shares[row, column] > 0.5 else "white"
                text = str(counts[row, column]) if counts[row, column] else ""
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    return figure


def _short(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1]}…"

"""Images and tables as HTML; images are data addresses, so the server serves no folder."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from sip.report.thumbnails import data_address

if TYPE_CHECKING:
    from PIL.Image import Image

SMALL = 96  # px; below it, pixels are shown as squares


def figure(image: "Image", size: int, lines: Iterable[str] = (), mark: str = "") -> str:
    """Return an image with lines below it.

    Args:
        image: RGB.
        size: Longer side of the copy on the page, in px.
        lines: Plain text.
        mark: Further classes of the element.
    """
    kind = "sip-pixels" if max(image.size) <= SMALL else ""
    below = "".join(f"<span>{escape(line)}</span>" for line in lines)
    caption = f"<figcaption>{below}</figcaption>" if below else ""
    source = data_address(image, size)
    shown = f'<img class="{kind}" src="{source}" alt="">'
    return f'<figure class="sip-figure {mark}">{shown}{caption}</figure>'


def made_with(noise_rate: float | None, guidance_scale: float | None = None) -> list[str]:
    """Return a line for each setting that an image was generated with; None has no line."""
    values = {"noise rate": noise_rate, "guidance scale": guidance_scale}
    return [f"{name} {value:g}" for name, value in values.items() if value is not None]


def grid(figures: Iterable[str], columns: int, kind: str = "") -> str:
    """Return figures in a grid; `kind` are further classes of it."""
    return f'<div class="sip-grid {kind}" style="--columns:{columns}">{"".join(figures)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    whole = f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="sip-scroll"><table class="sip-table">{whole}</table></div>'


def note(text: str, kind: str = "") -> str:
    """Return a line of plain text."""
    return f'<p class="sip-note {kind}">{escape(text)}</p>'

"""One image to judge a set by: originals above what was drawn from them."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sip.core.files import atomic_file
from sip.core.image_io import read_rgb

CELL = 176  # px, width of an image
GAP = 14  # px
FONT_SIZE = 13  # px
LINE = 17  # px
NUM_TEXT_LINES = 8
COLUMNS = 6


@dataclass(frozen=True)
class Pair:
    """An original, what was drawn from it, and the lines under both.

    Attributes:
        drawn_sha256: Of the drawn file, which is checked.
    """

    original: str
    drawn: str
    title: str
    lines: Sequence[str]
    drawn_sha256: str | None = None


def contact_sheet(pairs: Sequence[Pair], path: Path) -> None:
    """Draw the pairs in rows of six and save the sheet as PNG.

    Pixels of small images are enlarged as they are, so that nothing looks better than it is.
    """
    block = 2 * CELL + GAP // 2 + LINE * (NUM_TEXT_LINES + 1) + GAP
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // COLUMNS)
    sheet = Image.new("RGB", (GAP + columns * (CELL + GAP), GAP + rows * block), "white")
    font = ImageFont.load_default(FONT_SIZE)
    pen = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        left = GAP + (number % COLUMNS) * (CELL + GAP)
        top = GAP + (number // COLUMNS) * block
        pen.text((left, top), _wrapped([pair.title])[0], fill="black", font=font)
        top += LINE
        for file, sha256 in ((pair.original, None), (pair.drawn, pair.drawn_sha256)):
            sheet.paste(_enlarged(file, sha256), (left, top))
            top += CELL + GAP // 4
        for line in _wrapped(pair.lines):
            pen.text((left, top), line, fill=(60, 60, 60), font=font)
            top += LINE
    with atomic_file(path) as part:
        sheet.save(part, format="PNG")


def _enlarged(path: str, sha256: str | None) -> Image.Image:
    rgb = read_rgb(path, None, sha256)
    small = max(rgb.size) <= CELL // 2
    return rgb.resize((CELL, CELL), Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC)


def _wrapped(lines: Sequence[str]) -> list[str]:
    wrapped = [part for line in lines for part in textwrap.wrap(line, width=26) or [""]]
    return wrapped[:NUM_TEXT_LINES]

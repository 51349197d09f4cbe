"""One image to judge a set by: originals above the images generated from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from sip.core.files import atomic_file
from sip.core.fonts import draw_text, wrap_text
from sip.core.image_io import read_rgb

CELL = 176  # px, width of an image
GAP = 14  # px
FONT_SIZE = 12  # px
LINE = 17  # px, height of a line
NUM_TEXT_LINES = 8  # below a pair, at most
COLUMNS = 6
LABEL = 74  # px, width of the labels
GREY = (60, 60, 60)


@dataclass(frozen=True)
class Pair:
    """An original, an image generated from it, the title above and the lines below both.

    Attributes:
        original: Path of an image, as of `read_rgb`.
        generated: Likewise.
        generated_sha256: What the generated file must be, in hex digits; None: not checked.
        kind: What the second image is, in a word.
    """

    original: str
    generated: str
    title: str
    lines: Sequence[str]
    generated_sha256: str | None = None
    kind: str = "generated"


def contact_sheet(pairs: Sequence[Pair], path: Path) -> None:
    """Draw the pairs in rows of six, originals above, and save the sheet as PNG.

    Pixels of small images are enlarged as they are, so that nothing looks better than it is.
    """
    num_lines = max(len(_wrapped(pair.lines)) for pair in pairs)
    block = 2 * CELL + GAP // 2 + LINE * (num_lines + 1) + GAP
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // COLUMNS)
    sheet = Image.new("RGB", (LABEL + GAP + columns * (CELL + GAP), GAP + rows * block), "white")
    pen = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        left = LABEL + GAP + (number % COLUMNS) * (CELL + GAP)
        top = GAP + (number // COLUMNS) * block
        draw_text(pen, (left, top), _wrapped([pair.title])[0], FONT_SIZE, "black")
        top += LINE
        files = ((pair.original, None), (pair.generated, pair.generated_sha256))
        images = [read_rgb(file, None, sha256) for file, sha256 in files]
        is_square = images[1].width == images[1].height
        for label, image in zip(("original", pair.kind), images, strict=True):
            if number % COLUMNS == 0:
                draw_text(pen, (GAP, top + (CELL - FONT_SIZE) // 2), label, FONT_SIZE, GREY)
            shown = _enlarged(image, is_square)
            margins = (CELL - shown.width) // 2, (CELL - shown.height) // 2
            sheet.paste(shown, (left + margins[0], top + margins[1]))
            top += CELL + GAP // 4
        for line in _wrapped(pair.lines):
            draw_text(pen, (left, top), line, FONT_SIZE, GREY)
            top += LINE
    with atomic_file(path) as part:
        sheet.save(part, format="PNG")


def _enlarged(rgb: Image.Image, is_square: bool) -> Image.Image:
    """Return what the generator reads, in the sheet's size: the central square, or all."""
    small = max(rgb.size) <= CELL // 2
    method = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
    scale = ImageOps.fit if is_square else ImageOps.contain
    return scale(rgb, (CELL, CELL), method)


def _wrapped(lines: Sequence[str]) -> list[str]:
    wrapped = [part for line in lines for part in wrap_text(line, CELL, FONT_SIZE)]
    return wrapped[:NUM_TEXT_LINES]

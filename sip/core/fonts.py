"""Text of any script on images: each letter in the first font that has it.

DejaVu Sans (Latin, Greek, Cyrillic, Arabic, Hebrew) comes with matplotlib. Chinese, Japanese and
Korean need Noto Sans CJK, 16 MB, which is the extra `cjk`.
"""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ImageDraw, ImageFont

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

CJK_PACKAGE, CJK_FILE = "noto_cjk_sans_jp_regular", "NotoSansCJKjp-Regular.otf"


@cache
def font_files() -> tuple[Path, ...]:
    """Return the installed fonts, the preferred one first."""
    from matplotlib import get_data_path

    files = [Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")]
    if (spec := find_spec(CJK_PACKAGE)) and spec.origin:
        files.append(Path(spec.origin).with_name(CJK_FILE))
    return tuple(files)


@cache
def font_families() -> list[str]:
    """Return the fonts' names for matplotlib's `font.family`, which falls back letter by letter."""
    from matplotlib import font_manager

    for file in font_files():
        font_manager.fontManager.addfont(file)
    return [font_manager.get_font(file).family_name for file in font_files()]


def draw_text(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, fill: str | tuple
) -> None:
    """Draw one line of text with its top left corner at `place`.

    Args:
        place: (x, y) in px.
        size: Height of the font in px.
    """
    left, baseline = float(place[0]), place[1] + _font(0, size).getmetrics()[0]
    for font, run in _runs(text, size):
        pen.text((left, baseline), run, fill=fill, font=font, anchor="ls")
        left += font.getlength(run)


def text_width(text: str, size: int) -> float:
    """Return the width of one line of text in px."""
    return sum(font.getlength(run) for font, run in _runs(text, size))


def wrap_text(text: str, width: int, size: int) -> list[str]:
    """Break a text into lines of at most `width` px: between words, or in a word that is longer."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if text_width(joined, size) <= width:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter, size) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _runs(text: str, size: int) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
    """Yield the parts of a text that one font has, in order, with the font."""
    for number, letters in groupby(text, _font_with):
        yield _font(number, size), "".join(letters)


@cache
def _font_with(letter: str) -> int:
    """Return the position of the first font that has a letter; 0 if none has it."""
    have = (number for number in range(len(font_files())) if _has(number, letter))
    return next(have, 0)


def _has(number: int, letter: str) -> bool:
    return _face(number).get_char_index(ord(letter)) != 0


@cache
def _face(number: int) -> "FT2Font":
    from matplotlib.ft2font import FT2Font

    return FT2Font(str(font_files()[number]))


@cache
def _font(number: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_files()[number], size)

"""Text of any script: each letter in a font that has it, lines that fit."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from sip.core import fonts
from sip.core.sheets import CELL, GAP, LABEL, LINE, Pair, contact_sheet

SCRIPTS = ["Blüte", "Ηλιος", "кот", "猫", "ねこ", "고양이"]
SIZE = 16


def rendered(text: str) -> np.ndarray:
    image = Image.new("L", (120, 28), 255)
    fonts.draw_text(ImageDraw.Draw(image), (2, 2), text, SIZE, 0)
    return np.asarray(image)


@pytest.mark.parametrize("text", SCRIPTS)
def test_no_letter_is_a_box(text: str) -> None:
    boxes = {rendered(letter).tobytes() for letter in "\U0010fffd\ue000"}
    letters = [rendered(letter).tobytes() for letter in dict.fromkeys(text)]
    assert len(set(letters)) == len(letters) and not boxes & set(letters)


def test_letters_of_two_fonts_stand_on_one_line_side_by_side() -> None:
    widths = [fonts.text_width(text, SIZE) for text in ("cat ", "猫", "cat 猫")]
    assert widths[2] == pytest.approx(widths[0] + widths[1])
    ink = rendered("cat 猫") < 128
    assert 0.8 * widths[2] < np.flatnonzero(ink.any(0)).max() < widths[2] + 2
    expected = Image.new("L", (120, 28), 255)
    plain = ImageFont.truetype(fonts.font_files()[0], SIZE)
    ImageDraw.Draw(expected).text((2, 2), "cat", fill=0, font=plain)
    assert np.array_equal(rendered("cat"), np.asarray(expected))


def test_lines_break_between_words_and_in_words_that_are_too_long() -> None:
    lines = fonts.wrap_text("a photo of a cat 猫猫猫猫猫猫猫猫猫猫猫猫", 90, SIZE)
    assert all(0 < fonts.text_width(line, SIZE) <= 90 for line in lines)
    assert lines[0] == "a photo of" and "".join(lines).count("猫") == 12
    assert fonts.wrap_text("", 90, SIZE) == [""]


def test_without_the_extra_cjk_the_other_scripts_are_there(monkeypatch) -> None:
    monkeypatch.setattr(fonts, "find_spec", lambda name: importlib.util.find_spec("no_such_font"))
    for function in (fonts.font_files, fonts._font_with):
        monkeypatch.setattr(fonts, function.__name__, function.__wrapped__)
    assert len(fonts.font_files()) == 1 and fonts.text_width("кот 猫", SIZE) > 0


def test_a_contact_sheet_has_the_title_in_its_script(tmp_path: Path) -> None:
    file = str(tmp_path / "image.png")
    Image.new("RGB", (8, 8), "red").save(file)
    contact_sheet(
        [Pair(file, file, text, ["a", text]) for text in ("ねこ", "\ue000")], tmp_path / "s"
    )
    with Image.open(tmp_path / "s") as sheet:
        pixels = np.asarray(sheet.convert("L"))
    lefts = (LABEL + GAP, LABEL + 2 * GAP + CELL)
    titles = [pixels[GAP : GAP + LINE, left : left + CELL] for left in lefts]
    assert all((title < 128).any() for title in titles) and not np.array_equal(*titles)
    tops = [GAP + LINE, GAP + LINE + CELL + GAP // 4]
    original, generated = (pixels[top : top + CELL, : LABEL + GAP] for top in tops)
    assert (original < 128).any() and (generated < 128).any()  # a label for each row
    assert not np.array_equal(original, generated)

"""A sheet shows of an original what the generator reads."""

from pathlib import Path

from PIL import Image

from sip.core.sheets import CELL, GAP, LABEL, LINE, Pair, contact_sheet


def test_the_central_square_of_an_original_is_shown(tmp_path: Path) -> None:
    wide = Image.new("RGB", (60, 20), (255, 0, 0))
    wide.paste((0, 255, 0), (20, 0, 40, 20))
    wide.save(tmp_path / "wide.png")
    Image.new("RGB", (20, 20), (0, 0, 255)).save(tmp_path / "made.png")
    pair = Pair(str(tmp_path / "wide.png"), str(tmp_path / "made.png"), "cat", ["a cat"])
    contact_sheet([pair], tmp_path / "sheet.png")
    left, top = LABEL + GAP, GAP + LINE
    with Image.open(tmp_path / "sheet.png") as sheet:
        original = sheet.crop((left, top, left + CELL, top + CELL))
    assert original.getcolors() == [(CELL * CELL, (0, 255, 0))]

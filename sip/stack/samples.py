"""Samples during training: one PNG a part, replaced every few minutes, of fixed originals."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from sip.core.files import atomic_file
from sip.core.fonts import draw_text, wrap_text
from sip.stack.pool import Pool
from sip.stack.work import Work

NUM = 8  # originals
CELL = 96  # px, side of an image on the sheet
GAP = 4  # px
LABEL = 70  # px, width of the labels of rows
FONT_SIZE = 11  # px
FOLDER = "samples"


class Samples:
    """Fixed images of a pool with fixed prompts.

    Attributes:
        originals: (B, 3, S, S), float32, in [-1, 1], on the pool's device.
        prompts: Label and caption of each.
    """

    def __init__(self, pool: Pool, work: Work) -> None:
        self.folder = work.folder / FOLDER
        num = min(NUM, len(pool.images))
        rows = torch.arange(num) * (len(pool.images) // num)
        rng = random.Random(0)
        self.originals = pool.pixels(rows)
        texts = pool.texts
        captions = [texts.caption(int(row), rng)[0] for row in rows]
        labels = [] if texts.labels is None else [f"{texts.named(int(row))}, " for row in rows]
        self.prompts = [f"{a}{b}" for a, b in zip(labels or [""] * num, captions, strict=True)]

    def save(self, part: str, rows: Sequence[Tensor], texts: Sequence[str] = ()) -> None:
        """Write a sheet: one image a column, its text on top.

        Args:
            part: Names the file.
            rows: Images (B, 3, S, S) for each row, in [-1, 1].
            texts: B of them, or none.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        grid = [[image for image in row] for row in rows]
        save_sheet(grid, self.folder / f"{part}.png", texts)


def save_sheet(
    rows: Sequence[Sequence[Tensor]],
    path: Path,
    columns: Sequence[str] = (),
    cell: int = CELL,
    labels: Sequence[str] = (),
) -> None:
    """Write images (3, S, S), in [-1, 1], row by row as one PNG, pixels enlarged as they are.

    Args:
        rows: All of one length.
        path: The file; it is replaced atomically.
        columns: Texts above the columns, or none.
        cell: Side of an image on the sheet, px.
        labels: Texts left of the rows, or none.
    """
    lines = [wrap_text(text, cell - GAP, FONT_SIZE) for text in columns]
    top = max(map(len, lines), default=0) * (FONT_SIZE + 2)
    left = GAP + (LABEL if labels else 0)
    size = (left + len(rows[0]) * (cell + GAP), top + GAP + len(rows) * (cell + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for column, text in enumerate(lines):
        for number, line in enumerate(text):
            place = left + column * (cell + GAP), number * (FONT_SIZE + 2)
            draw_text(pen, place, line, FONT_SIZE, "black")
    for row_number, label in enumerate(labels):
        place = GAP, top + GAP + row_number * (cell + GAP) + (cell - FONT_SIZE) // 2
        draw_text(pen, place, label, FONT_SIZE, "black")
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            place = left + c * (cell + GAP), top + GAP + r * (cell + GAP)
            sheet.paste(_image(image).resize((cell, cell), Image.Resampling.NEAREST), place)
    with atomic_file(path) as part:
        sheet.save(part, format="PNG")


def _image(image: Tensor) -> Image.Image:
    levels = ((image.float().cpu() + 1) * 127.5).round().clamp(0, 255).byte()
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()))

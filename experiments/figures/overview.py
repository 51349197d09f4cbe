"""Plot single images: original, captions, prompt, guidance scale, generated image.

`python -m sip.generate dataset.shots=2 prompts.noise_rate=0.5`, then
`python -m experiments.figures.overview runs/generate-digits-... docs/images/overview.png`
"""

import json
import sys
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from matplotlib.figure import Figure
from PIL import Image

from sip.core.image_io import read_rgb

SAMPLES = ("digits-1580", "digits-0134", "digits-1271", "digits-0575")  # chosen by eye
SIZE = 320  # px of an image
DPI = 200
WIDTH, HEADER, ROW = 9.1, 0.42, 1.48  # inches
COLUMNS = {"original": 0.08, "captions": 1.62, "prompt": 5.1, "guidance": 6.86, "generated": 7.64}
TITLES = {
    "original": "original",
    "captions": "captions (BLIP) and similarity (CLIP)",
    "prompt": "weighted prompt",
    "guidance": "guidance",
    "generated": "generated",
}
INK, GREY, ACCENT = "#1b1f24", "#8b929a", "#00796b"
POINTS, LINE = 8.5, 0.14  # of the text; inches from line to line


def main(run: Path, output: Path) -> None:
    """Read the run's rows and write the figure."""
    store = run.parent.parent / yaml.safe_load((run / "config.yaml").read_text())["paths"]["store"]
    rows = pd.read_parquet(run / "images.parquet")
    height = HEADER + ROW * len(SAMPLES)
    figure = plt.figure(figsize=(WIDTH, height), dpi=DPI)
    for name, left in COLUMNS.items():
        place(figure, left, 0.2, TITLES[name], size=9, color=INK, weight="bold")
    for number, sample_id in enumerate(SAMPLES):
        mine = rows[rows.sample_id == sample_id]
        original = mine[mine.kind == "real"].iloc[0]
        generated = mine[mine.kind == "generated"].iloc[0]
        top = HEADER + number * ROW
        for name, row in (("original", original), ("generated", generated)):
            show(figure, COLUMNS[name], top, store / row.file)
        captions(figure, top, generated)
        prompt(figure, top, json.loads(generated.spans))
        left = COLUMNS["guidance"]
        scale = f"{generated.guidance_scale:.1f}"
        place(figure, left, top + 0.65, scale, size=17, color=ACCENT, weight="bold")
    figure.savefig(output)
    plt.close(figure)
    Image.open(output).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(output)


def captions(figure: Figure, top: float, row: pd.Series) -> None:
    """Write the candidates of a row, the kept one in another colour."""
    left, line = COLUMNS["captions"], top + 0.1
    for caption, cosine in json.loads(row.candidates):
        kept = caption == row.caption
        style = {"color": ACCENT if kept else GREY}
        number = f"{cosine:.2f}".replace("-", "\N{MINUS SIGN}")
        place(figure, left, line, number, **style, weight="bold" if kept else "normal")
        for part in textwrap.wrap(caption, 46):
            place(figure, left + 0.45, line, part, **style)
            line += LINE
        line += 0.045


def prompt(figure: Figure, top: float, spans: list[tuple[str, float]]) -> None:
    """Write the spans of a prompt, those with a weight in another colour."""
    line = top + 0.1
    for text, weight in spans:
        if not text.strip(" ,"):
            continue
        words = text if weight == 1 else f"({text})\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{weight:g}"
        color = INK if weight == 1 else ACCENT
        for part in textwrap.wrap(words, 25):
            place(figure, COLUMNS["prompt"], line, part, color=color)
            line += LINE
        line += 0.045


def show(figure: Figure, left: float, top: float, file: Path) -> None:
    """Show an image, enlarged with Lanczos interpolation."""
    width, height = figure.get_size_inches()
    side = ROW - 0.1
    axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
    axes.imshow(read_rgb(file, SIZE), interpolation="lanczos")
    axes.set_axis_off()


def place(
    figure: Figure, left: float, top: float, text: str, size: float = POINTS, **style: str
) -> None:
    """Write text; left edge and middle are in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    style = {"ha": "left", "va": "center", "fontsize": size, "family": "DejaVu Sans"} | style
    figure.text(left / width, 1 - top / height, text, **style)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

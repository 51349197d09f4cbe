"""Show the same originals under several arms, one column each, pixels enlarged as they are.

`python -m experiments.figures.qualitative OUTPUT TITLE=RUN ...`, in the folder with `runs` and
`store`. A run that generates shows its first image of each original, another one the original
under the run's own base and sample transforms, as the classifier sees it.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from PIL import Image

from sip.config.build import build
from sip.core.image_io import read_rgb
from sip.records.read import read_run

ROWS = 6
SIDE, GAP, LEFT, TOP = 0.95, 0.06, 0.1, 0.42  # inches
DPI = 200
SIZE = 190  # px of an image on the page
SEED = 0  # of the transforms


def main(output: Path, columns: dict[str, Path]) -> None:
    """Read the runs and write the figure."""
    tables = {title: pd.read_parquet(run / "images.parquet") for title, run in columns.items()}
    shown = originals(tables)
    width = LEFT + (len(columns) + 1) * (SIDE + GAP)
    height = TOP + len(shown) * (SIDE + GAP)
    figure = plt.figure(figsize=(width, height), dpi=DPI)
    for number, title in enumerate(["original", *columns]):
        left = LEFT + number * (SIDE + GAP)
        style = {"ha": "center", "va": "center", "fontsize": 8.5, "family": "DejaVu Sans"}
        figure.text((left + SIDE / 2) / width, 1 - TOP / 2 / height, title, **style)
        for row, sample_id in enumerate(shown):
            if number == 0:
                first = next(iter(columns))
                image = real(tables[first], columns[first], sample_id)
            else:
                image = of_arm(tables[title], columns[title], sample_id)
            top = TOP + row * (SIDE + GAP)
            place = (left / width, 1 - (top + SIDE) / height, SIDE / width, SIDE / height)
            axes = figure.add_axes(place)
            axes.imshow(image.resize((SIZE, SIZE), Image.Resampling.NEAREST))
            axes.set_axis_off()
    figure.savefig(output)
    plt.close(figure)


def originals(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return the first originals of unlike classes that all runs trained on, and generated from."""
    kept = None
    for rows in tables.values():
        train = rows[rows.split == "train"]
        ids = set(train[train.kind == "real"].sample_id)
        generated = train[(train.kind == "generated") & (train.status == "ok")]
        ids &= set(generated.sample_id) if len(generated) else ids
        kept = ids if kept is None else kept & ids
    train = next(iter(tables.values()))
    real_rows = train[(train.kind == "real") & train.sample_id.isin(kept)]
    return list(real_rows.sort_values("sample_id").drop_duplicates("label").sample_id[:ROWS])


def of_arm(rows: pd.DataFrame, run: Path, sample_id: str) -> Image.Image:
    """Return the image that the arm makes of an original."""
    mine = rows[(rows.sample_id == sample_id) & (rows.kind == "generated") & (rows.status == "ok")]
    if len(mine):
        return opened(run, mine.sort_values("variant").iloc[0].file)
    image = real(rows, run, sample_id)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    torch.manual_seed(SEED)
    arm = read_run(run).config["augmentation"]
    for place in ("base", "sample"):
        pixels = build(arm[place])(pixels)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def real(rows: pd.DataFrame, run: Path, sample_id: str) -> Image.Image:
    """Return the original."""
    row = rows[(rows.sample_id == sample_id) & (rows.kind == "real")].iloc[0]
    return opened(run, row.file)


def opened(run: Path, file: str) -> Image.Image:
    """Return an image of a run's store, of the size that the classifier sees."""
    record = read_run(run)
    return read_rgb(record.store / file, record.config["profile"]["image_size"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), {t: Path(r) for t, r in (a.split("=", 1) for a in sys.argv[2:])})

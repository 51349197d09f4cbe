"""scikit-learn's handwritten digits: 1,797 real scans, 8x8 grey, enlarged to RGB.

Source: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), test part, as
shipped in scikit-learn (BSD). White ink on black. The split is ours, drawn once with a fixed seed,
stratified by class and committed with checksums in `digits_split.json` (if it changes, the version
of `Digits` is raised):

    pretrain 900   for the miniature models only
    train    260   source of the few-shot subsets
    val      160   for all choices
    test     477   read once per run
"""

import hashlib
import json
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from sip.core.component import component, ignored
from sip.core.image_io import MAX_PIXELS
from sip.dataset.base import Split
from sip.dataset.files import Entry, ImageFile, from_pixels
from sip.dataset.reader import Listing, Reader

SPLIT_FILE = Path(__file__).with_name("digits_split.json")
MAX_SIDE = int(MAX_PIXELS**0.5)  # px
SPLITS: tuple[Split, ...] = ("pretrain", "train", "val", "test")
CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@cache
def scans() -> tuple[np.ndarray, np.ndarray]:
    """Return the scans (1797, 8, 8), uint8, in [0, 16], and their labels (1797,), int64."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images.astype(np.uint8), data.target.astype(np.int64)


def enlarge(scan: np.ndarray, size: int) -> Image.Image:
    """Enlarge one scan (8, 8), uint8, in [0, 16], to an RGB image of `size` px, bicubic."""
    grey = Image.fromarray(np.round(scan * (255 / 16)).astype(np.uint8))
    return grey.resize((size, size), Image.Resampling.BICUBIC).convert("RGB")


def checksum(indices: list[int]) -> str:
    """Return the SHA-256 of the scans and labels of these rows."""
    images, labels = scans()
    digest = hashlib.sha256(images[indices].tobytes())
    digest.update(labels[indices].tobytes())
    return digest.hexdigest()


@cache
def split_indices() -> dict[str, list[int]]:
    """Return the committed split: part -> rows of scikit-learn's array.

    Raises:
        ValueError: The installed scikit-learn ships different images than those of the split.
    """
    committed = json.loads(SPLIT_FILE.read_text())
    for part in SPLITS:
        if checksum(committed["indices"][part]) != committed["sha256"][part]:
            raise ValueError(
                f"digits: the images of part {part!r} differ from the committed checksum in "
                f"{SPLIT_FILE.name}; install scikit-learn within the bounds of pyproject.toml"
            )
    return committed["indices"]


@component
class Digits(Reader):
    """The digits as PNG files under `root`, written when first asked for.

    Args:
        root: Folder that contains the folder of the images.
        image_size: Side of the images, px.
    """

    root: str = ignored()
    image_size: Annotated[int, Field(ge=1, le=MAX_SIDE)]

    @property
    def all_splits(self) -> tuple[Split, ...]:
        """Parts of the data set."""
        return SPLITS

    @property
    def folder(self) -> Path:
        """Folder of the images."""
        return Path(self.root) / f"digits-{self.image_size}px"

    def listing(self) -> Listing:
        """Return the digits in words, and the entries; missing files are written."""
        labels = scans()[1]
        entries = {
            split: [
                Entry(f"digits-{index:04d}", int(labels[index]), partial(self._open, index))
                for index in split_indices()[split]
            ]
            for split in SPLITS
        }
        return CLASS_NAMES, entries

    def _open(self, index: int) -> ImageFile:
        """Return one image, enlarged and written to its file."""
        image = enlarge(scans()[0][index], self.image_size)
        return from_pixels(self.folder / f"{index:04d}.png", image)


def make_split(seed: int = 0) -> dict:
    """Return the split that is committed: stratified, 90 / 26 / 16 / rest a class.

    Written once by `python -m sip.dataset.digits`. Neighbours in scikit-learn's array may be by the
    same writer, and may be in different parts.
    """
    _, labels = scans()
    rng = np.random.default_rng(seed)
    parts: dict[str, list[int]] = {part: [] for part in SPLITS}
    for label in range(10):
        rows = rng.permutation(np.flatnonzero(labels == label)).tolist()
        for part, num in (("pretrain", 90), ("train", 26), ("val", 16), ("test", len(rows))):
            parts[part] += rows[:num]
            rows = rows[num:]
    indices = {part: sorted(rows) for part, rows in parts.items()}
    return {"indices": indices, "sha256": {part: checksum(rows) for part, rows in indices.items()}}


if __name__ == "__main__":
    SPLIT_FILE.write_text(json.dumps(make_split()) + "\n")

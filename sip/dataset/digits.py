"""scikit-learn's handwritten digits: 1,797 real scans, 8x8 grey, enlarged to RGB.

Source: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), test part, as
shipped in scikit-learn (BSD). White ink on black. The split is ours, made once with a fixed seed,
stratified by class and committed with checksums in `digits_split.json`:

    pretrain 900   what the miniature models may see, and nothing else may
    train    260   the few-shot subsets come from here
    val      160   every choice is made here
    test     477   read once a run
"""

import hashlib
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sip.core.errors import UserError
from sip.core.image_io import MAX_PIXELS
from sip.dataset.base import Split
from sip.dataset.files import Entry, Picture, from_pixels
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import Subset

SPLIT_FILE = Path(__file__).with_name("digits_split.json")
SPLITS: tuple[Split, ...] = ("pretrain", "train", "val", "test")
CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@cache
def scans() -> tuple[np.ndarray, np.ndarray]:
    """Return the scans (1797, 8, 8), uint8, in [0, 16], and their labels (1797,), int64."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images.astype(np.uint8), data.target.astype(np.int64)


def enlarge(scan: np.ndarray, size: int) -> Image.Image:
    """Enlarge one scan (8, 8), uint8, in [0, 16], to an RGB picture of `size` px, bicubic."""
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
        ValueError: The installed scikit-learn ships other pictures than the split was made of.
    """
    committed = json.loads(SPLIT_FILE.read_text())
    for part in SPLITS:
        if checksum(committed["indices"][part]) != committed["sha256"][part]:
            raise ValueError(
                f"digits: the pictures of part {part!r} differ from the committed checksum in "
                f"{SPLIT_FILE.name}; install scikit-learn within the bounds of pyproject.toml"
            )
    return committed["indices"]


class Digits(Reader):
    """The digits as PNG files of `image_size` px under `root`, written when first asked for.

    Args:
        root: Folder that holds the folder of the pictures.
        image_size: Side of the pictures, px.
        shots, fraction, imbalance, label_noise, seed: See `sip.dataset.subsets.Subset`.

    Raises:
        UserError: `image_size` is no number of px, or too large.
    """

    splits = SPLITS

    def __init__(
        self,
        root: str,
        image_size: int,
        shots: int | None,
        fraction: float | None,
        imbalance: float | None,
        label_noise: float | None,
        seed: int,
    ) -> None:
        super().__init__(Subset(shots, fraction, imbalance, label_noise, seed))
        if type(image_size) is not int or not 1 <= image_size <= MAX_PIXELS**0.5:
            raise UserError(
                f"dataset.image_size: expected a number of px from 1 to {int(MAX_PIXELS**0.5)}, "
                f"came {image_size!r}"
            )
        self.folder = Path(root) / f"digits-{image_size}px"
        self.image_size = image_size

    def facts(self) -> dict[str, Any]:
        """Return what decides the pictures of the whole splits."""
        return {
            "class": "sip.dataset.digits.Digits",
            "version": 1,
            "image_size": self.image_size,
            "split_sha256": json.loads(SPLIT_FILE.read_text())["sha256"],
        }

    def listing(self) -> Listing:
        """Return the digits in words, and the entries; files that are not there are written."""
        labels = scans()[1]
        entries = {
            split: [
                Entry(f"digits-{index:04d}", int(labels[index]), partial(self._open, index))
                for index in split_indices()[split]
            ]
            for split in SPLITS
        }
        return CLASS_NAMES, entries

    def _open(self, index: int) -> Picture:
        """Return one picture, enlarged and written to its file."""
        picture = enlarge(scans()[0][index], self.image_size)
        return from_pixels(self.folder / f"{index:04d}.png", picture)


def make_split(seed: int = 0) -> dict:
    """Make the split that is committed: stratified, 90 / 26 / 16 / rest a class.

    Written once by `python -m sip.dataset.digits`; scikit-learn's array is not a sample of
    independent writers, so neighbours in it may share a hand across parts.
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

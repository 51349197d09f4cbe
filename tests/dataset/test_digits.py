"""The digits: parts that do not overlap, files, shots."""

import hashlib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sip.core.errors import UserError
from sip.dataset.digits import SPLIT_FILE, SPLITS, Digits, checksum, enlarge, scans, split_indices
from tests.dataset.trees import source


def digits(root: Path, image_size: int, shots: int | None, seed: int) -> Any:
    """Return the data set without the other options of subsets."""
    return source("digits", root, image_size=image_size, shots=shots, seed=seed)


def test_parts_do_not_overlap_and_keep_their_sizes() -> None:
    parts = split_indices()
    assert {part: len(rows) for part, rows in parts.items()} == {
        "pretrain": 900,
        "train": 260,
        "val": 160,
        "test": 477,
    }
    for one, other in combinations(SPLITS, 2):
        assert set(parts[one]).isdisjoint(parts[other])


def test_parts_share_no_identical_scan() -> None:
    images, _ = scans()
    parts = {part: {images[i].tobytes() for i in rows} for part, rows in split_indices().items()}
    for one, other in combinations(SPLITS, 2):
        assert parts[one].isdisjoint(parts[other])


def test_checksum_sees_a_change() -> None:
    rows = split_indices()["val"]
    assert checksum(rows) != checksum(rows[::-1])


def test_files_are_the_scans(tmp_path: Path) -> None:
    dataset = digits(tmp_path, 32, 1, 0)
    rows = dataset.samples("train")
    assert len(rows) == 10 == len(list(tmp_path.rglob("*.png")))
    for row in rows:
        index = int(row.sample_id.removeprefix("digits-"))
        assert (row.width, row.height) == (32, 32)
        assert row.class_name == dataset.class_names[row.label]
        expected = np.asarray(enlarge(scans()[0][index], 32))
        assert np.array_equal(np.asarray(Image.open(row.path)), expected)
    assert digits(tmp_path, 32, 1, 0).samples("train") == rows


def test_the_split_is_that_of_version_1() -> None:
    """The split is not in the recipe: if it changes, raise the version of `Digits`."""
    content = hashlib.sha256(SPLIT_FILE.read_bytes()).hexdigest()
    assert (content[:16], Digits.version) == ("4421a4bbca2d091e", 1)


def test_wrong_use_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be at most 26.*got 27"):
        digits(tmp_path, 32, 27, 0).samples("train")
    with pytest.raises(UserError, match="pretrain, train, val, test, got 'dev'"):
        digits(tmp_path, 32, 5, 0).samples("dev")
    with pytest.raises(UserError, match=r"image_size: must be a whole number in \[1, 9459\], got"):
        digits(tmp_path, 0, 5, 0)

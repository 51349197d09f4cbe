"""Data sets that differ in their subset only: what one has read, another need not read."""

from pathlib import Path
from typing import Any

import pytest

from sip.dataset.base import Split
from sip.dataset.image_folder import ImageFolder
from tests.dataset.trees import source, write_image

PARTS: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(40):
        write_image(tmp_path / "images" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    return tmp_path / "images"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[ImageFolder]:
    """The data sets whose files were listed."""
    readers: list[ImageFolder] = []
    real = ImageFolder.listing
    monkeypatch.setattr(ImageFolder, "listing", lambda self: readers.append(self) or real(self))
    return readers


def test_another_subset_lists_nothing_and_is_the_same(
    root: Path, listed: list[ImageFolder]
) -> None:
    first = source("image_folder", root, shots=3)
    assert first.content
    for changes in ({"seed": 1, "shots": 3}, {"fraction": 0.5}, {"label_noise": 0.2, "shots": 4}):
        plain, shared = (source("image_folder", root, **changes) for _ in range(2))
        expected = [list(plain.samples(part)) for part in PARTS]
        listed.clear()
        shared.share(first)
        assert [list(shared.samples(part)) for part in PARTS] == expected and not listed
        assert shared.content == plain.content and shared.made_parts == plain.made_parts
        assert shared.num_readable() == plain.num_readable()
        assert shared.perceptual_hashes().keys() >= plain.perceptual_hashes().keys()
    assert [row.sample_id for row in first.samples("train")] != [
        row.sample_id for row in shared.samples("train")
    ]


@pytest.mark.parametrize("changes", [{"val_fraction": 0.3}, {"split_seed": 1}, {"root": "copy"}])
def test_other_data_share_nothing(
    root: Path, tmp_path: Path, listed: list[ImageFolder], changes: dict[str, Any]
) -> None:
    (tmp_path / "copy").symlink_to(root)
    first = source("image_folder", root, shots=3)
    assert first.content
    where = tmp_path / changes.pop("root", "images")
    other = source("image_folder", where, **changes)
    listed.clear()
    other.share(first)
    assert other.samples("val") and listed == [other]
    other.share(source("webdataset", root))

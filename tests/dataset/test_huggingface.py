"""Data sets through the package `datasets`, from local folders only."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from sip.core.errors import UserError
from tests.dataset.trees import encoded, source


def read(path: Path, root: Path, **changes: Any) -> Any:
    """Return the data set with plain options."""
    return source("huggingface", root, path=str(path), **{"val_fraction": 0.25} | changes)


def save(path: Path, labels: Any, splits: dict[str, int]) -> None:
    """Save a small data set as `save_to_disk` does; `labels` is its label feature."""
    datasets = pytest.importorskip("datasets")
    named = hasattr(labels, "names")
    parts = {}
    for start, (split, num) in enumerate(splits.items()):
        rows = {
            "image": [{"bytes": encoded(20 * i + start, "JPEG"), "path": None} for i in range(num)],
            "label": [i % 2 if named else ("old_dog", "cat")[i % 2] for i in range(num)],
        }
        features = datasets.Features({"image": datasets.Image(), "label": labels})
        parts[split] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(path))


def test_saved_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.ClassLabel(names=["old_dog", "cat"]), {"train": 8, "test": 4})
    dataset = read(tmp_path / "set", tmp_path)
    assert dataset.class_names == ("old dog", "cat")
    assert [len(dataset.samples(part)) for part in ("train", "val", "test")] == [6, 2, 4]
    row = dataset.samples("test")[1]
    assert (row.sample_id, row.label, row.class_name) == ("set/test/000001", 1, "cat")
    assert (row.width, row.height) == (10, 6)
    assert Path(row.path).read_bytes() == encoded(21, "JPEG") and row.path.endswith(".jpeg")
    assert row.sha256 == hashlib.sha256(encoded(21, "JPEG")).hexdigest()


def test_text_labels_and_made_parts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"all": 12})
    splits = {"train": "all", "val": None, "test": None}
    dataset = read(tmp_path / "set", tmp_path, splits=splits, shots=2)
    assert dataset.class_names == ("cat", "old dog")
    # test: 0.2 of 6 a class is 1; val: 0.25 of the 5 left is 1
    assert [len(dataset.samples(part)) for part in ("train", "val", "test")] == [4, 2, 2]
    assert dataset.samples("test")[0].sample_id.startswith("set/train/")


def test_parquet_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {
        "img": [{"bytes": encoded(9 * i, "JPEG"), "path": None} for i in range(8)],
        "digit": [7, 11] * 4,
    }
    features = datasets.Features({"img": datasets.Image(), "digit": datasets.Value("int64")})
    table = datasets.Dataset.from_dict(rows, features=features)
    (tmp_path / "set").mkdir()
    table.to_parquet(str(tmp_path / "set" / "train.parquet"))
    dataset = read(
        tmp_path / "set",
        tmp_path,
        splits={"train": "train", "val": None, "test": None},
        image_column="img",
        label_column="digit",
    )
    assert dataset.class_names == ("7", "11")
    assert {row.label for row in dataset.samples("train")} == {0, 1}


def test_wrong_names_list_the_known_ones(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"train": 8, "test": 4})
    wrong = {"train": "training", "val": None, "test": "test"}
    with pytest.raises(UserError, match="dataset.splits: must be of train, test, got 'training'"):
        read(tmp_path / "set", tmp_path, splits=wrong).samples("train")
    with pytest.raises(UserError, match="image_column: must be one of image, label, got 'img'"):
        read(tmp_path / "set", tmp_path, image_column="img").samples("train")
    with pytest.raises(UserError, match="dataset.path: must be a data set of the hub or a local"):
        read(tmp_path / "nowhere", tmp_path).samples("train")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'sip-augmentation\[datasets\]'"):
        read(tmp_path, tmp_path).samples("train")


def test_a_part_for_generators_is_set_aside(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["old_dog", "cat"])
    save(tmp_path / "set", names, {"train": 40, "test": 4})
    before = read(tmp_path / "set", tmp_path)
    parted = read(tmp_path / "set", tmp_path, pretrain_fraction=0.5)
    upper = read(tmp_path / "set", tmp_path, pretrain_fraction=0.5, train_part="pretrain", shots=4)
    parts = ("pretrain", "train", "val", "test")
    sizes = [len(parted.samples(part)) for part in parts]
    assert sizes == [20, 16, 4, 4]  # val: 0.25 of 10 a class
    ids = {part: {row.sample_id for row in parted.samples(part)} for part in parts}
    assert len(set.union(*ids.values())) == 44
    assert {row.sample_id for row in upper.samples("train")} < ids["pretrain"]
    assert len(upper.samples("train")) == 8 and upper.samples("val") == parted.samples("val")
    assert upper.samples("train")[0].split == "train"
    assert len({str(one.recipe()) for one in (before, parted, upper)}) == 3
    with pytest.raises(UserError, match="must be one of train, val, test, got 'pretrain'"):
        before.samples("pretrain")
    with pytest.raises(UserError, match="train_part: must be train if there is no part pretrain"):
        read(tmp_path / "set", tmp_path, train_part="pretrain")
    with pytest.raises(UserError, match="train_part: must be one of train, pretrain, got 'test'"):
        read(tmp_path / "set", tmp_path, pretrain_fraction=0.5, train_part="test")

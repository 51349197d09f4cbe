"""Pictures in tar files: keys, labels, names, references; and what `sip.export` writes."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.dataset.webdataset import WebDataset
from sip.export.source import ExportImage
from sip.export.tar_shards import write


def source(root: Path, **changes: Any) -> WebDataset:
    """Return the data set with plain options."""
    options: dict[str, Any] = {
        "shards": {"train": "train-*.tar", "val": None, "test": None},
        "label_key": "label",
        "class_name_key": "class_name",
        "class_names": None,
        "val_fraction": 0.25,
        "test_fraction": 0.2,
        "split_seed": 0,
        "prompt_names": {},
        "shots": None,
        "fraction": None,
        "imbalance": None,
        "label_noise": None,
        "seed": 0,
    }
    return WebDataset(root=str(root), **(options | changes))


def encoded(value: int, format: str) -> bytes:
    """Return a picture of 10 x 6 px."""
    buffer = io.BytesIO()
    Image.new("RGB", (10, 6), (value, 0, 255 - value)).save(buffer, format=format)
    return buffer.getvalue()


def pack(tar: Path, members: dict[str, bytes]) -> None:
    """Write a tar file."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def with_cls(start: int, num: int, folder: str = "") -> dict[str, bytes]:
    """Return members with a .cls of 0 and 1 by turns."""
    members = {}
    for i in range(start, start + num):
        suffix, format = (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"))[i % 3]
        members[f"{folder}{i:04d}.{suffix}"] = encoded(7 * i, format)
        members[f"{folder}{i:04d}.cls"] = str(i % 2).encode()
    return members


def test_cls_and_class_names(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", with_cls(0, 6))
    pack(tmp_path / "train-1.tar", with_cls(6, 6, "deep/er/"))
    pack(tmp_path / "test" / "0.tar", with_cls(20, 4) | {"notes.txt": b"", "9.cls": b"0"})
    (tmp_path / "classes.txt").write_text("grey_cat\ndog\n")
    shards = {"train": "train-*.tar", "val": None, "test": "test/*.tar"}
    dataset = source(tmp_path, shards=shards)
    assert dataset.class_names == ("grey cat", "dog")
    # val: 0.25 of 6 a class, rounded, is 2
    assert [len(dataset.samples(part)) for part in ("train", "val", "test")] == [8, 4, 4]
    rows = {row.sample_id: row for row in dataset.samples("train") + dataset.samples("val")}
    assert "train-0/0003" in rows and "train-1/deep/er/0007" in rows
    row = rows["train-0/0004"]
    assert (row.label, row.class_name, row.width, row.height) == (0, "grey cat", 10, 6)
    assert row.path.startswith(f"{tmp_path / 'train-0.tar'}::")
    with Image.open(io.BytesIO(encoded(28, "PNG"))) as picture:
        assert read_rgb(row.path, None).tobytes() == picture.convert("RGB").tobytes()
    named = source(tmp_path, shards=shards, class_names=["a", "b"], prompt_names={"b": "bee"})
    assert named.class_names == ("a", "bee")
    assert named.recipe() != dataset.recipe()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves files open
def test_the_library_sees_the_same(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    pack(tmp_path / "train-0.tar", with_cls(0, 6, "a.b/"))
    url = str(tmp_path / "train-0.tar")
    theirs = {
        row["__key__"]: int(row["cls"])
        for row in webdataset.WebDataset(url, shardshuffle=False, empty_check=False)
    }
    options = {"val_fraction": 0, "test_fraction": 0, "class_names": ["a", "b"]}
    ours = source(tmp_path, **options).samples("train")
    assert {row.sample_id.removeprefix("train-0/"): row.label for row in ours} == theirs


def test_labels_of_json(tmp_path: Path) -> None:
    numbers = {
        f"{i}.{key}": value
        for i in range(8)
        for key, value in (
            ("jpg", encoded(i, "JPEG")),
            ("json", json.dumps({"target": i % 2, "word": ("cat", "dog")[i % 2]}).encode()),
        )
    }
    pack(tmp_path / "one" / "train-0.tar", numbers)
    keys = {"label_key": "target", "class_name_key": "word"}
    assert source(tmp_path / "one", **keys).class_names == ("cat", "dog")
    words = {
        name: json.dumps({"kind": json.loads(data)["word"]}).encode() if "json" in name else data
        for name, data in numbers.items()
    }
    pack(tmp_path / "two" / "train-0.tar", words)
    dataset = source(tmp_path / "two", label_key="kind", class_name_key=None)
    assert dataset.class_names == ("cat", "dog")
    assert {(row.label, row.class_name) for row in dataset.samples("train")} == {
        (0, "cat"),
        (1, "dog"),
    }
    with pytest.raises(UserError, match="expected one of the classes cat, cow, came 'dog'"):
        source(tmp_path / "two", label_key="kind", class_names=["cat", "cow"]).samples("train")
    with pytest.raises(UserError, match="train-0/0: expected a label in label .* came kind; set"):
        source(tmp_path / "two", class_name_key=None).samples("train")


def test_what_export_writes(tmp_path: Path) -> None:
    pictures = []
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(encoded(i, "PNG"))
        facts = {"label": i % 2, "class_name": ("a/b: 犬", "zero")[i % 2], "prompt": None}
        pictures.append(ExportImage(f"id{i}", str(tmp_path / f"{i}.png"), None, facts))
    (tmp_path / "out").mkdir()
    write(pictures, tmp_path / "out", 3)
    dataset = source(tmp_path / "out", val_fraction=0, test_fraction=0)
    assert dataset.class_names == ("a/b: 犬", "zero")
    assert len(dataset.samples("train")) == 8 and dataset.samples("val") == []


def test_wrong_tars_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected tar files train-.*found none; say where"):
        source(tmp_path).samples("train")
    pack(tmp_path / "train-0.tar", with_cls(0, 4))
    with pytest.raises(UserError, match="name for each of 2 classes, found none for 0, 1; list"):
        source(tmp_path).samples("train")
    with pytest.raises(UserError, match="labels from 0 to 0, .* came 1 for train-0/000[13]"):
        source(tmp_path, class_names=["a"]).samples("train")
    pack(tmp_path / "train-1.tar", {"1.jpg": b"", "1.cls": b"cat"})
    with pytest.raises(UserError, match="train-1/1: expected a whole number in its .cls"):
        source(tmp_path).samples("train")
    pack(tmp_path / "train-1.tar", {"1.jpg": b"", "1.JPG": b""})
    with pytest.raises(UserError, match="expected each name once, came 1.JPG again"):
        source(tmp_path).samples("train")
    (tmp_path / "train-1.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(UserError, match="train-1.tar: expected a tar file that is not compressed"):
        source(tmp_path).samples("train")
    pack(tmp_path / "train-1.tar", {"notes.txt": b"", "4.jpg": b"broken", "4.cls": b"0"})
    rows = source(tmp_path, class_names=["a", "b"], val_fraction=0, test_fraction=0)
    assert rows.samples("train")[-1].width == 0  # listed: the room that needs it says why

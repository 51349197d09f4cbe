"""Images in tar files: keys, labels, names, references; and what `sip.export` writes."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.export.formats.base import ExportPart
from sip.export.formats.webdataset import WebDatasetFormat
from sip.export.source import ExportImage
from sip.records.files import ListedImage
from tests.dataset.trees import encoded, source


def dataset(root: Path, **changes: Any) -> Any:
    """Return the data set with plain options."""
    return source("webdataset", root, **{"val_fraction": 0.25} | changes)


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
    read = dataset(tmp_path, shards=shards)
    assert read.class_names == ("grey cat", "dog")
    # val: 0.25 of 6 a class, rounded, is 2
    assert [len(read.samples(part)) for part in ("train", "val", "test")] == [8, 4, 4]
    rows = {row.sample_id: row for part in ("train", "val") for row in read.samples(part)}
    assert "train-0/0003" in rows and "train-1/deep/er/0007" in rows
    row = rows["train-0/0004"]
    assert (row.label, row.class_name, row.width, row.height) == (0, "grey cat", 10, 6)
    assert row.path.startswith(f"{tmp_path / 'train-0.tar'}::")
    with Image.open(io.BytesIO(encoded(28, "PNG"))) as image:
        assert read_rgb(row.path, None).tobytes() == image.convert("RGB").tobytes()
    named = dataset(tmp_path, shards=shards, classes=["a", "b"], prompt_names={"b": "bee"})
    assert named.class_names == ("a", "bee")
    assert named.recipe() != read.recipe()


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
    options = {"val_fraction": 0, "test_fraction": 0, "classes": ["a", "b"]}
    ours = dataset(tmp_path, **options).samples("train")
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
    assert dataset(tmp_path / "one", **keys).class_names == ("cat", "dog")
    words = {
        name: json.dumps({"kind": json.loads(data)["word"]}).encode() if "json" in name else data
        for name, data in numbers.items()
    }
    pack(tmp_path / "two" / "train-0.tar", words)
    read = dataset(tmp_path / "two", label_key="kind", class_name_key=None)
    assert read.class_names == ("cat", "dog")
    assert {(row.label, row.class_name) for row in read.samples("train")} == {
        (0, "cat"),
        (1, "dog"),
    }
    with pytest.raises(UserError, match="must be of the classes cat, cow, got 'dog'"):
        dataset(tmp_path / "two", label_key="kind", classes=["cat", "cow"]).samples("train")
    with pytest.raises(
        UserError, match="train-0/0: must have a label in label .* got a .json with kind; set"
    ):
        dataset(tmp_path / "two", class_name_key=None).samples("train")


def test_what_export_writes(tmp_path: Path) -> None:
    images = []
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(encoded(i, "PNG"))
        facts = {"label": i % 2, "class_name": ("a/b: 犬", "zero")[i % 2], "prompt": None}
        sha256 = hashlib.sha256(encoded(i, "PNG")).hexdigest()
        listed = ListedImage(str(tmp_path / f"{i}.png"), sha256, is_generated=True)
        images.append(ExportImage(f"id{i}", "", listed, False, facts))
    (tmp_path / "out").mkdir()
    part = ExportPart("train", len(images), iter(images))
    WebDatasetFormat(["zero", "a/b: 犬"], per_file=3, link=False).write([part], tmp_path / "out")
    read = dataset(tmp_path / "out", val_fraction=0, test_fraction=0)
    assert read.class_names == ("a/b: 犬", "zero")
    assert len(read.samples("train")) == 8 and read.samples("val") == []


def test_parts_of_usual_names_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(tmp_path / "train-0.tar", with_cls(0, 8))
    pack(tmp_path / "validation-0.tar", with_cls(20, 2))
    pack(tmp_path / "test-0.tar", with_cls(40, 4))
    names = {"classes": ["a", "b"]}
    found = dataset(tmp_path, **names)
    assert [len(found.samples(part)) for part in ("train", "val", "test")] == [8, 2, 4]
    assert found.made_parts == ()
    assert "val is validation-0.tar; to leave it out: dataset.shards" in capsys.readouterr().err
    shards = {"train": "train-*.tar", "val": False, "test": None}
    left = dataset(tmp_path, **names, shards=shards)
    assert [len(left.samples(part)) for part in ("train", "val", "test")] == [6, 2, 4]
    assert left.made_parts == ("val",)
    every = dataset(tmp_path, **names, shards=shards | {"train": "*.tar", "val": None})
    assert every.made_parts == ("val", "test")  # files of train are in no other part


def test_generated_images_are_not_tested_on(tmp_path: Path) -> None:
    kinds = ["real", *["generated"] * 7]
    pack(tmp_path / "train-0.tar", labelled(["a", "b"] * 4, kind=kinds))
    with pytest.raises(UserError, match="must contain real images only, got .*_fraction=0$"):
        dataset(tmp_path).samples("train")
    everything = {"val_fraction": 0, "test_fraction": 0}
    assert len(dataset(tmp_path, **everything).samples("train")) == 8
    pack(tmp_path / "test-0.tar", labelled(["a", "b"], 9, kind=["real", "generated"]))
    with pytest.raises(UserError, match="test must .* got 1 .* first test-0/1; remove them"):
        dataset(tmp_path, **everything).samples("train")


@pytest.mark.parametrize("pattern", ["train-**.tar", "."])
def test_what_is_no_pattern_is_named(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UserError, match="dataset.shards.train: must match tar files, got"):
        dataset(tmp_path, shards={"train": pattern, "val": None, "test": None}).samples("train")


def test_wrong_tars_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must match tar files, got 'train-.*matches none in"):
        dataset(tmp_path).samples("train")
    pack(tmp_path / "train-0.tar", with_cls(0, 4))
    with pytest.raises(UserError, match="must name each of 2 classes, got no name for 0, 1; list"):
        dataset(tmp_path).samples("train")
    with pytest.raises(UserError, match=r"labels must be in 0 .. 0, .* got 1 for train-0/000[13]"):
        dataset(tmp_path, classes=["a"]).samples("train")
    pack(tmp_path / "train-1.tar", {"1.jpg": b"", "1.cls": b"cat"})
    with pytest.raises(UserError, match="train-1/1: must have a whole number in its .cls"):
        dataset(tmp_path).samples("train")
    pack(tmp_path / "train-1.tar", {"1.jpg": b"", "1.JPG": b""})
    with pytest.raises(UserError, match="names must differ, got 1.JPG twice"):
        dataset(tmp_path).samples("train")
    (tmp_path / "train-1.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(UserError, match="train-1.tar: must be a tar file that is not compressed"):
        dataset(tmp_path).samples("train")
    pack(tmp_path / "train-1.tar", {"notes.txt": b"", "4.jpg": b"broken", "4.cls": b"0"})
    all_rows = {"classes": ["a", "b"], "val_fraction": 0, "test_fraction": 0}
    with pytest.raises(UserError, match="got 1 of 5 that are not: train-1/4 .cannot identify"):
        dataset(tmp_path, **all_rows).samples("train")
    assert len(dataset(tmp_path, **all_rows, broken="skip").samples("train")) == 4


def labelled(labels: list[Any], start: int = 0, **further: list[Any]) -> dict[str, bytes]:
    """Return members with a .json each: these labels, and further values."""
    members = {}
    for i, label in enumerate(labels):
        members[f"{i}.png"] = encoded(start + i, "PNG")
        facts = {"label": label} | {key: values[i] for key, values in further.items()}
        members[f"{i}.json"] = json.dumps(facts).encode()
    return members


@pytest.mark.parametrize("part", ["train", "test"])
def test_contradicting_class_names_are_refused(part: str, tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", labelled([0, 1], class_name=["cat", "dog"]))
    pack(tmp_path / f"{part}-1.tar", labelled([0, 1], 9, class_name=["dog", "cat"]))
    shards = {"train": "train-*.tar", "val": None, "test": "test-*.tar" if part == "test" else None}
    with pytest.raises(UserError, match=rf"{part}-1/0: class 0 must be 'cat', as .* got 'dog'"):
        dataset(tmp_path, shards=shards).samples("train")


def test_the_two_labels_of_an_image_must_agree(tmp_path: Path) -> None:
    members = labelled([0, 1], class_name=["cat", "dog"])
    pack(tmp_path / "train-0.tar", members | {"0.cls": b"0", "1.cls": b"0"})
    with pytest.raises(UserError, match="train-0/1: must have one label, got 0 in its .cls and 1"):
        dataset(tmp_path).samples("train")
    names = dataset(tmp_path, label_key="other", class_name_key=None, classes=["a", "b"])
    assert {row.label for row in names.samples("train")} == {0}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "got neither; add 7.cls to the tar file$"),
        ({"7.json": b"{}"}, "got a .json with no keys; add the label$"),
        ({"7.json": b'{"class": 1}'}, "got a .json with class; set dataset.label_key to the key"),
    ],
)
def test_an_image_without_a_label_is_named(members: dict, message: str, tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", {"7.jpg": with_cls(0, 1)["0000.jpg"], **members})
    with pytest.raises(
        UserError, match=f"^train-0/7: must have a label in .* or a .cls, {message}"
    ):
        dataset(tmp_path).samples("train")


@pytest.mark.parametrize("kind", [int, str, float, lambda k: f" {k} "])
def test_a_number_is_a_number_in_any_type(kind: Any, tmp_path: Path) -> None:
    numbers = list(range(12))
    members = labelled([kind(k) for k in numbers], class_name=[f"bird {k}" for k in numbers])
    pack(tmp_path / "train-0.tar", members)
    read = dataset(tmp_path, val_fraction=0, test_fraction=0)
    assert list(read.class_names) == [f"bird {k}" for k in numbers]
    assert [row.label for row in read.samples("train")] == numbers


@pytest.mark.parametrize("label", [[0, 1], {}, 0.5, [1]])
def test_what_is_no_label_is_refused(label: Any, tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", labelled([label], class_name=["cat"]))
    with pytest.raises(
        UserError, match="train-0/0: must have .* is neither text nor a whole number"
    ):
        dataset(tmp_path).samples("train")


@pytest.mark.parametrize("label", [None, "", " "])
def test_without_a_label_the_class_name_counts(label: Any, tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", labelled([label, label], class_name=["dog", "cat"]))
    assert dataset(tmp_path).class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat\n\ndog\n", "got line 2 is empty; the first line is class 0"),
        ("cat\ndog\ncat\n", "got line 3 is the same as line 1"),
        ("0 cat\n1 dog\n", "got numbers in front of the names, such as '0 cat'"),
    ],
)
def test_a_list_of_classes_that_is_not_clear(text: str, message: str, tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", with_cls(0, 6))
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        dataset(tmp_path).samples("train")


def test_a_list_of_classes_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", with_cls(0, 6))
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n\r\n")
    assert dataset(tmp_path).class_names == ("cat", "dog")


def test_what_is_not_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with tarfile.open(tmp_path / "train-0.tar", "w") as file:

        def add(name: str, data: bytes, **link: Any) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in link.items():
                setattr(info, key, value)
            file.addfile(info, io.BytesIO(data))

        for i in range(4):
            for name, format in ((f"plain{i}.png", "PNG"), (f"scan{i}.tif", "TIFF")):
                add(name, encoded(10 * i, format))
                add(f"{name.split('.')[0]}.cls", b"%d" % (i % 2))
            add(f"IMG_{i}.2024.png", encoded(i, "PNG"))
            add(f"copy{i}.png", b"", type=tarfile.LNKTYPE, linkname=f"plain{i}.png")
        add("notes.txt", b"")
    read = dataset(tmp_path, classes=["cat", "dog"], val_fraction=0, test_fraction=0)
    assert len(read.samples("train")) == 8
    told = capsys.readouterr().err
    assert "passed over 4 links or special files in the shards of train: copy0.png," in told
    assert "passed over 4 images with a dot in their key in the shards of train: IMG_0.2" in told
    assert "passed over 1 keys without an image in the shards of train: notes" in told


def test_further_images_of_a_key_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    members = with_cls(0, 6)
    pack(tmp_path / "train-0.tar", members | {"0000.png": encoded(99, "PNG")})
    read = dataset(tmp_path, classes=["cat", "dog"], val_fraction=0, test_fraction=0)
    assert len(read.samples("train")) == 6
    assert "passed over 1 further images of a key in the shards of train: 0000.png" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("where", ["classes.txt", "dataset.classes"])
def test_a_list_of_classes_must_not_contradict_the_json(where: str, tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", labelled([0, 1], class_name=["cat", "dog"]))
    names = ["dog", "cat"] if where == "dataset.classes" else None
    if names is None:
        (tmp_path / where).write_text("dog\ncat\n")
    with pytest.raises(UserError, match=rf"{where}: class 0 must be 'cat', as .* got 'cat' as cla"):
        dataset(tmp_path, classes=names).samples("train")
    other = dataset(tmp_path, classes=["house cat", "puppy"], val_fraction=0, test_fraction=0)
    assert other.class_names == ("house cat", "puppy")  # other words are no contradiction


def test_a_tar_file_is_of_one_part(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", with_cls(0, 6))
    shards = {"train": "*.tar", "val": None, "test": "train-0.tar"}
    with pytest.raises(UserError, match="shards.test: must be other tar files than those of train"):
        dataset(tmp_path, shards=shards, classes=["cat", "dog"]).samples("train")


@pytest.mark.parametrize("text", [b"1_0", b"cat", b"", b"1.5"])
def test_a_cls_is_a_whole_number(text: bytes, tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", with_cls(0, 6) | {"0001.cls": text})
    with pytest.raises(UserError, match="train-0/0001: must have a whole number .*is no whole num"):
        dataset(tmp_path, classes=["cat", "dog"]).samples("train")


def test_braces_are_no_pattern(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", with_cls(0, 6))
    shards = {"train": "train-{0..3}.tar", "val": None, "test": None}
    with pytest.raises(UserError, match=r"write \* in place of"):
        dataset(tmp_path, shards=shards, classes=["cat", "dog"]).samples("train")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_a_gigabyte_is_not_read(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 2**30
    (tmp_path / "train-0.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    os.truncate(tmp_path / "train-0.tar", 2**30 + 2048)  # a hole: takes no space
    with pytest.raises(UserError, match="a header of 1073741824 bytes is more than 1048576 bytes"):
        dataset(tmp_path).samples("train")

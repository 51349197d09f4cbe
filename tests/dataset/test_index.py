"""No image is decoded a second time at a later start, whatever the data set's form."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sip.dataset import files, index
from sip.dataset.files import Entry
from sip.dataset.index import FileIndex
from sip.weights.checksums import sha256_of
from tests.dataset.test_csv_file import listed
from tests.dataset.test_huggingface import read, save
from tests.dataset.test_image_folder import fill, folder
from tests.dataset.test_webdataset import dataset, pack, with_cls
from tests.dataset.trees import write_image

THREADS = ThreadPoolExecutor(2)
WHOLE = {"val_fraction": 0, "test_fraction": 0}


def built(form: str, root: Path) -> Any:
    """Return a data set of this form with an index."""
    options = {"index": str(root / "index"), **WHOLE}
    if form == "csv":
        return listed(root, "path,label\n0.png,cat\n1.png,dog\n", **options)
    if form == "tar":
        if not (root / "train-0.tar").exists():
            pack(root / "train-0.tar", with_cls(0, 6))
        return dataset(root, classes=["cat", "dog"], **options)
    if form == "rows":
        datasets = pytest.importorskip("datasets")
        if not (root / "set").exists():
            save(root / "set", datasets.Value("string"), {"train": 8})
        splits = {"train": "train", "val": None, "test": None}
        return read(root / "set", root, splits=splits, **options)
    if not (root / "images").exists():
        fill(root / "images", 4)
    return folder(root / "images", label="cat" if form == "flat" else None, **options)


@pytest.mark.parametrize("form", ["csv", "tar", "rows", "flat", "folders"])
def test_nothing_is_decoded_twice(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    look = files.look_at
    monkeypatch.setattr(files, "look_at", lambda data: decoded.append(data) or look(data))
    monkeypatch.setattr(index, "SETTLED", -1)
    first = built(form, tmp_path).samples("train")
    monkeypatch.setattr("tests.dataset.test_csv_file.write_image", lambda *_: None)
    assert len(decoded) == len(first) > 1
    decoded.clear()
    again = built(form, tmp_path)
    assert again.samples("train") == first and not decoded
    assert len(again.perceptual_hashes()) == len({sample.path for sample in first})
    if form == "rows":  # a row's file is gone: its row is read and the file written
        Path(first[0].path).unlink()
        assert built(form, tmp_path).samples("train") == first and len(decoded) == 1
        content = Path(first[0].path).read_bytes()
        Path(first[0].path).write_bytes(b"another")  # it is not what was written: so again
        assert built(form, tmp_path).samples("train") == first
        assert Path(first[0].path).read_bytes() == content
    if form == "tar":  # another tar file of the same name
        pack(tmp_path / "train-0.tar", with_cls(1, 6))
        assert len(built(form, tmp_path).samples("train")) == len(decoded) == 6


def test_slow_disks_are_asked_by_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "images", 4)
    monkeypatch.setattr(index, "SETTLED", -1)
    monkeypatch.setattr(index, "LOOKED_AT_ONCE", 3)
    monkeypatch.setattr(index, "SLOW", 0.0)
    options = {"index": str(tmp_path / "index"), **WHOLE}
    samples = [folder(tmp_path / "images", **options).samples("train") for _ in range(2)]
    assert samples[0] == samples[1]


def test_what_two_processes_write_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 1)
    monkeypatch.setattr(index, "SETTLED", -1)
    places = [str(tmp_path / name / "0.png") for name in ("dog", "grey_cat")]
    entries = [Entry.of_file(place, 0, place) for place in places]
    indexes = [FileIndex(tmp_path / "index.arrow") for _ in places]
    for entry, one in zip(entries, indexes, strict=True):
        one.add(
            entry, index.stamp_of(entry.place or ""), entry.open()._replace(perceptual=2**64 - 1)
        )
        one.write()
    _, known = FileIndex(tmp_path / "index.arrow").look_up(entries, THREADS)
    assert [file.path for file in known] == places


def test_an_index_of_another_version_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path, 1)
    monkeypatch.setattr(index, "SETTLED", -1)
    place = str(tmp_path / "dog" / "0.png")
    entry, schema = Entry.of_file(place, 0, place), index._schema()
    with monkeypatch.context() as older:
        older.setattr(index, "_schema", lambda: schema.remove(schema.get_field_index("is_several")))
        older.setattr(index, "FACTS", index.FACTS[:-1])
        old = FileIndex(tmp_path / "index.arrow")
        old.add(entry, index.stamp_of(place), entry.open()._replace(perceptual=1))
        old.write()
    new = FileIndex(tmp_path / "index.arrow")
    assert new.look_up([entry], THREADS)[1] == [None]
    new.add(entry, index.stamp_of(place), entry.open()._replace(perceptual=1))
    new.write()
    assert FileIndex(tmp_path / "index.arrow").look_up([entry], THREADS)[1] != [None]
    assert capsys.readouterr().err == "" and not list(tmp_path.glob("*.damaged"))


def test_files_that_were_written_for_rows_are_remembered_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built("rows", tmp_path).samples("train")
    monkeypatch.setattr(files, "look_at", None)
    assert built("rows", tmp_path).samples("train") == first


def test_files_with_colons_in_their_names_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "SETTLED", -1)
    one, two = (tmp_path / "images" / f"scan::{number}.png" for number in (1, 2))
    write_image(one, 1), write_image(two, 2)
    options = {"index": str(tmp_path / "index"), **WHOLE}
    first = folder(tmp_path / "images", label="cat", **options).samples("train")
    write_image(two, 3)
    again = folder(tmp_path / "images", label="cat", **options).samples("train")
    assert again[0] == first[0] and again[1].sha256 == sha256_of(two) != first[1].sha256

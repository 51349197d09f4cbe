"""Lists of tar files' members: a later start reads them in place of the tar files."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sip.dataset.tar_members import MAX_KEPT, Member, members_of
from tests.dataset.test_webdataset import dataset, pack, with_cls

ENDINGS = ("json", "cls")


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tar files that were written long ago, the second with an image whose label is in JSON."""
    monkeypatch.setattr("sip.dataset.tar_members.SETTLED", -1)  # their inodes have changed just now
    root = tmp_path / "shards"
    last = {"9.jpg": with_cls(0, 1)["0000.jpg"], "9.json": json.dumps({"label": 1}).encode()}
    pack(root / "train-0.tar", with_cls(0, 8))
    pack(root / "train-1.tar", with_cls(8, 8) | last)
    (root / "classes.txt").write_text("cat\ndog\n")
    return root


def rows(root: Path, index: Path | None) -> list[tuple[Any, ...]]:
    read = dataset(root, index=None if index is None else str(index))
    parts = [row for part in ("train", "val", "test") for row in read.samples(part)]
    return [(row.sample_id, row.label, row.path, row.sha256) for row in parts]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tar files whose headers are read."""
    names: list[str] = []
    real = tarfile.open

    def open_(name: Any, *args: Any, **kwargs: Any) -> Any:
        names.append(Path(name).name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(tarfile, "open", open_)
    return names


def test_a_later_start_reads_only_tar_files_that_changed(
    shards: Path, tmp_path: Path, opened: list[str]
) -> None:
    index = tmp_path / "index"
    plain = rows(shards, None)
    opened.clear()
    assert rows(shards, index) == plain
    assert opened == ["train-0.tar", "train-1.tar"]
    assert rows(shards, index) == plain and len(opened) == 2
    pack(shards / "train-0.tar", with_cls(0, 12))
    opened.clear()
    assert len(rows(shards, index)) == len(plain) + 4 and opened == ["train-0.tar"]


def test_a_damaged_list_is_made_again(shards: Path, tmp_path: Path, opened: list[str]) -> None:
    index = tmp_path / "index"
    plain = rows(shards, index)
    first, second = sorted((index / "tars").iterdir())
    first.write_bytes(re.sub(rb"(\d{3}[2-5])\.cls", rb"\1.txt", first.read_bytes(), count=1))
    second.write_bytes(b"")
    opened.clear()
    assert rows(shards, index) == plain and len(opened) == 2
    assert rows(shards, index) == plain and len(opened) == 2


def test_lists_have_the_content_of_small_members_that_state_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip.dataset.tar_members.SETTLED", -1)
    long = b" " * MAX_KEPT + b"1"
    pack(tmp_path / "a.tar", {"1.jpg": b"x", "1.CLS": b"3", "2.cls": long, "d.x/3.json": b"{}"})
    for _ in range(2):
        members = members_of(tmp_path / "a.tar", ENDINGS, tmp_path / "lists")
        assert [(m.name, m.size, m.content) for m in members] == [
            ("1.jpg", 1, None), ("1.CLS", 1, b"3"), ("2.cls", len(long), None),
            ("d.x/3.json", 2, b"{}"),
        ]  # fmt: skip
        assert all(member.is_file for member in members)
    # other endings need another list
    assert members_of(tmp_path / "a.tar", (), tmp_path / "lists")[1].content is None


def test_what_has_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists, young, strange = tmp_path / "lists", tmp_path / "young.tar", tmp_path / "strange.tar"
    pack(young, {"1.jpg": b"x"})
    expected = [Member("1.jpg", True, 512, 1)]
    assert members_of(young, ENDINGS, lists) == expected and not lists.exists()
    monkeypatch.setattr("sip.dataset.tar_members.SETTLED", -1)
    pack(strange, {"\udcff.jpg": b"x"})  # no name in UTF-8
    assert members_of(strange, ENDINGS, lists)[0].name == "\udcff.jpg" and not lists.exists()
    pack(tmp_path / "empty.tar", {})
    for _ in range(2):
        assert members_of(tmp_path / "empty.tar", ENDINGS, lists) == []
    (tmp_path / "file").touch()
    assert members_of(young, ENDINGS, tmp_path / "file" / "lists") == expected  # cannot be made

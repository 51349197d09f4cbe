"""A shard appears as a whole, whichever way its images are stored, and says where each one is."""

import gc
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sip
from sip.core import tars
from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.store.place import Folder
from sip.store.shards import STORAGES, read_columns, read_rows
from sip.store.writer import ShardWriter


def payload(number: int) -> bytes:
    """Return a PNG of its own size and pixels."""
    pixels = np.random.default_rng(number).integers(0, 256, (4 + number, 5, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def row(number: int, **changes: object) -> dict:
    return {
        "key": f"k{number}",
        "label": number,
        "caption": "é, a dog",
        "payload": payload(number),
        "suffix": ".png",
    } | changes


def writer(folder: Path, storage: str) -> ShardWriter:
    for part in ("tmp", "shards"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return ShardWriter(Folder(folder), "owner", storage)


def written(folder: Path, storage: str, rows: list[dict]) -> Path:
    shard = writer(folder, storage)
    for one in rows:
        shard.add(one)
    shard.commit(sorted(one["key"] for one in rows))
    return folder / "shards" / shard.name


def all_rows(shard: Path) -> list[dict]:
    return list(read_rows(shard, set(read_columns(shard, ["key"])["key"])))


def interrupt_once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    """Let the next call of `owner.name` do nothing but raise."""

    def interrupted(*_args: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize("storage", STORAGES)
def test_rows_come_back_with_their_bytes(tmp_path: Path, storage: str) -> None:
    numbers = [3, 1, 2]
    shard = written(tmp_path, storage, [*map(row, numbers), row(0, payload=None)])
    rows = all_rows(shard)
    assert [one["key"] for one in rows] == ["k0", "k1", "k2", "k3"]
    assert rows[0] | {"caption": ""} == {
        "key": "k0", "label": 0, "caption": "", "file": None, "file_sha256": None,
    }  # fmt: skip
    for number, one in enumerate(rows[1:], start=1):
        assert os.path.isabs(one["file"])
        assert tars.read_bytes(one["file"]) == payload(number)
        assert one["file_sha256"] == hashlib.sha256(payload(number)).hexdigest()
        assert read_rgb(one["file"], None).size == (5, 4 + number)
    assert len(os.listdir(shard)) == (4 if storage == "files" else 2)
    assert os.listdir(tmp_path / "tmp") == []


def test_storages_differ_in_nothing_but_the_place(tmp_path: Path) -> None:
    first, second = (
        all_rows(written(tmp_path / storage, storage, [row(n) for n in range(5)]))
        for storage in STORAGES
    )
    for one, other in zip(first, second, strict=True):
        assert tars.read_bytes(one.pop("file")) == tars.read_bytes(other.pop("file"))
        assert one == other


def test_a_tar_shard_is_plain_and_depends_on_its_rows_alone(tmp_path: Path) -> None:
    rows = [row(2), row(7, payload=None), row(5)]
    shard = written(tmp_path / "a", "webdataset", rows)
    again = written(tmp_path / "b", "webdataset", rows)
    assert (shard / "images.tar").read_bytes() == (again / "images.tar").read_bytes()
    with tarfile.open(shard / "images.tar") as file:
        members = file.getmembers()
        assert [one.name for one in members] == ["k2.png", "k2.json", "k5.png", "k5.json"]
        for one in members:
            assert (one.mtime, one.uid, one.gid, one.uname, one.mode) == (0, 0, 0, "", 0o644)
        read = {one.name: file.extractfile(one).read() for one in members}
    assert read["k5.png"] == payload(5)
    stored = json.loads(read["k5.json"])
    assert (stored["caption"], stored["label"], stored["file"]) == ("é, a dog", 5, "k5.png")
    assert stored["file_sha256"] == hashlib.sha256(payload(5)).hexdigest()
    done = subprocess.run(["tar", "-tf", shard / "images.tar"], capture_output=True, check=True)
    assert done.stdout.split() == [b"k2.png", b"k2.json", b"k5.png", b"k5.json"]


def test_headers_are_those_of_tarfile() -> None:
    for name in ("", "a.png", "a/b.json", "\xfc" * 50, "x" * 100, "\udcff.png", "d/" + "y" * 99):
        for size in (0, 1, 511, 512, 513, 70_000):
            info = tarfile.TarInfo(name)
            info.size = size
            block = info.tobuf(tarfile.USTAR_FORMAT)
            assert tars.member(name, bytes(size)) == block + bytes(-(-size // 512) * 512)
    with pytest.raises(ValueError, match="name is too long"):
        tars.member("x" * 101, b"")


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the library leaves files open
def test_the_webdataset_library_reads_a_tar_shard(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    shard = written(tmp_path, "webdataset", [row(n) for n in range(3)])
    url = str(shard / "images.tar")
    samples = list(webdataset.WebDataset(url, shardshuffle=False, empty_check=False).decode("pil"))
    assert [one["__key__"] for one in samples] == ["k0", "k1", "k2"]
    assert [one["json"]["label"] for one in samples] == [0, 1, 2]
    assert [one["png"].size for one in samples] == [(5, 4), (5, 5), (5, 6)]
    gc.collect()


@pytest.mark.parametrize("storage", STORAGES)
def test_rows_without_images_need_no_more_than_the_table(tmp_path: Path, storage: str) -> None:
    shard = written(tmp_path, storage, [{"key": "a"}, row(1, payload=None)])
    assert os.listdir(shard) == ["rows.parquet"]
    assert writer(tmp_path, storage).commit([]) is None
    assert len(os.listdir(tmp_path / "shards")) == 1 and os.listdir(tmp_path / "tmp") == []


def cut_in_the_middle(file: Path) -> None:
    """Leave what an interrupted write leaves: half of a member."""
    whole = file.read_bytes() if file.exists() else b""
    file.write_bytes(whole + tars.member("k9.png", payload(9))[:700])


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("storage", STORAGES)
def test_an_interrupted_add_leaves_nothing(
    tmp_path: Path, storage: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = writer(tmp_path, storage)
    shard.add(row(1))
    target = (Path, "write_bytes") if storage == "files" else (tars, "reference")
    interrupt_once(monkeypatch, *target)
    with pytest.raises(KeyboardInterrupt):
        shard.add(row(9))
    unfinished = next((tmp_path / "tmp").iterdir())
    cut_in_the_middle(unfinished / ("k9.png" if storage == "files" else "images.tar"))
    if goes_on:
        shard.add(row(2))
    shard.commit(["k1", "k2", "k9"])
    expected = ["k1", "k2"] if goes_on else ["k1"]
    there = tmp_path / "shards" / shard.name
    assert [one["key"] for one in all_rows(there)] == expected
    names = sorted(os.listdir(there))
    if storage == "webdataset":
        with tarfile.open(there / "images.tar") as file:
            names = sorted(set(file.getnames()))
        assert (there / "images.tar").stat().st_size % 512 == 0
    assert sorted(name for name in names if "png" in name) == [f"{key}.png" for key in expected]
    for one in all_rows(there):
        assert tars.read_bytes(one["file"]) == payload(one["label"])


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (os, "rename"), (tars, "END")])
def test_an_interrupted_commit_is_completed(
    tmp_path: Path, owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = writer(tmp_path, "webdataset")
    for number in range(3):
        shard.add(row(number))
    if name == "END":  # between two writes to the tar file
        monkeypatch.setattr(ShardWriter, "_close_tar", _closed_after_an_interrupt(monkeypatch))
    else:
        interrupt_once(monkeypatch, owner, name)
    with pytest.raises(KeyboardInterrupt):
        shard.commit(["k0", "k1", "k2"])
    there = tmp_path / "shards" / shard.name
    assert [tars.read_bytes(one["file"]) for one in all_rows(there)] == [*map(payload, range(3))]
    with tarfile.open(there / "images.tar") as file:
        assert len(file.getnames()) == 6


def _closed_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[ShardWriter], bool]:
    close = ShardWriter._close_tar

    def closed(shard: ShardWriter) -> bool:
        monkeypatch.undo()
        close(shard)
        raise KeyboardInterrupt

    return closed


@pytest.mark.parametrize("storage", STORAGES)
def test_a_full_disk_is_one_line_and_nothing_stays(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = writer(tmp_path, storage)
    shard.add(row(1))

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot write to .*No space left on device; make room"):
        shard.commit(["k1"])
    assert os.listdir(tmp_path / "tmp") == os.listdir(tmp_path / "shards") == []


def test_what_makes_no_member_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="storage: must be one of files, webdataset, got 'zip'"):
        writer(tmp_path, "zip")
    shard = writer(tmp_path, "webdataset")
    with pytest.raises(ValueError, match="'a.b' has a dot"):
        shard.add(row(1, key="a.b"))
    with pytest.raises(ValueError, match="make no file name"):
        shard.add(row(1, key="../a"))
    with pytest.raises(ValueError, match="name is too long"):
        shard.add(row(1, key="a" * 200))
    shard.add(row(1))
    shard.commit(["k1"])
    assert len(all_rows(tmp_path / "shards" / shard.name)) == 1


def test_references_name_members_and_nothing_else(tmp_path: Path) -> None:
    assert tars.split_reference("/a b/x.tar::512:7") == ("/a b/x.tar", 512, 7)
    for path in ("/a/x.tar", "/a/x.png::1:2", "/a/x.tar::1", "/a/x.tar::-1:2", "::1:2"):
        assert tars.split_reference(path) is None
    assert tars.reference(tmp_path / "x.tar", 1024, 3) == f"{tmp_path}/x.tar::1536:3"
    (tmp_path / "x.tar").write_bytes(tars.member("a.txt", b"hello") + tars.END)
    assert tars.read_bytes(tmp_path / "x.tar::512:5") == b"hello"
    with pytest.raises(ValueError, match=r"x\.tar should hold 9999 bytes at 512, holds"):
        tars.read_bytes(f"{tmp_path}/x.tar::512:9999")
    with pytest.raises(FileNotFoundError):
        tars.read_bytes(f"{tmp_path}/none.tar::512:1")


def test_random_access_from_many_threads_keeps_few_files_open(tmp_path: Path) -> None:
    rows = []
    for number in range(tars.MAX_OPEN + 20):
        rows += all_rows(written(tmp_path, "webdataset", [row(number)]))
    order = np.random.default_rng(0).permutation(np.arange(len(rows)).repeat(20))
    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda n: tars.read_bytes(rows[n]["file"]), order))
    assert len(os.listdir("/proc/self/fd")) <= before + tars.MAX_OPEN
    wanted = [payload(number) for number in range(len(rows))]
    assert all(data == wanted[n] for n, data in zip(order, read, strict=True))


KILLED = """
import os, sys
from pathlib import Path
from sip.store.place import Folder
from sip.store.writer import ShardWriter

folder = Path(sys.argv[1])
(folder / "shards").mkdir()
shard = ShardWriter(Folder(folder), "owner", "webdataset")
for number in range(int(sys.argv[2])):
    shard.add({"key": f"k{number}", "payload": b"x" * 100, "suffix": ".png"})
rename = os.rename
def killed(*paths):
    os.kill(os.getpid(), 9)
os.rename = killed
shard.commit(["k0"])
"""


def test_a_process_killed_before_the_rename_shows_nothing(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(Path(sip.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "3"], env=env, check=False)
    assert done.returncode == -9
    assert os.listdir(tmp_path / "shards") == []

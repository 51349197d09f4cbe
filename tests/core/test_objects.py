"""Objects in a store: repeated if it fails, refused in one line, and kept on this machine."""

import os
import threading
import time
from pathlib import Path

import pytest

from sip.core import object_cache, objects
from sip.core.errors import DamagedError, UserError
from sip.core.tars import read_checked
from sip.core.uri import Uri, place_of
from tests.s3 import Fault, S3Server

DATA = os.urandom(5000)


@pytest.fixture
def place(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Uri:
    monkeypatch.setattr(objects, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(objects, "REQUESTS", 2)
    made = place_of(bucket)
    assert isinstance(made, Uri)
    return made


def asked(server: S3Server, method: str, uri: Uri) -> int:
    """Return how often an object was asked for."""
    return server.requests.count((method, f"/{uri.path}"))


def test_what_is_written_is_listed_read_copied_and_deleted(place: Uri, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    objects.write(place / "a/one", tmp_path / "file")
    objects.write(place / "two", b"")
    objects.copy(place / "a/one", place / "b/one")
    listed = [(there.name, there.size) for there in objects.listing(place)]
    assert listed == [("a/one", 5000), ("b/one", 5000), ("two", 0)]
    assert abs(objects.modified(place / "two") - time.time()) < 60
    assert objects.folders(place) == ["a", "b"] and objects.listing(place / "none") == []
    assert objects.read(place / "a/one") == DATA
    assert objects.read(place / "b/one", 4000, 100) == DATA[4000:4100]
    objects.write(place / "a/one", b"shorter")
    assert objects.read(place / "a/one") == b"shorter"
    objects.delete(place / "a/one")
    objects.delete(place / "a/one")
    for read in (objects.read, objects.size_of):
        with pytest.raises(FileNotFoundError):
            read(place / "a/one")


@pytest.mark.parametrize("kind", ["500", "503", "cut", "dropped", "lost"])
def test_a_request_that_fails_is_repeated(place: Uri, s3_server: S3Server, kind: str) -> None:
    with s3_server.failing(Fault(kind, "PUT", "one", 3)):
        objects.write(place / "one", DATA)
        assert s3_server.failed == [kind] * 3
    assert objects.read(place / "one") == DATA


def test_a_store_that_does_not_answer_is_one_line(place: Uri, s3_server: S3Server) -> None:
    with s3_server.failing(Fault("503", "PUT", "one", 99)), pytest.raises(UserError) as error:
        objects.write(place / "one", DATA)
    line = str(error.value)
    assert line.startswith(f"{place}/one: the object store does not answer: AWS Error")
    assert line.endswith("also after 3 attempts; start again when it does: finished work is kept")


def test_a_store_that_refuses_is_not_asked_again(place: Uri, s3_server: S3Server) -> None:
    with s3_server.failing(Fault("403", "GET", "prefix", 99)):
        with pytest.raises(UserError, match="the object store refuses: AWS Error ACCESS_DENIED"):
            objects.listing(place)
        assert s3_server.failed == ["403"]


def test_a_bucket_that_is_not_there_is_named(place: Uri) -> None:
    objects.check_bucket(place, "paths.store")
    with pytest.raises(UserError, match="^paths.store: must be in a bucket that is there, got s3:"):
        objects.check_bucket(Uri("s3", "nowhere/a"), "paths.store")


def test_ranges_are_read_until_a_copy_pays(place: Uri, s3_server: S3Server) -> None:
    objects.write(place / "tar", DATA)
    s3_server.requests.clear()
    for number in range(8):
        assert object_cache.read(f"{place}/tar", number, 10) == DATA[number : number + 10]
    assert asked(s3_server, "GET", place / "tar") == object_cache.WHOLE_AFTER
    assert object_cache.read(f"{place}/tar") == DATA


def test_the_cache_keeps_to_its_limit(
    place: Uri, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIP_CACHE_GIB", str(12_000 / 2**30))  # two of them
    names = [place / str(number) for number in range(3)]
    for uri in names:
        objects.write(uri, DATA)
        assert object_cache.read(str(uri)) == DATA
    folder = object_cache.folder() / "objects"
    assert sum(file.stat().st_size for file in folder.iterdir()) == 10_000
    s3_server.requests.clear()
    assert all(object_cache.read(str(uri)) == DATA for uri in names)
    # What is in use is not pushed out, so that two of three are still hits.
    assert [asked(s3_server, "GET", uri) for uri in names] == [0, 0, 1]
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    object_cache.read(str(names[2]))
    s3_server.requests.clear()
    object_cache.read(str(names[2]))
    assert asked(s3_server, "GET", names[2]) == 0


def test_processes_copy_an_object_once(place: Uri, s3_server: S3Server) -> None:
    objects.write(place / "tar", DATA)
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(object_cache.read(f"{place}/tar")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 6
    assert len(list((object_cache.folder() / "objects").iterdir())) == 1


def test_a_damaged_copy_is_read_again_and_a_damaged_object_named(place: Uri) -> None:
    import hashlib

    file, sha256 = f"{place}/a.tar::8:100", hashlib.sha256(DATA[8:108]).hexdigest()
    objects.write(place / "a.tar", DATA)
    object_cache.read(f"{place}/a.tar")
    (copy,) = (object_cache.folder() / "objects").iterdir()
    copy.write_bytes(bytes(5000))
    assert read_checked(file, sha256) == DATA[8:108]
    objects.write(place / "a.tar", bytes(5000))
    object_cache.forget(f"{place}/a.tar")
    with pytest.raises(DamagedError, match=r"a\.tar::8:100 is damaged"):
        read_checked(file, sha256)


def test_a_disk_without_space_is_no_error(place: Uri, monkeypatch: pytest.MonkeyPatch) -> None:
    objects.write(place / "one", DATA)
    monkeypatch.setenv("SIP_CACHE", "/proc/nowhere")
    assert object_cache.read(f"{place}/one") == DATA


def test_settings_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIP_CACHE", "before")
    monkeypatch.setenv("SIP_CACHE_GIB", "1")
    object_cache.configure({"store": "store", "cache": None, "cache_gib": 3})
    assert object_cache.folder() == Path("before").absolute()
    object_cache.configure({"cache": tmp_path})
    assert object_cache.folder() == tmp_path and os.environ["SIP_CACHE_GIB"] == "3"
    assert object_cache.on_disk(Uri("s3", "bucket/a")) == tmp_path / "s3/bucket/a"
    with pytest.raises(UserError, match="paths.cache_gib: must be >= 0, got -1"):
        object_cache.configure({"cache_gib": -1})
    object_cache.configure({"cache": None, "cache_gib": None})  # of another job of the process
    assert object_cache.folder() == Path("before").absolute()
    assert os.environ["SIP_CACHE_GIB"] == "1"
    object_cache.configure({"cache": tmp_path})
    monkeypatch.setenv("SIP_CACHE", "meanwhile")  # by the program
    object_cache.configure({"cache": None})
    assert object_cache.folder() == Path("meanwhile").absolute()
    object_cache.configure({"cache": tmp_path})
    monkeypatch.delenv("SIP_CACHE")
    object_cache.configure({"cache": None})
    assert "SIP_CACHE" not in os.environ

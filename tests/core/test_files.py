"""A disk that cannot be written is told in one line, however a library says so."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from sip.core.errors import UserError
from sip.core.files import (
    atomic_file,
    check_can_be_made,
    check_folders,
    check_output,
    disk_error,
    held,
    write_atomically,
)


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/there/file")


def test_what_python_says() -> None:
    line = disk_error(full())
    assert line is not None and line.startswith("cannot use /there/file: the disk is full; make")
    assert "start again: finished work is kept" in line
    assert "Permission denied" in str(disk_error(PermissionError(errno.EACCES, "", "/x")))


def test_what_is_beneath_another_error() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise full()
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904  (as torch does)
    assert "/there/file" in str(disk_error(caught.value))


def test_what_safetensors_says() -> None:
    error = SafetensorError("Error while serializing: No space left on device (os error 28)")
    assert "the disk is full" in str(disk_error(error))


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError(errno.ENOENT, "x"), None])
def test_all_else_is_something_else(error: BaseException | None) -> None:
    assert disk_error(error) is None


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_whole_or_as_it_was(sync: bool, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "a.txt"
    with atomic_file(file, sync) as part, atomic_file(file, sync) as other:
        other.write_text("other")
        part.write_text("new")
        assert not file.exists()
    with pytest.raises(ValueError, match="stop"), atomic_file(file, sync) as part:
        part.write_text("half")
        raise ValueError("stop")
    assert file.read_text() == "new"
    write_atomically(file, "ö", sync)
    assert file.read_bytes() == "ö".encode()
    write_atomically(file, b"bytes", sync)
    assert file.read_text() == "bytes"
    assert os.listdir(file.parent) == ["a.txt"]


def test_an_output_into_nowhere_is_refused(tmp_path: Path) -> None:
    for file in (tmp_path / "a", tmp_path / "new" / "a", Path("new/newer/a")):
        check_output(file)
    with pytest.raises(UserError, match=f"^output: must be .* there is no {tmp_path}/new: make it"):
        check_output(tmp_path / "new" / "newer" / "a")
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    for file, words in (
        (tmp_path / "file" / "a.csv", "must be a folder that can be made and written"),
        (Path("/proc/a.csv"), "must be a folder that can be made and written, got /proc"),
        (Path("/proc/new/a.csv"), "must be a folder that can be made and written, got /proc/new"),
        (tmp_path / "folder.csv", "must be a file, got the folder"),
    ):
        with pytest.raises(UserError, match=f"^output: {words}"):
            check_output(file)


def test_a_folder_that_cannot_be_made_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, reason in (
        (tmp_path / "file" / "store", "it is a file"),
        (tmp_path / "file", "it is a file"),
        (Path("/proc/store"), "no folder can be made here"),
    ):
        words = f"paths.store: must be a folder .*, got {place} .*: {reason}.; set paths.store="
        with pytest.raises(UserError, match=words):
            check_can_be_made(place, "paths.store")
    check_can_be_made(tmp_path / "a" / "b", "paths.store")
    check_can_be_made(Path("/proc/self"), "paths.store")  # there, if read-only
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_held_by_one_until_its_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(tmp_path) as is_locked:
        assert is_locked
        with pytest.raises(BlockingIOError), held(tmp_path):
            pass
    with held(tmp_path):
        pass

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")  # as NFS says of a folder

    monkeypatch.setattr("fcntl.flock", refuse)
    with held(tmp_path) as is_locked:
        assert not is_locked


@pytest.mark.parametrize("value", [None, 7, ["a"]])
def test_what_is_no_folder_is_one_line(tmp_path: Path, value: object) -> None:
    words = r"^paths.store: must be a folder, got .*; set paths.store=FOLDER$"
    with pytest.raises(UserError, match=words):
        check_folders({"store": value, "runs": str(tmp_path)})

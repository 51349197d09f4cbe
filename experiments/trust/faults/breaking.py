"""Breaks the n-th touch of the disk: every rename, every removal, every write, and half of it.

Works within one process: the functions that Python code, pyarrow and safetensors write with are
replaced. Only what lies below one folder counts.
"""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

WRITING = set("wax+")


class Breaker:
    """Counts the touches of a folder and acts at one of them.

    Args:
        folder: What counts lies below it.
        at: Number of the touch to act at, from 1; 0 only counts.
        full: The disk is full from then on, in place of a kill.
    """

    def __init__(self, folder: Path, at: int, full: bool = False) -> None:
        self.folder, self.at, self.full = str(folder), at, full
        self.num = 0

    def counts(self, path: Any) -> bool:
        """Tell whether a path lies below the folder."""
        try:
            return os.path.abspath(os.fsdecode(path)).startswith(self.folder)
        except TypeError:  # a descriptor
            return False

    def touch(self, half: Callable[[], None] | None = None) -> None:
        """Note a touch; at the chosen one do `half` of it and die, or say that the disk is full."""
        self.num += 1
        if self.full:
            if 0 < self.at <= self.num and half is not None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.folder)
        elif self.num == self.at:
            if half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Replace what writes, for the rest of this process."""
        for name in ("rename", "replace", "link", "unlink"):
            setattr(os, name, self._moving(getattr(os, name)))
        real = io.open

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            stream = real(file, mode, *args, **kwargs)
            return Stream(stream, self) if WRITING & set(mode) and self.counts(file) else stream

        io.open = builtins.open = opened  # type: ignore[assignment]
        self._replace_libraries(real)

    def _moving(self, real: Callable[..., None]) -> Callable[..., None]:
        def moved(path: Any, *args: Any, **kwargs: Any) -> None:
            if self.counts(path):
                self.touch()
            real(path, *args, **kwargs)
            if self.counts(path):
                self.touch()

        return moved

    def _replace_libraries(self, real_open: Callable[..., Any]) -> None:
        """Replace those that write below Python."""
        write_table, write_rows = pq.write_table, pq.ParquetWriter.write_table

        def halved(path: Any, data: bytes) -> Callable[[], None]:
            def write() -> None:
                with real_open(path, "wb") as file:
                    file.write(data[: len(data) // 2])

            return write

        def table(rows: Any, where: Any, **kwargs: Any) -> None:
            if isinstance(where, str | os.PathLike) and self.counts(where):
                stream = io.BytesIO()
                write_table(rows, stream, **kwargs)
                self.touch(halved(where, stream.getvalue()))
            write_table(rows, where, **kwargs)

        def chunk(writer: Any, *args: Any, **kwargs: Any) -> None:
            if self.counts(str(writer.where)):
                self.touch(lambda: None)
            write_rows(writer, *args, **kwargs)

        pq.write_table, pq.ParquetWriter.write_table = table, chunk


class Stream:
    """A file that is open for writing; its 1st, 2nd, 4th, 8th, ... writes are touches.

    torch writes a checkpoint in a thousand pieces.
    """

    def __init__(self, stream: Any, breaker: Breaker) -> None:
        self.stream, self.breaker, self.num = stream, breaker, 0

    def write(self, data: Any) -> int:
        """Write, unless the breaker acts."""

        def half() -> None:
            self.stream.write(data[: len(data) // 2])
            self.stream.flush()

        self.num += 1
        if not self.num & (self.num - 1):
            self.breaker.touch(half)
        return self.stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def __iter__(self) -> Any:
        return iter(self.stream)

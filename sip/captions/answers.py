"""Answers that are not in the store yet, in files that outlive a killed process.

A shard holds many rows, and an answer costs money or seconds. So each is written as it arrives, a
line of JSON; a later run reads the lines and asks only for what is missing. A file is deleted when
all its rows are in the store.
"""

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Container
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Self

from sip.captions.service import Answer
from sip.core.files import plain_disk_errors

Place = tuple[str, int]  # key of the row, number of the caption


class Answers:
    """The answers of a stage; one file for each process that asks.

    Args:
        folder: Holds the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self.known = {place: answer for file in self._files() for place, answer in _read(file)}

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))

    def add(self, place: Place, answer: Answer) -> None:
        """Write an answer; a kill cannot take it back."""
        line = json.dumps([*place, asdict(answer)], ensure_ascii=False) + "\n"
        with self._lock, plain_disk_errors(self.folder):
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                file = self.folder / f"{uuid.uuid4().hex}.jsonl"
                self._file = open(file, "ab", buffering=0)  # noqa: SIM115
                fcntl.flock(self._file, fcntl.LOCK_EX)  # as long as this process writes to it
            self._file.write(line.encode())
            self.known[place] = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    @classmethod
    def tidy(cls, folder: Path, committed: Container[str]) -> None:
        """Delete the files whose rows are all in the store, and which nobody writes to.

        Args:
            folder: Holds the files.
            committed: Keys of the rows in the store.
        """
        for file in sorted(folder.glob("*.jsonl")):
            with suppress(OSError), file.open("rb") as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if all(key in committed for (key, _), _ in _read(file)):
                    file.unlink()
        with suppress(OSError):
            os.rmdir(folder)


def _read(file: Path) -> list[tuple[Place, Answer]]:
    """Return the whole lines of a file; a kill may have left half of the last one."""
    answers = []
    for line in file.read_bytes().splitlines():
        with suppress(ValueError, TypeError):
            key, number, values = json.loads(line)
            answers.append(((str(key), int(number)), Answer(**values)))
    return answers

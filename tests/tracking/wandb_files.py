"""Reads back what W&B wrote offline: LevelDB's log format around protobuf records."""

import json
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

PATIENCE = 60  # s
BLOCK = 32768  # bytes
HEADER = struct.calcsize("<IHB")  # checksum, length, kind
WHOLE, LAST = 1, 4  # kinds of a fragment


def read_records(file: Path) -> list[Any]:
    """Return the records of a `run-<id>.wandb` file."""
    from wandb.proto import wandb_internal_pb2

    data, position, part, records = file.read_bytes(), 7, b"", []
    assert data.startswith(b":W&B")
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:  # padding
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += HEADER
        part += data[position : position + length]
        position += length
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            records.append(record)
            part = b""
    return records


def whole_records(file: Path) -> list[Any]:
    """Return all records, once the service behind W&B has written the last one.

    It goes on for a moment after `finish`, on a busy machine.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(DecodeError):  # half a record is there
            records = read_records(file)
            if any(record.HasField("exit") for record in records):
                return records
        time.sleep(0.1)
    raise AssertionError(f"{file} has no end after {PATIENCE} s")


class OfflineRun:
    """One run as it would be uploaded.

    Args:
        folder: `offline-run-...`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (file,) = folder.glob("*.wandb")
        self.records = whole_records(file)
        (self.run,) = [r.run for r in self.records if r.HasField("run")]
        self.config = {u.key: json.loads(u.value_json) for u in self.run.config.update}
        self.summary: dict[str, Any] = {}
        for record in self.records:
            for update in record.summary.update:
                place, keys = self.summary, list(update.nested_key) or [update.key]
                for key in keys[:-1]:
                    place = place.setdefault(key, {})
                place[keys[-1]] = json.loads(update.value_json)
        self.artifacts = [r.artifact for r in self.records if r.HasField("artifact")]

    def table(self, key: str) -> list[dict[str, Any]]:
        """Return the rows of a table: of its artefact, which holds the images in it, too."""
        (file,) = [
            Path(entry.local_path)
            for artifact in self.artifacts
            if artifact.type == "run_table"
            for entry in artifact.manifest.contents
            if entry.path == f"{key}.table.json"
        ]
        held = json.loads(file.read_text())
        return [dict(zip(held["columns"], row, strict=True)) for row in held["data"]]

    def image(self, key: str) -> Path:
        """Return the file of an image."""
        return self.folder / "files" / self.summary[key]["path"]

    def texts(self) -> str:
        """Return all that would be uploaded as text; where files to upload lie is not."""
        for artifact in self.artifacts:
            for entry in artifact.manifest.contents:
                entry.ClearField("local_path")
        files = [f for f in (self.folder / "files").rglob("*") if f.suffix in (".json", ".txt")]
        return "\n".join([*map(str, self.records), *(file.read_text() for file in files)])


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Return the runs below a run folder, the earliest first."""
    return [OfflineRun(path) for path in sorted((folder / "wandb").glob("offline-run-*"))]

"""The images of a run, checked as they are read, with their provenance."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.tars import read_bytes, split_reference
from sip.records.read import IMAGES, read_run
from sip.records.summary import GenerationSummary

ID_LENGTH = 24  # hex digits, as of an image_id
ID = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")  # of a generated image: becomes a file's name
MAX_CLASSES = 1_000_000
SIGNATURES = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp"}

# Column -> (type, what it holds); the provenance of each image, in every format.
COLUMNS = {
    "kind": ("string", "generated, or real for an original"),
    "id": ("string", "of the image"),
    "sample_id": ("string", "of the original in the source data set"),
    "label": ("int64", "class index"),
    "class_name": ("string", "class in words"),
    "sha256": ("string", "of the image's file"),
    "source_sha256": ("string", "of the original's content"),
    "variant": ("int64", "0, 1, ...: which of the images generated from this original"),
    "prompt": ("string", "the text that it was generated with"),
    "spans": ("string", "the same as JSON, [[text, weight], ...]; 1 is plain text"),
    "negative_prompt": ("string", "in place of no text, in the guidance"),
    "guidance_scale": ("float64", "of classifier-free guidance; 1 and below: none"),
    "noise_rate": ("float64", "share of the noise schedule that was run, in [0, 1]"),
    "seed": ("int64", "of this image's noise"),
    "caption": ("string", "of the original, the one that was kept"),
    "similarity": ("float64", "of caption and original, cosine, in [-1, 1]"),
    "candidates": ("string", "all captions with their similarities, JSON"),
    "unet_evaluations": ("int64", "forward passes of the U-Net"),
}


@dataclass(frozen=True)
class ExportImage:
    """A image to export.

    Attributes:
        name: File name without its ending; unique in the export.
        file: Current place: a path, or a reference into a tar file.
        expected: SHA-256 of the file; None for originals, whose data set has just hashed them.
        facts: One value for each of `COLUMNS`, with "sha256" still to be filled in for originals.
    """

    name: str
    file: str
    expected: str | None
    facts: dict[str, Any]

    def read(self) -> tuple[bytes, dict[str, Any]]:
        """Return the file's bytes and the complete facts.

        Raises:
            UserError: The file is missing, or is not what was generated.
        """
        try:
            data = read_bytes(self.file)
        except (OSError, ValueError) as error:
            raise UserError(
                f"export: cannot read the image {self.file}: {error}; {self._remedy()}"
            ) from error
        sha256 = hashlib.sha256(data).hexdigest()
        if self.expected not in (None, sha256):
            raise UserError(
                f"export: the image {self.file} is damaged: its SHA-256 must be {self.expected}, "
                f"got {sha256}; {self._remedy()}"
            )
        return data, self.facts | {"sha256": sha256}

    def suffix(self, data: bytes) -> str:
        """Return the ending of the file's name; members of tar files are known by their bytes."""
        if split_reference(self.file) is None:
            return Path(self.file).suffix.lower()
        return next((suffix for start, suffix in SIGNATURES.items() if data.startswith(start)), "")

    def _remedy(self) -> str:
        if self.expected is None:
            return "put the original back, or use originals=false"
        tar = split_reference(self.file)
        shard = Path(tar[0] if tar else self.file).parent
        return (
            f"delete the shard {shard} and generate it again: python -m sip.generate as for the run"
        )


class Source:
    """A finished run.

    Args:
        run: Its folder.
        store: Folder of the store; None for the one in the run's configuration.
        originals: Also the real training images.

    Attributes:
        record: The run.
        num: Images to export.
        counts: Images to export by label and kind.
        failed: Images that could not be generated, by reason.
        rejected: Images that the run's filter took out, by reason.

    Raises:
        UserError: It is no finished run, or the store or the data set is not there.
    """

    def __init__(self, run: Path, store: Path | None, originals: bool) -> None:
        for name in (IMAGES, "summary.json", "config.yaml"):
            if not (run / name).is_file():
                raise UserError(
                    f"run: must be the folder of a finished run with {name}, got {run}; "
                    "name one with run=runs/<name>"
                )
        self.record, self.originals = read_run(run), originals
        self.store = (store or self.record.store).absolute()
        self.counts: Counter[tuple[int, str]] = Counter()
        self.failed: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self._names: dict[int, str] = {}
        self._hashes: dict[str, str] = {}  # of the originals, by sample_id
        try:
            self._look()
        except (KeyError, TypeError, OSError, pa.ArrowException) as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"export: expected the images of a run in {run}/{IMAGES} "
                f"({type(error).__name__}: {said}); the run is damaged: run it again"
            ) from error
        summary = self.record.summary
        if isinstance(summary, GenerationSummary):  # those too that never got onto the list
            self.failed = Counter(summary.failures)
        if self.num == 0:
            raise UserError(f"run: must have generated images, got none in {run}")
        if not self.store.is_dir():
            raise UserError(
                f"store: must be a folder, got {self.store}; say where the store is with store=..."
            )

    @property
    def num(self) -> int:
        """Return the number of images to export."""
        return self.counts.total()

    @cached_property
    def class_names(self) -> list[str]:
        """The classes in words, by label, each once; all that the run knows of."""
        names: list[str] = []
        for label in range(max(self._names) + 1):
            name = self._names.get(label, f"class {label}")
            names.append(f"{name} ({label})" if name in names else name)
        return names

    def images(self) -> Iterator[ExportImage]:
        """Yield the images to export; few rows are in memory at a time."""
        paths = self._original_paths() if self.originals else {}
        used: Counter[str] = Counter()
        for row in self.record.iterate_images():
            if not self._is_exported(row):
                continue
            real = row["kind"] == "real"
            # A image that a data set holds twice is generated once and used twice.
            own = digest(row["id"])[:ID_LENGTH]
            name = f"real-{own}" if real else row["id"] if ID.fullmatch(row["id"]) else own
            used[name] += 1
            unique = name if used[name] == 1 else f"{name}-{used[name]}"
            file = paths[row["id"]] if real else os.path.join(self.store, row["file"])
            yield ExportImage(unique, file, None if real else row["sha256"], self._facts(row))

    def _facts(self, row: dict[str, Any]) -> dict[str, Any]:
        spans = json.loads(row["spans"]) if row.get("spans") else None
        added = {
            "source_sha256": self._hashes.get(row["sample_id"]),
            "prompt": None if spans is None else "".join(text for text, _ in spans),
        }
        return {name: {**row, **added}.get(name) for name in COLUMNS}

    def _is_exported(self, row: dict[str, Any]) -> bool:
        if row["kind"] == "real":
            return self.originals and row["split"] == "train"
        return row.get("status", "ok") == "ok" and row["file"] is not None

    def _look(self) -> None:
        """Count, and learn the classes and the originals' hashes."""
        for row in self.record.iterate_images():
            if not 0 <= row["label"] < MAX_CLASSES:
                raise KeyError(f"label {row['label']}")
            self._names.setdefault(row["label"], str(row["class_name"]))
            if row["kind"] == "real" and row["split"] == "train":
                self._hashes[row["sample_id"]] = row["sha256"]
            if self._is_exported(row):
                self.counts[row["label"], row["kind"]] += 1
            elif row["kind"] == "generated" and row.get("status") == "rejected":
                self.rejected[row["reason"]] += 1
            elif row["kind"] == "generated":
                self.failed[row.get("reason") or "failed"] += 1

    def _original_paths(self) -> dict[str, str]:
        """Return sample_id -> path, from the run's data set as it is now."""
        from sip.config.build import build

        dataset = self.record.config.get("dataset")
        if not isinstance(dataset, dict):
            raise UserError(
                f"{self.record.folder}/config.yaml: dataset: must be a data set, got {dataset!r}; "
                "use originals=false"
            )
        samples = build(dataset).samples("train")
        found = {sample.sample_id: sample.sha256 for sample in samples}
        if changed := [key for key, sha256 in self._hashes.items() if found.get(key) != sha256]:
            raise UserError(
                f"export: {len(changed)} of {len(self._hashes)} originals are missing or have "
                f"changed since the run, first {changed[0]}; put them back, or originals=false"
            )
        return {sample.sample_id: sample.path for sample in samples}

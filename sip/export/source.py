"""The images of a run, checked as they are read, with their provenance."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from operator import itemgetter
from pathlib import Path, PurePath
from typing import Any

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.paths import SUMMARY, require_run
from sip.core.spill import ByKey, Joined, Spilled
from sip.core.uri import Place
from sip.dataset.base import Split
from sip.export.originals import FIX, Originals, as_used, fitting_suffix, original_name
from sip.export.provenance import stamped, suffix_of
from sip.filter.review import REVIEW, read_review, reason_to_reject
from sip.records.files import REMEDY, ListedImage, listed_image, one_line, pairs_of
from sip.records.parquet import REQUIRED
from sip.records.read import IMAGES, read_run
from sip.records.summary import GenerationSummary

ID_LENGTH = 24  # hex digits, as of an image_id
ID = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")  # of a generated image: becomes a file's name
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
MAX_CLASSES = 1_000_000
NUM_RESOLVED = 64  # paths of tar files whose links are looked at once
GENERATED = (".png", ".jpg", ".webp")  # endings of generated images

# Column -> (type, what it holds); the provenance of each image, in every format.
COLUMNS = {
    "kind": (
        "string",
        "generated; real, an original; or retrieved, a real image in place of a generated one",
    ),
    "part": ("string", "train, val or test; generated images are all in train"),
    "id": ("string", "ID of the image"),
    "sample_id": ("string", "ID of the original in the source data set"),
    "label": ("int64", "class index"),
    "class_name": ("string", "class in words"),
    "source_label": ("int64", "class index of its original, of an image that shows another class"),
    "source_class_name": ("string", "the same in words"),
    "label_share": (
        "float64",
        "share of `label` in such an image's label, the rest is the original's",
    ),
    "sha256": ("string", "SHA-256 of the image's file"),
    "source_sha256": ("string", "SHA-256 of the original's content"),
    "converted": ("bool", "whether an original was written again, as upright 8-bit RGB"),
    "variant": ("int64", "0, 1, ...: which of the images generated from this original"),
    "prompt": ("string", "the text that it was generated with"),
    "spans": ("string", "the same as JSON, [[text, weight], ...]; 1 is plain text"),
    "negative_prompt": ("string", "text that the guidance leads away from"),
    "guidance_scale": ("float64", "scale of classifier-free guidance; 1 and below: no guidance"),
    "noise_rate": ("float64", "share of the noise schedule that was run, in [0, 1]"),
    "seed": ("int64", "seed of this image's noise"),
    "caption": ("string", "caption of the original that was chosen"),
    "similarity": ("float64", "cosine of caption and original, in [-1, 1]"),
    "candidates": ("string", "all captions with their similarities, JSON"),
    "unet_evaluations": ("int64", "forward passes of the U-Net"),
}


@dataclass(frozen=True)
class ExportFile:
    """The file of an exported image.

    Attributes:
        data: Bytes of the file.
        suffix: Ending of its name.
        facts: One value for each of `COLUMNS`.
    """

    data: bytes
    suffix: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class ExportImage:
    """An image to export.

    Attributes:
        stem: Name that the file should have, without its ending.
        suffix: Ending of its present name; "" for a generated image.
        listed: Its place, and what it must be.
        is_converted: Whether it is written as the pipeline sees it, if its file differs.
        facts: One value for each of `COLUMNS`; "sha256" and "converted" are still None.
        stamp: Adds the facts to the file of a generated image; None leaves files as they are.
    """

    stem: str
    suffix: str
    listed: ListedImage
    is_converted: bool
    facts: dict[str, Any]
    stamp: Callable[[bytes, dict[str, Any]], bytes] | None = None

    def read(self) -> ExportFile:
        """Return the file to write.

        Raises:
            UserError: The file is missing, is not the one of the run, or is no image.
        """
        data, suffix, converted = self.listed.content(), self.suffix, False
        try:
            if self.is_converted:
                data, suffix, converted = as_used(data, suffix)
            else:
                known = suffix_of(data) if self.listed.is_generated else None
                suffix = known or fitting_suffix(data, suffix)
            if self.listed.is_generated and suffix not in GENERATED:
                raise ValueError(f"a generated image is a PNG, JPEG or WebP, got {suffix}")
            if self.listed.is_generated and self.stamp is not None:
                data = self.stamp(data, self.facts)
        except ValueError as error:
            fix = REMEDY if self.listed.is_generated else FIX
            raise UserError(
                f"export: cannot read the image {self.listed.file}: {error}; {fix}"
            ) from error
        made = {"sha256": hashlib.sha256(data).hexdigest(), "converted": converted}
        return ExportFile(data, suffix, self.facts | made)


class Source:
    """A finished run.

    Args:
        run: Folder of the run.
        store: The store; None for the one in the run's configuration.
        parts: Parts of the data set to export.
        originals: "none" for generated images only, "as_used" or "copy" for real images too.
        embeds: Whether files of generated images say how they were made.
        review: "keep" or "drop": leaves out what the run's review rejects, and with "drop" what
            it does not decide on. None: it is not read.

    Attributes:
        record: The run.
        counts: Images to export by part, label and kind.
        failed: Images that could not be generated, by reason.
        rejected: Images that the run's filter or the review took out, by reason.
        num_mixed: Generated images to export that show another class than their original's.

    Raises:
        UserError: It is no finished run, or the store or the data set is not there.
    """

    def __init__(
        self,
        run: Path,
        store: Place | None,
        parts: Sequence[Split],
        originals: str,
        embeds: bool = False,
        review: str | None = None,
    ) -> None:
        require_run(run, "run", IMAGES, SUMMARY, "config.yaml")
        self.undecided = review
        self.decisions = read_review(run / REVIEW, "review") if review is not None else {}
        self.record, self.parts, self.originals = read_run(run), tuple(parts), originals
        self.embeds = embeds
        self.store = (store or self.record.store).absolute()
        self.real = Originals(self.record)
        self.counts: Counter[tuple[str, int, str]] = Counter()
        self.failed: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.num_mixed = 0
        self._names: dict[int, str] = {}
        self._hashes: dict[str, Mapping[str, str]] = {}  # part -> sample_id -> of the original
        self._resolved = lru_cache(NUM_RESOLVED)(os.path.realpath)
        try:
            self._look()
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{run}/{IMAGES}: must list the images of a run ({type(error).__name__}: "
                f"{error}); {REMEDY}"
            ) from error
        summary = self.record.summary
        if isinstance(summary, GenerationSummary) and "train" in self.parts:
            # Those too that never got onto the list.
            self.failed = Counter(summary.failures)
        for part in self.parts:
            self._require(part)
        if isinstance(self.store, Path) and not self.store.is_dir():
            raise UserError(
                f"store: must be a folder, got {self.store}; say where the store is with store=..."
            )

    @property
    def num(self) -> int:
        """Number of images to export."""
        return self.counts.total()

    def num_of(self, part: str, kind: str | None = None) -> int:
        """Return the number of images to export of a part, and of a kind."""
        return sum(num for (p, _, k), num in self.counts.items() if p == part and kind in (None, k))

    @cached_property
    def class_names(self) -> list[str]:
        """The classes in words, by label, each once; all that the run knows of."""
        names: dict[str, None] = {}
        for label in range(max(self._names) + 1):
            name = self._names.get(label, f"class {label}")
            while name in names:
                name = f"{name} ({label})"
            names[name] = None
        return list(names)

    def images(self, part: Split) -> Iterator[ExportImage]:
        """Yield the images of a part; few rows are in memory at a time."""
        for row in self._rows(part):
            if row["kind"] == "real":
                sample = self.real.samples(part)[row["id"]]
                original = ListedImage(sample.path, row["sha256"], is_generated=False)
                name = original_name(sample.path)
                is_converted = self.originals == "as_used"
                facts = self._facts(row, part)
                yield ExportImage(name.stem, name.suffix, original, is_converted, facts)
            elif listed := listed_image(self.store, row, self._resolved):
                stem = row["id"] if ID.fullmatch(row["id"]) else digest(row["id"])[:ID_LENGTH]
                facts = self._facts(row, part)
                stamp = self._stamp if row["kind"] == "generated" else None
                yield ExportImage(stem, "", listed, False, facts, stamp)

    @cached_property
    def _stamp(self) -> Callable[[bytes, dict[str, Any]], bytes] | None:
        """What adds the provenance to a generated image's file."""
        if not self.embeds:
            return None
        summary = self.record.summary
        loaded = summary.weights.get("images")
        source = loaded.source if loaded else ""
        model = source if HUB_NAME.fullmatch(source) else PurePath(source).name  # no private path
        return partial(stamped, model=model, recipe=summary.fingerprint)

    def _rows(self, part: Split) -> Iterator[dict[str, Any]]:
        """Yield the rows of the images to export; of parts that the run did not list too."""
        for row in self.record.iterate_images():
            if row["split"] == part and self._is_exported(row):
                yield row
        if self.originals == "none" or part in self._hashes:
            return
        for sample in self.real.samples(part).values():
            yield {
                "kind": "real",
                "id": sample.sample_id,
                "sample_id": sample.sample_id,
                "split": part,
                "label": sample.label,
                "class_name": sample.class_name,
                "sha256": sample.sha256,
            }

    def _facts(self, row: dict[str, Any], part: Split) -> dict[str, Any]:
        spans = pairs_of(row["spans"]) if row.get("spans") else []
        if spans is None:
            got = one_line(row["spans"])
            raise UserError(f"{IMAGES}: spans: must be texts and weights, got {got}; {REMEDY}")
        added = {
            "part": part,
            "source_sha256": row["sha256"]
            if row["kind"] == "real"
            else self._hashes.get(part, {}).get(row["sample_id"]),
            "prompt": "".join(text for text, _ in spans) or None,
            "sha256": None,
        }
        facts = row | added
        return {name: facts.get(name) for name in COLUMNS}

    def _is_exported(self, row: dict[str, Any]) -> bool:
        if row["split"] not in self.parts:
            return False
        if row["kind"] == "real":
            return self.originals != "none"
        is_good = row.get("status", "ok") == "ok" and row["file"] is not None
        return is_good and self._rejection(row) is None

    def _rejection(self, row: dict[str, Any]) -> str | None:
        """Return why the review leaves a generated image out; None if it does not."""
        if self.undecided is None:
            return None
        return reason_to_reject(self.decisions.get(row["id"]), self.undecided)

    def _look(self) -> None:
        """Count, and learn the classes and the originals' hashes."""
        hashes: dict[str, Spilled[tuple[str, str]]] = {}
        for row in self.record.iterate_images():
            if lacking := sorted({*REQUIRED} - row.keys()):
                raise KeyError(*lacking)
            if not 0 <= row["label"] < MAX_CLASSES:
                raise KeyError(f"label {row['label']}")
            self._names.setdefault(row["label"], str(row["class_name"]))
            if row["kind"] == "real":
                hashes.setdefault(row["split"], Spilled()).append((row["sample_id"], row["sha256"]))
            if self._is_exported(row):
                self.counts[row["split"], row["label"], row["kind"]] += 1
                self.num_mixed += row.get("source_label") is not None
            elif row["kind"] == "real" or "train" not in self.parts:
                continue
            elif row.get("status") == "rejected":
                self.rejected[row["reason"]] += 1
            elif row.get("status", "ok") == "ok" and row["file"]:
                self.rejected[str(self._rejection(row))] += 1
            else:
                self.failed[row.get("reason") or "failed"] += 1
        for part, pairs in hashes.items():
            ids, known = (Joined(itemgetter(number), pairs) for number in range(2))
            self._hashes[part] = ByKey(ids, known)

    def _require(self, part: Split) -> None:
        """Check that a part has images, and that its originals are those of the run."""
        if self.originals != "none":
            if part in self._hashes:
                self.real.require(part, self._hashes[part])
            else:
                for row in self._rows(part):
                    self._names.setdefault(row["label"], row["class_name"])
                    self.counts[part, row["label"], "real"] += 1
        if not self.num_of(part):
            what = "generated images" if self.originals == "none" else "images"
            raise UserError(
                f"parts: must be parts that have {what}, got {part} of {self.record.folder}, "
                "which has none; leave it out, or use originals=as_used"
            )

"""Choose the generated images on the page, and what it says of each."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sip.core.errors import UserError
from sip.core.spread import spread
from sip.core.text import without_paths
from sip.records.files import REMEDY, ListedImage, listed_image, pairs_of
from sip.report.runs import NamedRun
from sip.report.thumbnails import Thumbnails

LEFT_OUT_SHARE = 0.25  # of the images on the page, at most
WORST_SHARE = 0.25
NUM_RESOLVED = 4096  # paths whose links are remembered while a run is read
NEEDED = (
    *("kind", "id", "sample_id", "label", "class_name", "status", "variant", "noise_rate"),
    *("guidance_scale", "seed", "file", "sha256"),
)  # columns
# What is copied from a row as it is.
FACTS = (
    *("id", "kind", "sample_id", "class_name", "status", "reason", "variant"),
    *("guidance_scale", "noise_rate", "negative_prompt", "caption", "similarity"),
    *("label_similarity", "caption_similarity", "original_distance", "zero_shot"),
    *("unet_evaluations", "source_class_name", "label_share"),
)


@dataclass
class ReportImage:
    """A generated image, with all runs that used it.

    Attributes:
        row: Its rows of `images.parquet` and `quality.parquet`.
        file, original: The generated image and its original; None if not known.
        arms: Names with their groups, each once.
        runs: Fingerprints.
        views: The views that show it, among "spread", "worst" and "left out".
    """

    row: dict[str, Any]
    file: ListedImage | None
    original: ListedImage | None
    arms: dict[str, None] = field(default_factory=dict)
    runs: dict[str, None] = field(default_factory=dict)
    views: list[str] = field(default_factory=list)

    @property
    def is_left_out(self) -> bool:
        """Whether it was not trained on."""
        return bool(self.row["status"] != "ok")


def collect(runs: Iterable[NamedRun], damaged: list[str]) -> list[ReportImage]:
    """Return the generated images of all runs; one that several share is listed once.

    Args:
        runs: The runs.
        damaged: Gets a line for each run whose list of images cannot be read.
    """
    found: dict[tuple[Any, ...], ReportImage] = {}
    for run in runs:
        summary = run.record.summary
        try:
            images = _images(run)
        except UserError as error:
            text = str(error)
            folder = "" if text.startswith(str(run.record.folder)) else f"{run.record.folder}: "
            damaged.append(folder + text)
            continue
        for image in images:
            row = image.row
            key = (summary.generator, row["id"], row["status"], row.get("reason"))
            shared = found.setdefault(key, image)
            shared.arms[run.title] = None
            shared.runs[summary.fingerprint] = None
    return list(found.values())


def _images(run: NamedRun) -> list[ReportImage]:
    """Return the generated images of a run.

    Raises:
        UserError: A file is damaged, or names a file outside of the store.
    """
    rows, quality = _rows(run), run.record.image_quality()
    store = run.store or run.record.store
    resolve = lru_cache(NUM_RESOLVED)(os.path.realpath)
    originals = {row["id"]: listed_image(store, row) for row in rows if row["kind"] == "real"}
    return [
        ReportImage(
            quality.get(row["id"], {}) | row,
            listed_image(store, row, resolve),
            originals.get(row["sample_id"]),
        )
        for row in rows
        if row["kind"] != "real"
    ]


def _rows(run: NamedRun) -> list[dict[str, Any]]:
    """Return the rows of a run's training images: of val and test nothing is shown.

    Raises:
        UserError: The file is damaged, or lacks a column.
    """
    rows = run.record.images(filters=[("split", "=", "train")])
    if rows and (missing := [name for name in NEEDED if name not in rows[0]]):
        raise UserError(
            f"{run.record.folder}/images.parquet: must have the columns {', '.join(missing)}; "
            f"{REMEDY}"
        )
    return rows


def choose(images: Sequence[ReportImage], at_most: int) -> list[ReportImage]:
    """Return those for the page, noting for each why it is there.

    A quarter may be left-out ones, a quarter the least similar to their label, the rest is spread
    over arms and classes.

    Args:
        images: All of them.
        at_most: Images on the page.
    """
    left_out = spread([i for i in images if i.is_left_out], int(at_most * LEFT_OUT_SHARE))
    used = [image for image in images if not image.is_left_out]
    judged = [image for image in used if image.row.get("label_similarity") is not None]
    judged.sort(key=lambda image: image.row["label_similarity"])
    num_worst = min(int(at_most * WORST_SHARE), -(-len(judged) // 4))
    worst = judged[:num_worst]
    chosen: dict[int, ReportImage] = {}
    for view, members in (("left out", left_out), ("worst", worst), ("spread", _in_turn(used))):
        for image in members:
            if id(image) not in chosen and len(chosen) >= at_most:
                break
            chosen[id(image)] = image
            image.views.append(view)
    return sorted(chosen.values(), key=_place_on_page)


def _place_on_page(image: ReportImage) -> tuple[Any, ...]:
    """Sort by class and original, then from the least change to the most."""
    row = image.row
    return row["label"], row["sample_id"], row["noise_rate"] or 0.0, row["variant"]


def _in_turn(images: Sequence[ReportImage]) -> list[ReportImage]:
    """Return one of each set of arms and class, then a second of each, and so on."""
    piles: dict[Any, list[ReportImage]] = defaultdict(list)
    for image in sorted(images, key=lambda image: (image.row["label"], image.row["id"])):
        piles[tuple(image.arms), image.row["label"]].append(image)
    turns = range(max(map(len, piles.values()), default=0))
    return [pile[turn] for turn in turns for pile in piles.values() if turn < len(pile)]


def page_data(chosen: Sequence[ReportImage], thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Return what the page's script gets of each image; plain JSON types."""
    return [
        {
            **{name: _plain(image.row.get(name)) for name in FACTS},
            "error": without_paths(image.row.get("error") or ""),
            "seed": str(image.row["seed"]),  # JavaScript's numbers do not hold it
            "generated": thumbnails.key(image.file),
            "original": thumbnails.key(image.original),
            "spans": pairs_of(image.row.get("spans")) or [],
            "candidates": pairs_of(image.row.get("candidates")) or [],
            "arms": list(image.arms),
            "runs": list(image.runs),
            "views": image.views,
        }
        for image in chosen
    ]


def _plain(value: Any) -> Any:
    """Return None for a number that JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Choose the generated images on the page, and what it says of each."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sip.core.spread import spread
from sip.core.text import without_paths
from sip.records.files import ListedImage, listed_image
from sip.report.runs import NamedRun
from sip.report.thumbnails import Thumbnails

LEFT_OUT_SHARE = 0.25  # of the images on the page, at most
WORST_SHARE = 0.25
# What is copied from a row as it is.
FACTS = (
    *("id", "sample_id", "class_name", "status", "reason", "variant"),
    *("guidance_scale", "noise_rate", "negative_prompt", "caption", "similarity"),
    *("label_similarity", "caption_similarity", "original_distance", "zero_shot"),
    "unet_evaluations",
)


@dataclass
class ReportImage:
    """A generated image, with all runs that used it.

    Attributes:
        row: Of `images.parquet` and `quality.parquet`.
        file, original: The generated image and its original; None if not known.
        arms: Names with their groups, each once.
        runs: Fingerprints.
        views: Of "spread", "worst" and "left out", those that show it.
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


def collect(runs: Iterable[NamedRun]) -> list[ReportImage]:
    """Return the generated images of all runs; one that several share is listed once."""
    found: dict[tuple[Any, ...], ReportImage] = {}
    for run in runs:
        rows, quality = run.record.images(), run.record.image_quality()
        originals = {
            row["id"]: listed_image(run.store, row) for row in rows if row["kind"] == "real"
        }
        for row in rows:
            if row["kind"] != "generated":
                continue
            one = found.setdefault(
                (row["id"], row["status"], row.get("reason")),
                ReportImage(
                    quality.get(row["id"], {}) | row,
                    listed_image(run.store, row),
                    originals.get(row["sample_id"]),
                ),
            )
            one.arms[run.title] = None
            one.runs[run.record.summary.fingerprint] = None
    return list(found.values())


def choose(images: Sequence[ReportImage], at_most: int) -> list[ReportImage]:
    """Return those for the page, noting for each why it is there.

    A quarter may be left-out ones, a quarter the least similar to their label, the rest is spread
    over arms and classes.

    Args:
        images: All of them.
        at_most: Images on the page.
    """
    left_out = spread([one for one in images if one.is_left_out], int(at_most * LEFT_OUT_SHARE))
    used = [one for one in images if not one.is_left_out]
    judged = [one for one in used if one.row.get("label_similarity") is not None]
    judged.sort(key=lambda one: one.row["label_similarity"])
    num_worst = min(int(at_most * WORST_SHARE), -(-len(judged) // 4))
    worst = judged[:num_worst]
    chosen: dict[int, ReportImage] = {}
    for view, members in (("left out", left_out), ("worst", worst), ("spread", _in_turn(used))):
        for one in members:
            if id(one) not in chosen and len(chosen) >= at_most:
                break
            chosen[id(one)] = one
            one.views.append(view)
    return sorted(chosen.values(), key=_place_on_page)


def _place_on_page(one: ReportImage) -> tuple[Any, ...]:
    """Sort by class and original, then from the least change to the most."""
    row = one.row
    return row["label"], row["sample_id"], row["noise_rate"], row["variant"]


def _in_turn(images: Sequence[ReportImage]) -> list[ReportImage]:
    """Return one of each set of arms and class, then a second of each, and so on."""
    piles: dict[Any, list[ReportImage]] = defaultdict(list)
    for one in sorted(images, key=lambda one: (one.row["label"], one.row["id"])):
        piles[tuple(one.arms), one.row["label"]].append(one)
    turns = range(max(map(len, piles.values()), default=0))
    return [pile[turn] for turn in turns for pile in piles.values() if turn < len(pile)]


def page_data(chosen: Sequence[ReportImage], thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Return what the page's script gets of each image; plain JSON types."""
    return [
        {
            **{name: _plain(one.row.get(name)) for name in FACTS},
            "error": without_paths(one.row.get("error") or ""),
            "seed": str(one.row["seed"]),  # JavaScript's numbers do not hold it
            "generated": thumbnails.key(one.file),
            "original": thumbnails.key(one.original),
            "spans": json.loads(one.row.get("spans") or "[]"),
            "candidates": json.loads(one.row.get("candidates") or "[]"),
            "arms": list(one.arms),
            "runs": list(one.runs),
            "views": one.views,
        }
        for one in chosen
    ]


def _plain(value: Any) -> Any:
    """Return None for a number that JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value

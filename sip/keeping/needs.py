"""Which rows of a store the runs below some folders need.

What counts: a run needs the images on its list and the failed ones of its recipe; all captions and
scores of its recipes; and the embeddings and features of every image on its list, real or
generated. Adapters, and stages that nothing here knows, are always needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.core.paths import SUMMARY
from sip.core.text import join_first
from sip.images.adapted import RECORD
from sip.jobs.alone import FOLDER
from sip.keeping.uses import stages_of
from sip.records.parquet import read_table
from sip.records.read import IMAGES, read_run
from sip.store.census import fingerprint
from sip.store.claims import Claims, readable
from sip.store.place import StagePlace
from sip.store.shards import FAILED

LOGGERS = ("mlartifacts",)  # folders of loggers next to the run folders
WHOLE = ("captions", "scores")  # stages of which a recipe that is used is kept whole
BY_CONTENT = ("embeddings", "features")  # whose keys are checksums of images
KNOWN = (*WHOLE, *BY_CONTENT, "images")


@dataclass
class Needs:
    """What runs need.

    Attributes:
        runs: The runs that were read.
        recipes: Stage and fingerprint of each recipe that they generated with.
        images: Fingerprint of a recipe of images -> keys of the images.
        contents: Checksums of all images on their lists.
    """

    runs: list[Path] = field(default_factory=list)
    recipes: set[tuple[str, str]] = field(default_factory=set)
    images: dict[str, set[str]] = field(default_factory=dict)
    contents: set[str] = field(default_factory=set)

    def has(self, place: StagePlace[Any], key: str, status: str | None) -> bool:
        """Return whether a row is needed.

        Args:
            place: Place of its stage.
            key: Its key.
            status: Its status; None if it has none.
        """
        recipe = fingerprint(place.root.name)
        if place.stage in BY_CONTENT:
            return key in self.contents
        if place.stage == "images":
            is_failed = status == FAILED and ("images", recipe) in self.recipes
            return is_failed or key in self.images.get(recipe, ())
        return place.stage not in KNOWN or (place.stage, recipe) in self.recipes

    def add(self, folder: Path) -> None:
        """Read a run.

        Raises:
            UserError: It is damaged.
        """
        run = read_run(folder)
        stages = stages_of(run.summary)
        self.runs.append(folder)
        self.recipes |= stages
        own = {recipe for stage, recipe in stages if stage == "images"}
        table = read_table(folder / IMAGES, columns=["kind", "id", "sha256", "file"])
        columns = [table[name].to_pylist() for name in ("kind", "id", "sha256", "file")]
        for kind, key, sha256, file in zip(*columns, strict=True):
            if sha256 is not None:
                self.contents.add(sha256)
            if kind != "real":
                for recipe in own | _recipe_of(file):
                    self.images.setdefault(recipe, set()).add(key)


def _recipe_of(file: str | None) -> set[str]:
    """Return the fingerprint of the recipe in whose place a file lies, by its path in the store."""
    parts = (file or "").split("/")
    return {fingerprint(parts[1])} if len(parts) > 2 and parts[0] == "images" else set()


def needs_of(runs: Sequence[Path]) -> Needs:
    """Return what all runs below some folders need.

    Args:
        runs: Folders of run folders: `paths.runs`, then those of `also`.

    Raises:
        UserError: A folder has no runs, one of them is damaged or not finished, or a process works
            on one.
    """
    needs = Needs()
    for number, folder in enumerate(runs):
        _require_quiet(folder)
        before = len(needs.runs)
        for run in run_folders([folder]):
            if (run / SUMMARY).is_file():
                needs.add(run)
            elif not (run / RECORD).is_file():  # an adapter's weights are in its run folder
                raise UserError(
                    f"{run}: must be a finished run, got a folder without {SUMMARY}: what it needs "
                    "is not known; end it by the command that began it, or move it elsewhere"
                )
        if len(needs.runs) == before:
            key = "also" if number else "paths.runs"
            raise UserError(
                f"{key}: must hold finished runs, got none in {folder}: nothing would be "
                "needed; name the folder of the runs, or delete what is no longer needed by hand"
            )
    return needs


def run_folders(runs: Sequence[Path]) -> list[Path]:
    """Return all folders below those of runs; hidden ones and those of a logger are left out."""
    found = chain.from_iterable(sorted(folder.glob("*/")) for folder in runs)
    return [path for path in found if not path.name.startswith(".") and path.name not in LOGGERS]


def names_of(runs: Sequence[Path]) -> str:
    """Return folders of runs in words."""
    return " and ".join(map(str, runs))


def _require_quiet(runs: Path) -> None:
    """Check that no process works on a run.

    Raises:
        UserError: One does.
    """
    if not (runs / FOLDER).is_dir():
        return
    claims = Claims(runs / FOLDER)
    claims.look()
    owners = sorted(claims.owners() - {claims.owner})
    if owners:
        raise UserError(
            f"{runs}: {join_first([readable(owner) for owner in owners])} works on a run, whose "
            "rows are not known yet; start again when it has ended"
        )

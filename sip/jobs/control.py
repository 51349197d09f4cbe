"""The control of an arm: `augmentation=none` with all else the same, the base transform too.

If that run is finished, its classifier is used; else one is trained once and kept in the store,
under the same fingerprint.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.none import NoGenerated
from sip.augmentation.sample.none import AsIs
from sip.backbone.saved import FOLDER, WEIGHTS
from sip.core.hashing import fingerprint_of
from sip.core.stages import StageLog
from sip.jobs.alone import alone
from sip.records.read import finished_folders

PLAIN = Augmentation(NoGenerated(), AsIs(), NoMix(), base=AsIs())


def recipe_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of the control of a run with this recipe."""
    kept = {key: value for key, value in run["augmentation"].items() if key == "base"}
    return {**run, "augmentation": PLAIN.recipe() | kept, "offline": None}


def control_of(
    run: Mapping[str, Any],
    runs: Path,
    store: Path,
    train: Callable[[Path], object],
    stages: StageLog,
    is_shared: bool = False,
) -> Path:
    """Return the folder of the classifier of a run's control, which is trained if there is none.

    Jobs that run side by side have one control: the others wait for the one that trains it.

    Args:
        run: The recipe of the run.
        runs: Folder of the runs.
        store: Folder of the store, or what it has on this machine.
        train: Trains the control and leaves the classifier in a folder.
        is_shared: Whether several processes train it together; they cannot wait.
    """
    fingerprint = fingerprint_of(recipe_of(run))
    folder = store / "controls" / fingerprint
    with stages.stage("control") as row:
        place = _classifier(runs, fingerprint, folder)
        with nullcontext() if place or is_shared else alone(runs, fingerprint):
            place = place or _classifier(runs, fingerprint, folder)
            row["cached" if place else "computed"] = 1
            if place is None:
                train(folder)
    return place or folder / FOLDER


def _classifier(runs: Path, fingerprint: str, folder: Path) -> Path | None:
    """Return the classifier of a finished run, or of a folder; None if neither has one."""
    for place in (*finished_folders(runs, fingerprint), folder):
        if (place / FOLDER / WEIGHTS).is_file():
            return place / FOLDER
    return None

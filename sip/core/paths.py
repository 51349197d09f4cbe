"""Folders of the package and of runs."""

import json
from difflib import get_close_matches
from pathlib import Path

from sip.core.errors import UserError

SUMMARY = "summary.json"  # of a finished run
PACKAGE = Path(__file__).resolve().parents[1]


def conf_folder() -> Path:
    """Return the folder of the configurations: next to the package, or in it once installed."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def require_run(place: Path, key: str, *needed: str) -> None:
    """Check that a folder is that of a finished run.

    Args:
        place: The folder.
        key: Key that names it.
        needed: Files that it must hold.

    Raises:
        UserError: It is not there: the runs with a near name are listed; or it lacks a file.
    """
    if place == Path():
        raise UserError(f"{key}: must be given; say {key}=runs/<name>")
    rule = "must be the folder of a finished run"
    if not place.is_dir():
        there = sorted(file.parent.name for file in place.parent.glob(f"*/{SUMMARY}"))
        raise UserError(f"{key}: {rule}, got {place}, which is not there; {_near(place, there)}")
    if missing := [name for name in needed if not (place / name).is_file()]:
        raise UserError(
            f"{key}: {rule} with {missing[0]}, got {place} without it; {_fix(place, missing[0])}"
        )


def _fix(place: Path, missing: str) -> str:
    """Return what to do about a folder that lacks a file of a finished run."""
    if (place / SUMMARY).is_file():
        if _kind(place) == "generate":
            return "it is a run of sip.generate, which trains none: name one of sip.train"
    elif runs := sorted(file.parent for file in place.glob(f"*/{SUMMARY}")):
        fitting = [str(run) for run in runs if (run / missing).is_file()]
        if not fitting:
            return f"none of its {len(runs)} runs has it"
        more = f" and {len(fitting) - 3} more" if len(fitting) > 3 else ""
        return f"it is a folder of runs, such as {', '.join(fitting[:3])}{more}"
    return "start the run again, which finishes it, or name another one"


def _kind(place: Path) -> str | None:
    """Return which program a run is of; None if its summary does not say it."""
    try:
        return json.loads((place / SUMMARY).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _near(place: Path, there: list[str]) -> str:
    """Return which of the runs next to a place it may have meant."""
    if not there:
        return f"no finished run is in {place.parent}; name one with its whole path"
    near = [name for name in there if name.startswith(place.name)]
    near += get_close_matches(place.name, [name for name in there if name not in near], 3, 0.6)
    shown = [str(place.parent / name) for name in (near or there)[:3]]
    if near:
        return f"did you mean {' or '.join(shown)}?"
    more = f" and {len(there) - len(shown)} more" if len(there) > len(shown) else ""
    return f"there are {', '.join(shown)}{more}"

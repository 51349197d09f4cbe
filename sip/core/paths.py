"""Folders of the package."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def conf_folder() -> Path:
    """Return the folder of the configurations: next to the package, or in it once installed."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"

"""Which finished runs used which recipes of a store."""

from dataclasses import dataclass
from pathlib import Path

from sip.core.hashing import fingerprint_of
from sip.core.paths import SUMMARY
from sip.records.read import read_summary
from sip.records.summary import Summary

STAGES = ("captions", "scores", "images", "embeddings")  # whose recipes a run's own recipe holds


@dataclass(frozen=True)
class Use:
    """A finished run that used a stage.

    Attributes:
        folder: Its run folder.
        summary: Its numbers.
        ended: When its summary was written, s since 1970.
    """

    folder: Path
    summary: Summary
    ended: float


def stages_of(summary: Summary) -> set[tuple[str, str]]:
    """Return the recipes that a run generated with: stage and fingerprint of each."""
    offline = summary.recipe.get("offline")
    recipes = offline if isinstance(offline, dict) else {}
    return {(stage, fingerprint_of(recipes[stage])) for stage in STAGES if stage in recipes}


def uses_of(runs: Path) -> dict[tuple[str, str], list[Use]]:
    """Return stage and fingerprint -> the finished runs that used it, the newest first.

    Args:
        runs: Folder of the run folders; it may be missing.

    Raises:
        UserError: A summary is damaged.
    """
    found: dict[tuple[str, str], list[Use]] = {}
    for file in runs.glob(f"*/{SUMMARY}"):
        summary = read_summary(file)
        use = Use(file.parent, summary, file.stat().st_mtime)
        for stage in stages_of(summary):
            found.setdefault(stage, []).append(use)
    for uses in found.values():
        uses.sort(key=lambda use: -use.ended)
    return found

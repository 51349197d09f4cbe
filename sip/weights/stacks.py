"""What the folder of a stack says of its weights; `sip.stack` writes it."""

import json
from collections.abc import Iterable
from pathlib import Path

from sip.weights.source import resolve

MADE_FROM, CARD = "stack.json", "README.md"  # in the folder of a stack


def stack_remarks(models: Iterable[str]) -> list[str]:
    """Return a line for each stack that is a trial or was not measured.

    Args:
        models: Folders of weights; one is of a stack if the folder above it says what it is made
            from.
    """
    remarks = []
    for folder in dict.fromkeys(Path(resolve(model)).parent for model in models):
        try:
            made_from = json.loads((folder / MADE_FROM).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        scale = made_from.get("scale", 1) if isinstance(made_from, dict) else 1
        reasons = (
            [f"a trial with scale={scale:g}"]
            if isinstance(scale, int | float) and scale < 1
            else []
        )
        if not (folder / CARD).is_file():
            reasons.append("no model card: its quality is not measured")
        if reasons:
            remarks.append(f"stack {folder.name}: {'; '.join(reasons)}")
    return remarks

"""The folder of a stack, what is in it, and the command that trains with the stack."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sip.config.provenance import choice, command_line, recorded
from sip.stack.sources import grammar_of

GRAMMAR = "grammar.json"


def folder_of(config: DictConfig) -> Path:
    """Return the folder of the stack: `folder`, else models/<profile or data set>-<size>."""
    if config.folder is not None:
        return Path(config.folder)
    has_own = "stack" in config.profile
    name = config.profile.name if has_own else choice("dataset")
    return Path("models") / f"{name}-{config.size}"


def training_command(config: DictConfig) -> str | None:
    """Return how to train with the stack; None if no profile reads it."""
    if config.folder is not None or "stack" not in config.profile:
        return None
    given = command_line()["overrides"]
    kept = [text for text in given if text.startswith(("profile", "dataset", "paths."))]
    if config.size != config.profile.size:
        kept.append(f"profile.size={config.size}")
    if config.image_size != config.profile.image_size:
        kept += [
            f"profile.{name}={config.image_size}" for name in ("image_size", "generation_size")
        ]
    return recorded().line("train", [*kept, "augmentation=sip"])


def reports_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return part -> report of its training, of a stack's folder."""
    files = sorted(folder.glob("*.report.json"))
    return {file.name.split(".")[0]: json.loads(file.read_text()) for file in files}


def read_grammar(folder: Path) -> Any:
    """Return the grammar of a stack; None if it was trained on own captions."""
    file = folder / GRAMMAR
    return grammar_of(json.loads(file.read_text())) if file.exists() else None

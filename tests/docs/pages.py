"""The documentation's pages as text: fenced blocks and commands."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
HOOKS = DOCS / "hooks"
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python -m (sip\.\w+)((?:\\\n|[^\n`|])*)")


@dataclass(frozen=True)
class Block:
    """Fenced code: its language, the file that it is, its text."""

    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(*found) for found in FENCE.findall(page.read_text())]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (module, arguments) of each `python -m sip.<module>` of a text, without comments."""
    for module, rest in COMMAND.findall(text):
        line = rest.replace("\\\n", " ").split("  #")[0].split(" && ")[0]
        yield module, shlex.split(re.split(r"\s{3,}|;", line.strip())[0])


def hook(name: str) -> ModuleType:
    """Import a module of the hooks that build the pages."""
    sys.path.insert(0, str(HOOKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(HOOKS))

"""The documentation's pages as text: fenced blocks and the commands in them."""

import importlib
import re
import shlex
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
HOOKS = DOCS / "hooks"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python -m (sip[\w.]*)((?:\\\n|[^\n`|;])*)")
ASSIGNMENT = re.compile(r"[A-Z_]+=")
SHELL = ("bash", "console")


@dataclass(frozen=True)
class Block:
    """Fenced code: its language, the file that it is, its text."""

    language: str
    title: str | None
    text: str


@dataclass(frozen=True)
class Line:
    """A command of a block: `NAME=value python -m module arguments`."""

    environment: tuple[tuple[str, str], ...]
    module: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(["python", "-m", self.module, *self.arguments])


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(*match) for match in FENCE.findall(page.read_text())]


def shell_lines(page: Path) -> list[Line]:
    """Return the `python -m ...` commands of a page's blocks, shell variables filled in."""
    return [
        line for block in blocks(page) if block.language in SHELL for line in lines_of(block.text)
    ]


def lines_of(script: str) -> Iterator[Line]:
    """Yield the `python -m ...` commands of a script of assignments and simple commands."""
    variables: dict[str, str] = {}
    for row in script.replace("\\\n", " ").splitlines():
        words = shlex.split(string.Template(row).safe_substitute(variables), comments=True)
        given = []
        while words and ASSIGNMENT.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            given.append((name, value))
        if not words:
            variables |= dict(given)
        elif words[:2] == ["python", "-m"]:
            yield Line(tuple(given), words[2], tuple(words[3:]))


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

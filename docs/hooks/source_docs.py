"""What the source says of a class: docstrings and arguments, read without importing anything.

So the pages can be built where torch is not installed. Arguments that a class leaves to the one it
is built on ("As in `Settings`") are looked up there.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sip.core.docstrings import arguments_of

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """A class.

    Attributes:
        summary: The first paragraph of its docstring.
        arguments: Name -> what the docstrings say of it.
        module: The docstring of its file, where sources are named.
    """

    summary: str
    arguments: dict[str, str]
    module: str


@cache
def source_of(target: str) -> Source:
    """Return what the source says of the class `target`, a dotted name below `sip`."""
    texts = [ast.get_docstring(node) or "" for _, node in _line_of(target)]
    summary = " ".join(next(filter(None, texts), "").partition("\n\n")[0].split())
    module = _tree(target.rpartition(".")[0])
    text = inspect.cleandoc(ast.get_docstring(module) or "")
    return Source(summary, arguments_of(texts), text)


def package_line(package: str) -> str:
    """Return the docstring of a package, such as "sip.prompts"; empty if there is no package."""
    file = ROOT.joinpath(*package.split("."), "__init__.py")
    if not file.is_file():
        return ""
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def _line_of(target: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield the class and those of `sip` that it is built on, the nearest first."""
    module, _, name = target.rpartition(".")
    tree = _tree(module)
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    for node in found:
        yield target, node
        for base in node.bases:
            if isinstance(base, ast.Name):
                above = imported.get(base.id, f"{module}.{base.id}")
                if above.startswith("sip."):
                    yield from _line_of(above)


@cache
def _tree(module: str) -> ast.Module:
    place = ROOT.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text())

"""What the source says of a class: docstrings and arguments, read without importing anything.

So the pages can be built where torch is not installed. Arguments that a class leaves to the one it
is built on ("As in `Settings`") are looked up there.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARGUMENT = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.*)$")
ELSEWHERE = re.compile(r"^(As in|See) `")
SECTION = re.compile(r"^\w+:$")


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
    arguments: dict[str, str] = {}
    summary = ""
    for _, node in _line_of(target):
        text = inspect.cleandoc(ast.get_docstring(node) or "")
        summary = summary or " ".join(text.partition("\n\n")[0].split())
        for name, said in _arguments(text).items():
            if name not in arguments or ELSEWHERE.match(arguments[name]):
                arguments[name] = said
    module = _tree(target.rpartition(".")[0])
    return Source(summary, arguments, inspect.cleandoc(ast.get_docstring(module) or ""))


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


def _arguments(docstring: str) -> dict[str, str]:
    """Return what a docstring says of each argument."""
    entries: list[str] = []
    inside = False
    depth = 0
    for line in docstring.splitlines():
        if SECTION.match(line):
            inside = line in ("Args:", "Attributes:")  # a dataclass states these
        elif inside and line.strip():
            indent = len(line) - len(line.lstrip())
            depth = depth or indent
            if indent == depth:
                entries.append(line.strip())
            else:
                entries[-1] += f" {line.strip()}"
    found = filter(None, map(ARGUMENT.match, entries))
    return {name: entry["text"] for entry in found for name in entry["names"].split(", ")}

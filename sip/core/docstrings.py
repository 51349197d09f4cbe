"""What a docstring in Google's style says of each argument."""

import inspect
import re
from collections.abc import Iterable

ARGUMENT = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<text>.*)$")
ELSEWHERE = re.compile(r"^(As in|See) `")
SECTION = re.compile(r"^\w+:$")


def arguments_of(docstrings: Iterable[str]) -> dict[str, str]:
    """Return name -> what the docstrings of a class and of those it is built on say of it.

    Args:
        docstrings: The one of the class first. What it leaves to the one it is built on ("As in
            `Settings`") is looked up there.
    """
    found: dict[str, str] = {}
    for docstring in docstrings:
        for name, text in _arguments(inspect.cleandoc(docstring)).items():
            if name not in found or ELSEWHERE.match(found[name]):
                found[name] = text
    return found


def _arguments(docstring: str) -> dict[str, str]:
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

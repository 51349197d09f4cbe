"""What is public is listed, and its signatures are those of a committed file.

`python -m tests.api.test_signatures` writes the file, for a change that users are told of.
"""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import sip

FILE = Path(__file__).with_name("signatures.txt")


def lines() -> Iterator[str]:
    """Yield a line for each public function, and for each public member of a class."""
    # Not of `sip` itself, whose `generate` is the callable module once another test imported it.
    found = {f"sip.{name}": getattr(import_module(of), name) for name, of in sip.PUBLIC.items()}
    found["sip.transforms.GeneratedImage"] = sip.transforms.GeneratedImage
    for name, value in sorted(found.items()):
        is_error = inspect.isclass(value) and issubclass(value, Exception)
        yield name if is_error else f"{name}{inspect.signature(value)}"
        if is_error or not inspect.isclass(value):
            continue
        for member, inner in sorted(vars(value).items()):
            if member.startswith("_"):
                continue
            if inspect.isfunction(inner):
                yield f"{name}.{member}{inspect.signature(inner)}"
            else:
                yield f"{name}.{member}"


def test_the_signatures_are_those_of_the_file() -> None:
    assert FILE.read_text().splitlines() == list(lines())


def test_type_checkers_are_told_the_same_names() -> None:
    stub = ast.parse(Path(sip.__file__).with_suffix(".pyi").read_text())
    names = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names == {**sip.PUBLIC, "transforms": "sip"}
    assert set(sip.__all__) <= {*dir(sip)}


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")

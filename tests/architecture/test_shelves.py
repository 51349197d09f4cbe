"""The order of the packages, read from the source: who may import whom, and no name twice.

Imports inside functions and type-only imports count: they hide an arrow from a reader, they do not
remove it.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "sip"
SHELVES: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("config", "store", "executor", "weights", "device"),
    *((stage,) for stage in ("dataset", "captions", "scores", "prompts", "images", "filter")),
    *((stage,) for stage in ("augmentation", "backbone", "classifier", "metrics")),
    ("pipeline", "records", "tracking"),
    ("jobs",),
    ("tables", "report", "export", "doctor", "benchmark", "stack", "adapt", "keeping"),
    ("api",),
    ("studio",),
    ("train", "generate", "evaluate", "predict", "schema", "transforms", "__main__"),
)
SHELF = {name: number for number, names in enumerate(SHELVES) for name in names}


@cache
def imports() -> dict[str, set[str]]:
    """Return module -> the modules of sip that it imports, anywhere in its file."""
    files = {module_name(path): path for path in PACKAGE.rglob("*.py")}
    return {
        module: {name for name in imported(path, files) if name != module}
        for module, path in files.items()
    }


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of sip that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in inner]
        else:
            continue
        yield from (name for name in names if name in known)


def package_of(module: str) -> str | None:
    """Return the package, or the entry point, that a module belongs to.

    `python -m sip.store` is an entry point wherever its file lies.
    """
    if module.endswith(".__main__"):
        return "__main__"
    return module.split(".")[1] if "." in module else None


def test_every_package_has_a_shelf() -> None:
    packages = {package_of(module) for module in imports()} - {None}
    assert packages == set(SHELF), "give a new package its shelf; remove a shelf that is empty"


def test_a_file_imports_from_lower_shelves_only() -> None:
    upward = set()
    for module, names in imports().items():
        for name in names:
            own, other = package_of(module), package_of(name)
            if own and other and own != other and SHELF[own] < SHELF[other]:
                upward.add((module, name))
    assert not upward


def test_no_files_import_each_other_in_a_circle() -> None:
    assert not circles(imports())


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other (Tarjan's strongly connected sets)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for name in sorted(graph[module]):
            if name not in index:
                visit(name)
            if name in stack:
                low[module] = min(low[module], low[name])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(group)

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert [sorted(circle) for circle in circles(graph)] == [["b", "c"]]


def test_no_public_class_name_means_two_things() -> None:
    places = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(module_name(path))
    assert not {name: modules for name, modules in places.items() if len(modules) > 1}


def test_the_root_holds_entry_points_only() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *SHELVES[-1]}

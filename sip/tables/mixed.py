"""Runs of a table whose recipes differ in what nobody set.

What was set is in the names of rows. The rest is here: another version of a component after an
update, other weights at the same path, other images in the same folder.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sip.core.text import counted, join_first
from sip.records.varied import OF_SEED
from sip.tables.cells import SUBSET, Place, TableCell
from sip.tables.kept import KeptRun
from sip.tables.layout import TableLayout

Entries = dict[str, str]  # dotted key of a recipe -> its value
CONTENT = "dataset.content"
MAX_VALUE = 12  # characters of a value; hashes are longer


def unlike_entries(found: Mapping[Place, TableCell]) -> dict[Path, Entries]:
    """Return folder of a run -> the entries of its recipe that should be those of other runs.

    - Runs of a cell differ in their seed, and in the images that it chooses.
    - Runs with one setting of the data set have the same images.
    - One component has one version.
    """
    runs = {run.folder: run for cell in found.values() for run in cell.runs.values()}
    if any(isinstance(run, KeptRun) for run in runs.values()):
        return {run.folder: dict(run.unlike) for run in runs.values()
                if isinstance(run, KeptRun) and run.unlike}  # fmt: skip
    recipes = {folder: dict(_entries(run.summary.recipe)) for folder, run in runs.items()}
    result: dict[Path, Entries] = defaultdict(dict)

    def compare(folders: Iterable[Path], key: str) -> None:
        folders = [folder for folder in folders if key in recipes[folder]]
        if len({recipes[folder][key] for folder in folders}) > 1:
            for folder in folders:
                result[folder][key] = str(recipes[folder][key])[:MAX_VALUE]

    for cell in found.values():
        folders = [run.folder for run in cell.runs.values()]
        typed = [text for run in cell.runs.values() for text in run.summary.overrides]
        is_bound = any(OF_SEED in text for text in typed)  # a value may go with the seed
        for key in dict.fromkeys(key for folder in folders for key in recipes[folder]):
            values = {recipes[folder].get(key) for folder in folders}
            goes_with_seed = is_bound and len(values) == len(folders)
            if not key.endswith(("seed", "content")) and not goes_with_seed:
                compare(folders, key)
    for folders in _grouped(recipes, _data):
        compare(folders, CONTENT)
    for key in dict.fromkeys(key for entries in recipes.values() for key in entries):
        if key.endswith(".version"):
            component = key.replace(".version", ".class")
            for folders in _grouped(recipes, lambda entries: entries.get(component)):  # noqa: B023
                compare(folders, key)
    return result


def mixed_notes(
    unlike: Mapping[Path, Entries], found: Mapping[Place, TableCell], layout: TableLayout
) -> list[str]:
    """Return a line on what `unlike_entries` has found, with the rows of each value."""
    rows: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for (_, row, _), cell in found.items():
        for run in cell.runs.values():
            for key, value in unlike.get(run.folder, {}).items():
                rows[key][value][layout.row_name(row)] += 1
    if not rows:
        return []
    texts = []
    for key, values in sorted(rows.items()):
        shown = []
        for value, names in sorted(values.items()):
            of = [f"{counted(num, 'run')} of {row}" for row, num in names.items()]
            shown.append(f"{value} ({join_first(of)})")
        texts.append(f"{key} is {' or '.join(shown)}")
    return [
        "MIXED RECIPES, in what nobody set, so these runs are not of one experiment: "
        f"{'; '.join(texts)}. Delete those of one kind and run them again."
    ]


def _data(entries: Mapping[str, Hashable]) -> Hashable:
    """Return the setting of the data set; with its seed if that chooses images."""
    is_part = any(entries.get(f"dataset.{k}") not in neutral for k, neutral in SUBSET.items())
    own = {key: value for key, value in entries.items() if key.startswith("dataset.")}
    without = {CONTENT} | (set() if is_part else {"dataset.seed"})
    return tuple(sorted((key, str(value)) for key, value in own.items() if key not in without))


def _grouped(
    recipes: Mapping[Path, Mapping[str, Hashable]],
    name: Callable[[Mapping[str, Hashable]], Hashable],
) -> list[list[Path]]:
    """Return the folders of equal names."""
    groups: dict[Hashable, list[Path]] = defaultdict(list)
    for folder, entries in recipes.items():
        groups[name(entries)].append(folder)
    return list(groups.values())


def _entries(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Hashable]]:
    """Yield dotted key -> value of a recipe; lists as text."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _entries(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value) if isinstance(value, list) else value

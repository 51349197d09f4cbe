"""Data sets that the package `datasets` reads: a hub name or a local folder.

A local folder is one that `save_to_disk` wrote, or one that `load_dataset` understands (Parquet
files and the like). The pictures' encoded bytes are written, as they are, to files named by their
hash when first asked for.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sip.common.errors import UserError
from sip.dataset.base import Sample, Split
from sip.dataset.files import (
    Entry,
    Picture,
    content,
    from_bytes,
    from_file,
    prompt_words,
    require_part,
    to_samples,
)
from sip.dataset.subsets import few_shot, hold_out

PARTS = ("train", "val", "test")
SAVED = ("dataset_dict.json", "dataset_info.json")  # what `save_to_disk` leaves


def open_row(table: Any, index: int, column: str, folder: Path) -> Picture:
    """Open one picture of a table whose image column is not decoded."""
    value = table[index][column]
    if value["bytes"] is None:
        return from_file(Path(value["path"]))
    return from_bytes(folder, value["bytes"])


class HuggingFace:
    """A data set of the hub or in a local folder.

    Args:
        path: Hub name or local folder.
        config: Name of the hub data set's configuration; None if it has one only.
        revision: Commit or tag of the hub repository; None for its newest.
        root: The pictures are written to `<root>/huggingface/<name>`.
        splits: train, val, test -> split of the source, None where there is none.
        image_column, label_column: Names of the columns; labels that are not `ClassLabel` are
            classes by their values, sorted.
        val_fraction, test_fraction: Share of each class of train that becomes val and test, in
            (0, 1), where `splits` says None. The test part is taken first.
        split_seed: Chooses them.
        prompt_names: The source's class name -> words that fit a prompt, where they differ.
        shots: Training pictures a class; None for all.
        seed: Chooses the shots.
    """

    def __init__(
        self,
        path: str,
        config: str | None,
        revision: str | None,
        root: str,
        splits: dict[str, str | None],
        image_column: str,
        label_column: str,
        val_fraction: float,
        test_fraction: float,
        split_seed: int,
        prompt_names: dict[str, str],
        shots: int | None,
        seed: int,
    ) -> None:
        self.path = path
        self.config = config
        self.revision = revision
        self.name = Path(path).resolve().name if Path(path).is_dir() else path
        self.folder = Path(root) / "huggingface" / self.name.replace("/", "--")
        self.splits = splits
        self.columns = (image_column, label_column)
        self.fractions = {"test": test_fraction, "val": val_fraction}
        self.split_seed = split_seed
        self.prompt_names = prompt_names
        self.shots = shots
        self.seed = seed

    def recipe(self) -> dict:
        """Return everything that decides which pictures the splits hold, their content too."""
        recipe = {
            "class": "sip.dataset.huggingface.HuggingFace",
            "version": 1,
            "name": self.name,
            "config": self.config,
            "revision": self.revision,
            "splits": self.splits,
            "columns": list(self.columns),
            "fractions": self.fractions,
            "split_seed": self.split_seed,
            "prompt_names": self.prompt_names,
            "content": self._content,
        }
        if self.shots is not None:
            recipe |= {"shots": self.shots, "seed": self.seed}
        return recipe

    @cached_property
    def _content(self) -> str:
        return content(self)

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in words that fit a prompt, in the order of the labels."""
        return prompt_words(self._read[0], self.prompt_names)

    def samples(self, split: Split) -> list[Sample]:
        """Return the rows of one split.

        Raises:
            UserError: The package, the data, a split or a column is missing.
        """
        require_part(split, PARTS)
        rows: Sequence[Entry] = self._read[1][split]
        if split == "train":
            rows = few_shot(rows, self.shots, self.seed)
        return to_samples(rows, self.class_names, split)

    @cached_property
    def _read(self) -> tuple[list[str], dict[str, list[Entry]]]:
        """Class names of the source, and the entries of train, val and test."""
        tables = self._tables()
        label_column = self.columns[1]
        names = getattr(tables["train"].features[label_column], "names", None)
        if names is None:
            names = [str(value) for value in sorted(set(tables["train"][label_column]))]
        entries = {part: self._entries(part, table, names) for part, table in tables.items()}
        for part, share in self.fractions.items():
            if part not in entries:
                entries["train"], entries[part] = hold_out(entries["train"], share, self.split_seed)
        return names, entries

    def _tables(self) -> dict[str, Any]:
        """Return the source's table of each part that it has, pictures not decoded."""
        try:
            import datasets
        except ImportError as error:
            raise UserError(
                "dataset=huggingface needs the package datasets, which is not installed; "
                "pip install 'sip-augmentation[datasets]'"
            ) from error
        try:
            if any(Path(self.path, name).is_file() for name in SAVED):
                source = datasets.load_from_disk(self.path)
            else:
                source = datasets.load_dataset(self.path, self.config, revision=self.revision)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"dataset.path: expected a data set of the hub or a local folder, came "
                f"{self.path!r} ({' '.join(str(error).split())[:200]}); give the folder of a "
                "downloaded copy, or its name with the hub within reach"
            ) from error
        if not isinstance(source, dict):
            source = {"train": source}
        tables = {}
        for part in PARTS:
            if (name := self.splits[part]) is not None:
                table = self._part(source, name)
                tables[part] = table.cast_column(self.columns[0], datasets.Image(decode=False))
        return tables

    def _part(self, source: dict[str, Any], name: str) -> Any:
        """Return one split of the source, checked for the columns."""
        if name not in source:
            raise UserError(
                f"dataset.splits: expected one of {', '.join(source)}, came {name!r}; say which "
                "split is which, null where there is none"
            )
        table = source[name]
        for option, column in zip(("image_column", "label_column"), self.columns, strict=True):
            if column not in table.column_names:
                raise UserError(
                    f"dataset.{option}: expected one of {', '.join(table.column_names)}, came "
                    f"{column!r}"
                )
        return table

    def _entries(self, part: str, table: Any, names: Sequence[str]) -> list[Entry]:
        """Return the rows of one part, in the source's order."""
        image_column, label_column = self.columns
        numbered = hasattr(table.features[label_column], "names")  # else text, or other numbers
        position = {name: index for index, name in enumerate(names)}
        entries = []
        for index, value in enumerate(table[label_column]):
            label = value if numbered else position.get(str(value))
            if label is None or not 0 <= label < len(names):
                raise UserError(
                    f"dataset.label_column: expected one of {len(names)} classes of the training "
                    f"part in row {index} of {self.splits[part]}, came {value!r}"
                )
            entries.append(
                Entry(
                    f"{self.name}/{part}/{index:06d}",
                    label,
                    partial(open_row, table, index, image_column, self.folder),
                )
            )
        return entries

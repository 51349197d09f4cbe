"""Data sets that the package `datasets` reads: a hub name or a local folder.

A local folder is one that `save_to_disk` wrote, or one that `load_dataset` understands (Parquet
files and the like). The images' encoded bytes are written, as they are, to files named by their
hash when first asked for.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sip.core.component import component, ignored, known_by
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.hashing import digest
from sip.core.ranges import Seed
from sip.core.text import reason_of
from sip.dataset.base import Split
from sip.dataset.files import GENERATED, PARTS, Entry, ImageFile, from_bytes, from_file
from sip.dataset.folders import say_once
from sip.dataset.index import stamp_of
from sip.dataset.labels import (
    PART_NAMES,
    PromptNames,
    is_missing,
    label_of,
    prompt_words,
    sorted_classes,
    text_of,
)
from sip.dataset.reader import Listing, PretrainReader
from sip.dataset.subsets import HeldOut

SAVED = ("dataset_dict.json", "dataset_info.json")  # what `save_to_disk` leaves


def _cause(error: BaseException) -> BaseException:
    """Return the first cause of an error: `datasets` wraps what went wrong."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def open_row(table: Any, index: int, column: str, folder: Path) -> ImageFile:
    """Open one image of a table whose image column is not decoded.

    Raises:
        UserError: The row holds none.
    """
    value = table[index][column] or {}
    if value.get("bytes") is not None:
        return from_bytes(folder, value["bytes"])
    if value.get("path") is None:
        raise UserError(
            f"dataset.image_column: must have an image in row {index} of {column!r}, got none; "
            "remove the row"
        )
    return from_file(Path(value["path"]))


def _identity(table: Any, column: str) -> str | None:
    """Return a name for the images of a table that changes if its files do; None without files."""
    files = [str(file["filename"]) for file in table.cache_files]
    if not files:
        return None
    return digest([[file, *stamp_of(file)] for file in files], table._fingerprint, column)[:16]


def labels_of(table: Any, column: str, part: str) -> list[str]:
    """Return the label of each row as text: of a `ClassLabel` its name.

    Raises:
        UserError: A row has none, or a value that is no text and no whole number.
    """
    names = getattr(table.features[column], "names", None)
    values = table[column][:]
    if names is not None:  # -1 and null stand for no label
        values = [names[v] if v is not None and 0 <= v < len(names) else None for v in values]
    if lacking := [row for row, value in enumerate(values) if is_missing(value)]:
        raise UserError(
            f"dataset.label_column: each row must have a label, got none in {len(lacking):,} of "
            f"{len(values):,} rows of {part}, first {lacking[0]}; remove them"
            + (f", or set dataset.splits.{part}=false" if part != "train" else "")
        )
    try:
        return [label_of(value) for value in values]
    except ValueError as error:  # lists, or numbers that are not whole
        raise UserError(
            f"dataset.label_column: must be a column of texts or whole numbers, got {column!r} "
            f"({error}); name another column, or remove such rows"
        ) from error


@component
class HuggingFace(PretrainReader):
    """A data set of the hub or in a local folder.

    Args:
        path: Hub name or local folder.
        config: Name of the hub data set's configuration; None if it has one only.
        revision: Commit or tag of the hub repository; None for its newest.
        root: The images are written to `<root>/huggingface/<name>`.
        id_prefix: Begins the sample ids, by which parts are made. None: a copy of the data set
            has the same ids, whatever its folder is called. The recipe has them by their content.
        splits: train, val, test -> split of the source. None for val and test: the split of the
            usual name (validation, val, test) if the source has one. False: none.
        image_column, label_column: Names of the columns; labels that are not `ClassLabel` are
            classes by their values, sorted.
        val_fraction, test_fraction: Share of each class of train that becomes val and test, if
            the source has no such split. The test part is taken first. 0 for none, to generate
            images without training a classifier.
        split_seed: Chooses them.
        prompt_names: The source's class name -> words that fit a prompt, if they differ.
    """

    path: str = known_by("content")
    config: str | None
    revision: str | None
    root: str = ignored()
    id_prefix: str | None = ignored(neutral=None)
    splits: dict[Split, str | Literal[False] | None]
    image_column: str
    label_column: str
    val_fraction: HeldOut
    test_fraction: HeldOut
    split_seed: Seed
    prompt_names: PromptNames

    @property
    def source(self) -> str:
        """Hub name, or local folder; "~" at its start is the home folder."""
        return os.path.expanduser(self.path)

    @property
    def name(self) -> str:
        """Hub name, or last part of the local folder."""
        return Path(self.source).resolve().name if Path(self.source).is_dir() else self.source

    @property
    def folder(self) -> Path:
        """Where the images are written."""
        return Path(self.root).expanduser() / "huggingface" / self.name.replace("/", "--")

    def listing(self) -> Listing:
        """Return the classes and the entries, in the source's order.

        Raises:
            UserError: The package, the data, a split or a column is missing.
        """
        tables = self._tables()
        if "train" not in tables:
            given = text_of(self.splits.get("train"))
            raise UserError(
                f"dataset.splits.train: must be a split of the source, got {given}; name one"
            )
        labels = {part: labels_of(rows, self.label_column, part) for part, rows in tables.items()}
        named = getattr(tables["train"].features[self.label_column], "names", None)
        names = list(named or sorted_classes(labels["train"]))
        entries = {
            part: self._entries(part, table, labels[part], names) for part, table in tables.items()
        }
        self._make_parts(
            entries, self.test_fraction, self.val_fraction, self.split_seed, self.pretrain_fraction
        )
        return prompt_words(names, self.prompt_names), entries

    def column_files(self, column: str, sample_ids: Sequence[str], key: str) -> dict[str, str]:
        """Return sample_id -> file of the image in another column; without rows that have none.

        Args:
            column: Its name.
            sample_ids: Those that are asked for.
            key: Key that it was configured with, for messages.

        Raises:
            UserError: There is no such column of images.
        """
        try:
            tables = replace(self, image_column=column)._tables()
        except UserError as error:
            message = str(error).replace("dataset.image_column", key)
            raise UserError(message) from error
        tables = {part: table.select_columns([column]) for part, table in tables.items()}
        files = {}
        for sample_id in sample_ids:
            part, index = sample_id.split("/")[-2:]
            table = tables[part]  # type: ignore[index]
            if table[int(index)][column] is not None:
                files[sample_id] = open_row(table, int(index), column, self.folder).path
        return files

    def column_values(self, column: str, key: str) -> dict[str, Any]:
        """Return sample_id -> value in another column.

        Args:
            column: Its name.
            key: Key that it was configured with, for messages.

        Raises:
            UserError: There is no such column.
        """
        values: dict[str, Any] = {}
        for part, table in self._tables().items():
            if column not in table.column_names:
                columns = ", ".join(table.column_names)
                raise UserError(f"{key}: must be one of {columns} in {part}, got {column!r}")
            found = table[column][:]
            values |= zip(self._sample_ids(part, len(found)), found, strict=True)
        return values

    def _sample_ids(self, part: Split, num: int) -> list[str]:
        prefix = f"{self.id_prefix}/{part}" if self.id_prefix else part
        return [f"{prefix}/{index:06d}" for index in range(num)]

    def _tables(self) -> dict[Split, Any]:
        """Return the source's table of each part that it has, images not decoded."""
        stated = [name for name in self.splits.values() if name]
        if twice := [name for name in stated if stated.count(name) > 1]:
            raise UserError(
                f"dataset.splits: must be another split for each part, got {twice[0]} twice; "
                "false leaves a part out"
            )
        try:
            import datasets
        except ImportError as error:
            raise UserError(
                "dataset=huggingface needs the package datasets, which is not installed; "
                f"{install_extras('datasets')}"
            ) from error
        if not hasattr(datasets, "load_dataset"):
            raise UserError(
                f"dataset=huggingface needs the package datasets, got {datasets.__file__} of the "
                "same name; rename that, or start in another folder"
            )
        if Path(self.source).is_file():
            raise UserError(
                f"dataset.path: must be a folder or a hub name, got the file {self.path}; put it "
                "into a folder of its own"
            )
        if Path(self.source).is_dir() and (signs := sorted(set(self.source) & set("[]*?"))):
            raise UserError(
                "dataset.path: must have none of [ ] * ? in it, which datasets reads as a "
                f"pattern (square brackets too), got {' '.join(signs)} in {self.path!r}; rename "
                "the folder, or make a link to it"
            )
        try:
            if any(Path(self.source, name).is_file() for name in SAVED):
                source = datasets.load_from_disk(self.source)
            else:
                source = datasets.load_dataset(self.source, self.config, revision=self.revision)
        except Exception as error:  # of a damaged file `datasets` raises errors of many kinds
            raise UserError(
                f"dataset.path: must be a data set of the hub or a local folder, got "
                f"{self.path!r} ({reason_of(_cause(error))[:200]}); give the folder of a "
                "downloaded copy, or its name with the hub within reach"
            ) from error
        if not isinstance(source, dict):
            source = {"train": source}
        tables: dict[Split, Any] = {}
        for part in PARTS:
            if name := self._split(part, source):
                table = self._part(source, part, name)
                if table.format["type"] is not None:  # `with_format` is saved with the data
                    table = table.with_format(None)
                column = self.image_column
                try:
                    tables[part] = table.cast_column(column, datasets.Image(decode=False))
                except Exception as error:  # by the column's type, of many kinds
                    raise UserError(
                        f"dataset.image_column: must be a column of images, got {column!r} of type "
                        f"{table.features[column]}; name another column"
                    ) from error
        return tables

    def _split(self, part: Split, source: dict[str, Any]) -> str | None:
        """Return the name of a part's split in the source: as stated, or the usual one.

        Raises:
            UserError: It is not stated, and two splits have usual names.
        """
        name = self.splits.get(part)
        if name is not None or part == "train":
            return name or None
        used = {name for name in self.splits.values() if name}
        found = [split for split in source if PART_NAMES.get(split) == part and split not in used]
        if len(found) > 1:
            raise UserError(
                f"dataset.splits.{part}: must be one of {', '.join(found)}, got null; name it, or "
                f"leave all out with dataset.splits.{part}=false"
            )
        if found:
            text = f"{part} is the split {found[0]} of the source"
            say_once(self.path, f"{text}; to leave it out: dataset.splits.{part}=false")
        return found[0] if found else None

    def _part(self, source: dict[str, Any], part: Split, name: str) -> Any:
        """Return one split of the source, checked for the columns."""
        if name not in source:
            key = f"dataset.splits.{part}"
            fix = "name it" if part == "train" else f"name it, or set {key}=false if there is none"
            raise UserError(f"{key}: must be one of {', '.join(source)}, got {name!r}; {fix}")
        table = source[name]
        for key in ("image_column", "label_column"):
            if (column := getattr(self, key)) not in table.column_names:
                raise UserError(
                    f"dataset.{key}: must be one of {', '.join(table.column_names)}, got {column!r}"
                )
        return table

    def _entries(
        self, part: Split, table: Any, labels: Sequence[str], names: Sequence[str]
    ) -> list[Entry]:
        """Return the rows of one part, in the source's order."""
        kinds = [None] * len(labels)
        if "kind" in table.column_names and self.label_column != "kind":
            kinds = table["kind"][:]
        position = {label_of(name): index for index, name in enumerate(names)}
        entries = []
        identity, folder = _identity(table, self.image_column), self.folder
        images = table.select_columns([self.image_column])  # a row would decode other images too
        sample_ids = self._sample_ids(part, len(labels))
        for index, (sample_id, label) in enumerate(zip(sample_ids, labels, strict=True)):
            if label not in position:
                raise UserError(
                    f"dataset.label_column: must be one of {len(names)} classes of the training "
                    f"part, got {label!r} in row {index} of {part}; fix it"
                )
            entries.append(
                Entry(
                    sample_id,
                    position[label],
                    partial(open_row, images, index, self.image_column, folder),
                    identity and f"{identity}/{index}",
                    kinds[index] == GENERATED,
                    is_row=True,
                )
            )
        return entries

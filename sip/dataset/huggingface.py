"""Data sets that the package `datasets` reads: a hub name or a local folder.

A local folder is one that `save_to_disk` wrote, or one that `load_dataset` understands (Parquet
files and the like). The pictures' encoded bytes are written, as they are, to files named by their
hash when first asked for.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.dataset.base import Split
from sip.dataset.files import PARTS, Entry, Picture, content, from_bytes, from_file, prompt_words
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import Subset, make_parts

SAVED = ("dataset_dict.json", "dataset_info.json")  # what `save_to_disk` leaves


def open_row(table: Any, index: int, column: str, folder: Path) -> Picture:
    """Open one picture of a table whose image column is not decoded.

    Raises:
        UserError: The row holds none.
    """
    value = table[index][column] or {}
    if value.get("bytes") is not None:
        return from_bytes(folder, value["bytes"])
    if value.get("path") is None:
        raise UserError(
            f"dataset.image_column: expected a picture in row {index} of {column!r}, came none; "
            "remove the row"
        )
    return from_file(Path(value["path"]))


def label_names(table: Any, column: str) -> list[str]:
    """Return the classes: of a `ClassLabel`, or the column's values, sorted.

    Raises:
        UserError: The values cannot be told apart and sorted, or one is missing.
    """
    names = getattr(table.features[column], "names", None)
    if names is not None:
        return list(names)
    try:
        values = set(table[column])
        if None in values:
            raise TypeError("a row has none")
        return [str(value) for value in sorted(values)]
    except TypeError as error:  # lists, or a text among numbers
        raise UserError(
            f"dataset.label_column: expected numbers or texts in {column!r}, each row one "
            f"({error}); name another column, or remove such rows"
        ) from error


class HuggingFace(Reader):
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
            [0, 1), where `splits` says None. The test part is taken first. 0 for none, if pictures
            are to be drawn and no classifier trained.
        pretrain_fraction: Share of each class of train, test taken out, that becomes the part
            `pretrain`: what generators of one's own may learn from, and nothing else. None: none.
        train_part: Part that the classifier trains on, of which shots are taken: `train`, or
            `pretrain` for the upper bound of what a generator can give.
        split_seed: Chooses them.
        prompt_names: The source's class name -> words that fit a prompt, where they differ.
        shots, fraction, imbalance, label_noise, seed: See `sip.dataset.subsets.Subset`.
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
        pretrain_fraction: float | None,
        train_part: Split,
        split_seed: int,
        prompt_names: dict[str, str],
        shots: int | None,
        fraction: float | None,
        imbalance: float | None,
        label_noise: float | None,
        seed: int,
    ) -> None:
        super().__init__(Subset(shots, fraction, imbalance, label_noise, seed))
        self.path = path
        self.config = config
        self.revision = revision
        self.name = Path(path).resolve().name if Path(path).is_dir() else path
        self.folder = Path(root) / "huggingface" / self.name.replace("/", "--")
        self.source_splits = splits
        self.columns = (image_column, label_column)
        self.fractions = {"test": test_fraction, "val": val_fraction}
        self.split_seed = split_seed
        self._set_aside(pretrain_fraction, train_part)
        self.prompt_names = prompt_names

    def facts(self) -> dict[str, Any]:
        """Return what decides the pictures of the splits, their content too."""
        facts = {
            "class": "sip.dataset.huggingface.HuggingFace",
            "version": 1,
            "name": self.name,
            "config": self.config,
            "revision": self.revision,
            "splits": self.source_splits,
            "columns": list(self.columns),
            "fractions": self.fractions,
            "split_seed": self.split_seed,
            "prompt_names": self.prompt_names,
            "content": content(self),
        }
        return facts | self._later_facts()

    def listing(self) -> Listing:
        """Return the classes and the entries, in the source's order.

        Raises:
            UserError: The package, the data, a split or a column is missing.
        """
        tables = self._tables()
        if "train" not in tables:
            raise UserError("dataset.splits.train: expected a split of the source, came null")
        names = label_names(tables["train"], self.columns[1])
        entries = {part: self._entries(part, table, names) for part, table in tables.items()}
        make_parts(
            entries,
            self.fractions["test"],
            self.fractions["val"],
            self.split_seed,
            self.pretrain_fraction,
        )
        return prompt_words(names, self.prompt_names), entries

    def _tables(self) -> dict[Split, Any]:
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
        except Exception as error:  # of a damaged file `datasets` raises errors of many kinds
            raise UserError(
                f"dataset.path: expected a data set of the hub or a local folder, came "
                f"{self.path!r} ({' '.join(str(error).split())[:200]}); give the folder of a "
                "downloaded copy, or its name with the hub within reach"
            ) from error
        if not isinstance(source, dict):
            source = {"train": source}
        tables: dict[Split, Any] = {}
        for part in PARTS:
            if (name := self.source_splits[part]) is not None:
                table = self._part(source, name)
                try:
                    tables[part] = table.cast_column(self.columns[0], datasets.Image(decode=False))
                except Exception as error:  # by the column's type, of many kinds
                    raise UserError(
                        f"dataset.image_column: expected pictures in {self.columns[0]!r}, came "
                        f"{table.features[self.columns[0]]}; name another column"
                    ) from error
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
                    f"part in row {index} of {self.source_splits[part]}, came {value!r}"
                )
            entries.append(
                Entry(
                    f"{self.name}/{part}/{index:06d}",
                    label,
                    partial(open_row, table, index, image_column, self.folder),
                )
            )
        return entries

"""Data sets whose files are listed with labels and an official split into train and test.

A subclass says how its lists are read: `read_lists`, and a name. There is no official val: it is a
share of each class of train, chosen by `split_seed`, never by the run's seed.
"""

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from sip.core.component import component, ignored
from sip.core.errors import UserError
from sip.core.ranges import Seed
from sip.dataset.base import Split
from sip.dataset.files import Entry, missing
from sip.dataset.folders import inside
from sip.dataset.labels import PromptNames, prompt_words
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import HeldOut, make_parts

Lists = dict[Literal["train", "test"], list[tuple[Path, int]]]


@component
class ListedFiles(Reader):
    """A data set with lists.

    Args:
        root: Folder that contains `folder`.
        folder: The data set's own folder.
        how_to_get: Ends the message if data are missing.
        val_fraction: Share of each class of train that is val.
        split_seed: Chooses it.
        prompt_names: Class name -> words that fit a prompt, if blanks for underscores do not.
    """

    name: ClassVar[str]  # begins the sample ids

    root: str = ignored()
    folder: str = ignored()
    how_to_get: str = ignored()
    val_fraction: HeldOut
    split_seed: Seed
    prompt_names: PromptNames

    @property
    def place(self) -> Path:
        """The data set's own folder."""
        return Path(self.root).expanduser() / self.folder

    @abstractmethod
    def read_lists(self) -> tuple[Sequence[str], Lists]:
        """Return the classes' names, and (file, label from 0) of each image, in a fixed order.

        Raises:
            OSError, ValueError, KeyError: A list is missing or damaged.
        """

    def listing(self) -> Listing:
        """Return the classes and the entries.

        Raises:
            UserError: The data are missing, or a list is damaged.
        """
        try:
            names, lists = self.read_lists()
        except UserError:
            raise
        except Exception as error:  # readers of damaged .mat files raise many kinds
            raise missing(self.name, self.place, error, self.how_to_get) from error
        entries: dict[Split, list[Entry]] = {
            part: self._entries(rows) for part, rows in lists.items()
        }
        make_parts(entries, None, self.val_fraction, self.split_seed)
        return prompt_words(names, self.prompt_names), entries

    def _entries(self, rows: Sequence[tuple[Path, int]]) -> list[Entry]:
        names = inside(self.place, [os.fspath(path) for path, _ in rows])
        return [
            Entry.of_file(f"{self.name}/{name}", label, path)
            for name, (path, label) in zip(names, rows, strict=True)
        ]

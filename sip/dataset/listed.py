"""Data sets whose files are listed with labels and an official split into train and test.

A data set says how its lists are read: `read_lists`, a class name and a line of YAML. There is no
official val: a share of each class of train, chosen by `split_seed`, never by the run's seed.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sip.core.errors import UserError
from sip.dataset.base import Split
from sip.dataset.files import Entry, from_file, missing, prompt_words
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import Subset, make_parts

Lists = dict[Literal["train", "test"], list[tuple[Path, int]]]


class Listed(Reader):
    """A data set with lists.

    Args:
        root: Folder that holds `folder`.
        folder: The data set's own folder.
        how_to_get: Ends the message if data are missing.
        val_fraction: Share of train that is val, in [0, 1).
        split_seed: Chooses it.
        prompt_names: Class name -> words that fit a prompt, where blanks for underscores do not.
        shots, fraction, imbalance, label_noise, seed: See `sip.dataset.subsets.Subset`.
    """

    name: str  # begins the sample ids

    def __init__(
        self,
        root: str,
        folder: str,
        how_to_get: str,
        val_fraction: float,
        split_seed: int,
        prompt_names: dict[str, str],
        shots: int | None,
        fraction: float | None,
        imbalance: float | None,
        label_noise: float | None,
        seed: int,
    ) -> None:
        super().__init__(Subset(shots, fraction, imbalance, label_noise, seed))
        self.folder = Path(root) / folder
        self.how_to_get = how_to_get
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.prompt_names = prompt_names

    @abstractmethod
    def read_lists(self) -> tuple[Sequence[str], Lists]:
        """Return the classes' names, and (file, label from 0) of each picture, in a fixed order.

        Raises:
            OSError, ValueError, KeyError: A list is missing or damaged.
        """

    def facts(self) -> dict[str, Any]:
        """Return what decides the pictures of the whole splits."""
        return {
            "class": f"{type(self).__module__}.{type(self).__name__}",
            "version": 1,
            "val_fraction": self.val_fraction,
            "split_seed": self.split_seed,
            "prompt_names": self.prompt_names,
        }

    def listing(self) -> Listing:
        """Return the classes and the entries.

        Raises:
            UserError: The data are not there, or a list is damaged.
        """
        try:
            names, lists = self.read_lists()
        except UserError:
            raise
        except Exception as error:  # readers of damaged .mat files raise many kinds
            raise missing(self.name, self.folder, error, self.how_to_get) from error
        entries: dict[Split, list[Entry]] = {
            part: [self._entry(path, label) for path, label in rows] for part, rows in lists.items()
        }
        make_parts(entries, None, self.val_fraction, self.split_seed)
        return prompt_words(names, self.prompt_names), entries

    def _entry(self, path: Path, label: int) -> Entry:
        inside = path.relative_to(self.folder).as_posix()
        return Entry(f"{self.name}/{inside}", label, partial(from_file, path))

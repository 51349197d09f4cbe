"""Where the shards of a stage lie: a folder, or a prefix of an object store.

A stage reads and commits through a `StagePlace` and nothing else; all that differs between a disk
and an object store is in its two implementations, `Folder` here and `sip.store.bucket.Bucket`:

- which shards are committed (`names`, `keys_of`), and how one appears as a whole (`publish`);
- who makes which rows (`claims`): under a lock of the file system, or by objects with a lease;
- how a damaged shard is set aside.

Both have the same layout, so that a store can be copied from one to the other file by file. What
is not finished (`tmp`) is always on a disk of this machine. Rows name their files by path or by
URI, and `sip.core.tars` reads both.
"""

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from sip.core.files import files_below, fsync, plain_disk_errors, retried, write_atomically
from sip.core.uri import Place
from sip.store.claims import Claims
from sip.store.leases import Leases
from sip.store.shards import ROWS_FILE, TAR_FILE, Counts, count_rows, read_columns

SHARDS = "shards"
DAMAGED = "damaged"  # of a stage, next to `shards`
RECIPE_FILE = "recipe.json"
COUNTING = 8  # threads
Owners = Claims | Leases
States = Iterable[tuple[str, Any]]  # key and status of each row
Root = TypeVar("Root", bound=Place)


class StagePlace(ABC, Generic[Root]):
    """Where the shards of a stage lie.

    Args:
        root: The place that is named after the stage's recipe.
        work: Folder of this machine for what is not finished.
    """

    def __init__(self, root: Root, work: Path) -> None:
        self.root = root
        self.work = work

    @property
    def stage(self) -> str:
        """The stage's name, such as "captions"."""
        return str(self.root.parent.name)

    @property
    def path(self) -> str:
        """The place as seen from the root of the store."""
        return f"{self.stage}/{self.root.name}"

    @property
    def shards(self) -> Root:
        """The place of the committed shards."""
        return self.root / SHARDS  # type: ignore[return-value]

    @property
    def tmp(self) -> Path:
        """The folder of the unfinished shards."""
        return self.work / "tmp"

    @abstractmethod
    def names(self) -> set[str]:
        """Return the names of the shards that are committed now."""

    def look_again(self) -> None:  # noqa: B027, a disk is asked each time
        """Have `names` ask the place itself, and not what was read of it before."""

    def forget(self) -> None:  # noqa: B027
        """Forget what was read of the place: all of it is to be read once more."""

    def keys_of(self, shards: Sequence[str]) -> Iterator[tuple[str, States]]:
        """Yield each shard with the keys of its rows and the status of each."""
        return ((shard, read_states(self.shards / shard)) for shard in shards)

    def fetch(self, shards: Iterable[str]) -> None:  # noqa: B027, a disk has them here
        """Get ready to read the rows of shards one after the other."""

    def storage(self, wanted: str) -> str:
        """Return how a shard's files are stored if this is wanted."""
        return wanted

    @abstractmethod
    def counts(self, shards: Sequence[str]) -> list[Counts | None]:
        """Return how many rows each shard has; None if it cannot be read. No hash is compared."""

    @abstractmethod
    def are_tars(self, shards: Sequence[str]) -> list[bool]:
        """Return of each shard whether its files are in a tar file, or it has none."""

    @abstractmethod
    def files(self) -> Iterator[tuple[str, int]]:
        """Yield all files of the stage, also what is unfinished: path below the root, and bytes."""

    @abstractmethod
    def has(self, shard: str) -> bool:
        """Return whether a shard is known to be committed."""

    @abstractmethod
    def publish(self, folder: Path, shard: str, keys: States) -> None:
        """Have a finished folder appear as a shard, whole; once more if it was interrupted.

        Args:
            folder: A folder in `tmp`, which is gone then.
            shard: Name of the shard.
            keys: Key and status of its rows.

        Raises:
            UserError: The place cannot be written.
        """

    @abstractmethod
    def set_aside(self, shard: str) -> str:
        """Take a damaged shard away; return where it is kept."""

    @abstractmethod
    def remove(self, shard: str, owner: str) -> None:
        """Delete a shard, which disappears as a whole; once more if that was interrupted.

        Args:
            shard: Name of the shard.
            owner: Name of the owner who does it.
        """

    @abstractmethod
    def parts(self) -> set[str]:
        """Return the names of all shards of which anything is there, also of half deleted ones."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a small file of the stage, whole or not at all."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a small file of the stage, if it is there."""

    @abstractmethod
    def claims(self) -> Owners:
        """Return the claims on rows as a new owner sees them."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the folders that are written to."""

    def tidy(self) -> None:  # noqa: B027
        """Put in order what grew while rows were committed."""

    @abstractmethod
    def read_recipe(self) -> bytes:
        """Return what the recipe's file holds.

        Raises:
            FileNotFoundError: There is none.
        """

    def write_recipe(self, content: bytes) -> None:
        """Write the recipe's file, whole or not at all."""
        self.write(RECIPE_FILE, content)


class Folder(StagePlace[Path]):
    """A stage in a folder: a shard is a folder that is renamed into place.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, root)

    def names(self) -> set[str]:
        """Return the names of the shards that are there."""
        return set(os.listdir(self.shards)) if self.shards.is_dir() else set()

    def counts(self, shards: Sequence[str]) -> list[Counts | None]:
        """Return how many rows each shard has, as the ends of their files say."""
        with ThreadPoolExecutor(COUNTING, "count") as threads:
            return list(threads.map(lambda shard: count_rows(self.shards / shard), shards))

    def are_tars(self, shards: Sequence[str]) -> list[bool]:
        """Return of each shard whether it has no files of their own."""
        return [self._is_tar(shard) for shard in shards]

    def _is_tar(self, shard: str) -> bool:
        with suppress(FileNotFoundError):  # joined with other ones meanwhile
            return set(os.listdir(self.shards / shard)) <= {ROWS_FILE, TAR_FILE}
        return True

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield all files below the folder."""
        return files_below(self.root)

    def has(self, shard: str) -> bool:
        """Return whether a shard is there."""
        return (self.shards / shard).exists()

    def publish(self, folder: Path, shard: str, keys: States) -> None:
        """Bring a folder to the disk and rename it into place."""
        for file in folder.iterdir():
            fsync(file)
        fsync(folder)
        retried(lambda: self._rename(folder, self.shards / shard))
        fsync(self.shards)

    def _rename(self, folder: Path, shard: Path) -> None:
        """Give a shard its place; a rename that a network disk did and denied is done.

        A shard of that name has the same rows, made by a call that was killed behind it.
        """
        try:
            os.rename(folder, shard)
        except FileNotFoundError:
            if not shard.is_dir():
                raise
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not shard.is_dir():
                raise
            shutil.rmtree(folder, ignore_errors=True)

    def set_aside(self, shard: str) -> str:
        """Move a shard to the folder `damaged`."""
        target = self.root / DAMAGED / shard
        target.parent.mkdir(exist_ok=True)
        os.rename(self.shards / shard, target)
        return str(target)

    def remove(self, shard: str, owner: str) -> None:
        """Rename a shard away, then delete its files."""
        gone = self.tmp / f"{owner}--gone-{shard}"
        with suppress(FileNotFoundError):
            os.rename(self.shards / shard, gone)
        shutil.rmtree(gone, ignore_errors=True)

    def parts(self) -> set[str]:
        """Return the names of the shards: none is half deleted."""
        return self.names()

    def claims(self) -> Owners:
        """Return claims under a lock of the file system."""
        return Claims(self.root / "claims")

    def prepare(self) -> None:
        """Make the folders of the stage."""
        for part in ("tmp", "claims", SHARDS):
            with plain_disk_errors(self.root):
                (self.root / part).mkdir(parents=True, exist_ok=True)

    def read_recipe(self) -> bytes:
        """Return what the recipe's file holds."""
        return (self.root / RECIPE_FILE).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        with plain_disk_errors(self.root / name):
            write_atomically(self.root / name, content)

    def delete(self, name: str) -> None:
        """Delete a file."""
        (self.root / name).unlink(missing_ok=True)


def read_states(shard: Place) -> States:
    """Return key and status of the rows of a shard."""
    columns = read_columns(shard, ["key", "status"])
    states = columns.get("status") or [None] * len(columns["key"])
    return zip(columns["key"], states, strict=True)

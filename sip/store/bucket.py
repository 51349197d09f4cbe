"""A stage in an object store.

    <stage>/<choice>-<recipe>/recipe.json
    <stage>/<choice>-<recipe>/shards/<shard>/images.tar      written first
    <stage>/<choice>-<recipe>/shards/<shard>/rows.parquet    written last: the commit
    <stage>/<choice>-<recipe>/manifest/                      `sip.store.manifest`
    <stage>/<choice>-<recipe>/claims/                        `sip.store.leases`

The names are those of a folder with `images.storage=webdataset`, so a store can be copied either
way. A shard's name ends with the hash of its rows, which hold the hashes of its files: the same
commit, done again, writes the same objects.

A finished shard is first moved to `unsent` on this machine, and is removed there when its rows are
in the store. What could not be sent, since the process was killed or the store did not answer, is
sent by the next process here that opens the stage. Shards are listed once, when a stage is opened,
so that nothing depends on the manifest being complete; from then on the manifest tells what is new.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from sip.core import moved, object_cache, objects
from sip.core.errors import DamagedError, UserError
from sip.core.files import files_below, plain_disk_errors
from sip.core.tars import read_bytes
from sip.core.uri import Uri
from sip.store.leases import Leases
from sip.store.manifest import THREADS, Manifest
from sip.store.place import DAMAGED, RECIPE_FILE, Owners, StagePlace, States, read_states
from sip.store.shards import FAILED, ROWS_FILE, TAR_FILE, Counts, is_there

UNSENT = "unsent"


class Bucket(StagePlace[Uri]):
    """A stage below a prefix of a bucket.

    Args:
        root: The place of the stage.
        work: Folder of this machine for what is not finished.
    """

    def __init__(self, root: Uri, work: Path) -> None:
        super().__init__(root, work)
        self.manifest = Manifest(root)
        self._names: set[str] | None = None  # committed shards; None: they are to be listed
        self._own: set[str] = set()  # those that this process has committed

    def names(self) -> set[str]:
        """Return the names of the committed shards.

        They are listed the first time, and when an owner died, maybe behind a shard of which the
        manifest does not know.
        """
        if self._names is None:
            self._send_unsent()
            self.manifest.refresh()  # an entry stands behind its shard, and so is read before it
            before = set(self._own)
            listed = (there.name.rpartition("/") for there in objects.listing(self.shards))
            self._names = {shard for shard, _, file in listed if file == ROWS_FILE}
            self._own -= before - self._names  # joined with other ones since
            self._add_missing()
        else:
            self.manifest.refresh()
            self._names |= self.manifest.entries.keys()
        return self._names | self._own

    def _add_missing(self) -> None:
        """Note shards whose writer died behind them, or that were copied here; drop others."""
        assert self._names is not None
        for gone in self.manifest.entries.keys() - self._names:
            del self.manifest.entries[gone]
        missing = sorted(self._names - self.manifest.shards)
        with ThreadPoolExecutor(THREADS, "shards") as threads:
            for shard, states in zip(missing, threads.map(self._states, missing), strict=True):
                if states is None:  # `keys_of` says what is wrong with it
                    continue
                self.manifest.entries[shard] = states
                with suppress(UserError):  # a reader need not have the right to write
                    self.manifest.write(shard, states)

    def _states(self, shard: str) -> list[tuple[str, Any]] | None:
        """Return key and status of a shard's rows; None if it is damaged, or gone meanwhile."""
        try:
            return list(read_states(self.shards / shard))
        except DamagedError:
            return None

    def look_again(self) -> None:
        """Have the shards listed at the next look."""
        self._names = None

    def forget(self) -> None:
        """Have shards listed and the manifest read once more."""
        self._names = None
        self.manifest = Manifest(self.root)

    def keys_of(self, shards: Sequence[str]) -> Iterator[tuple[str, States]]:
        """Yield each shard with what the manifest says of it."""
        for shard in shards:
            states: States | None = self.manifest.entries.pop(shard, None)
            yield shard, read_states(self.shards / shard) if states is None else states

    def fetch(self, shards: Iterable[str]) -> None:
        """Copy the rows of shards to this machine, several at a time."""
        files = [str(self.shards / shard / ROWS_FILE) for shard in shards]
        if len(files) > 1:
            with ThreadPoolExecutor(THREADS, "fetch") as threads, suppress(OSError):
                list(threads.map(read_bytes, files))  # what is missing is named when it is read

    def counts(self, shards: Sequence[str]) -> list[Counts | None]:
        """Return how many rows each shard has, as the manifest says."""
        found: list[Counts | None] = []
        for shard in shards:
            try:
                states = [state for _, rows in self.keys_of([shard]) for _, state in rows]
            except DamagedError:
                found.append(None)
            else:
                found.append(Counts(len(states), states.count(FAILED)))
        return found

    def are_tars(self, shards: Sequence[str]) -> list[bool]:
        """Return of each shard whether it has no objects for single files."""
        listed = (there.name.rpartition("/") for there in objects.listing(self.shards))
        single = {shard for shard, _, file in listed if file not in (ROWS_FILE, TAR_FILE)}
        return [shard not in single for shard in shards]

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield all objects below the prefix, and what is not sent or not finished."""
        yield from ((there.name, there.size) for there in objects.listing(self.root))
        yield from files_below(self.work)

    def storage(self, wanted: str) -> str:
        """Return "webdataset": an object a shard, and not one an image."""
        return "webdataset"

    def has(self, shard: str) -> bool:
        """Return whether a shard is known to be committed."""
        return shard in self._own

    def publish(self, folder: Path, shard: str, keys: States) -> None:
        """Send a folder's files, its rows last."""
        unsent = self.work / UNSENT / shard
        if folder.is_dir():
            unsent.parent.mkdir(exist_ok=True)
            os.rename(folder, unsent)
        if not self._send(unsent, fcntl.LOCK_EX) and not self._is_sent(shard):
            raise UserError(
                f"{folder}: its {len(list(keys))} finished rows are gone: somebody deleted the "
                "folder; start the same command again"
            )
        with suppress(UserError):  # the next look at the shards adds it
            self.manifest.write(shard, keys)
        self._own.add(shard)

    def _is_sent(self, shard: str) -> bool:
        """Return whether another process has committed a shard; it may be joined since."""
        return is_there(self.shards / shard) or any(
            shard in olds for olds in moved.takeovers(self.root).values()
        )

    def _send(self, folder: Path, lock: int) -> bool:
        """Send a finished shard, and remove it here; return whether it was there to be sent."""
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, lock)
            if not folder.is_dir():
                return False
            place, is_whole = self.shards / folder.name, (folder / ROWS_FILE).exists()
            files = sorted(folder.iterdir(), key=lambda file: file.name == ROWS_FILE)
            for file in files if is_whole else ():  # else it was sent, and its removal interrupted
                objects.write(place / file.name, file)
            for file in reversed(files):  # its rows first: without them it is not sent again
                object_cache.adopt(place / file.name, file)  # it is read again soon
                file.unlink(missing_ok=True)
            folder.rmdir()
            return is_whole
        finally:
            os.close(descriptor)

    def _send_unsent(self) -> None:
        """Send what earlier processes of this machine could not."""
        folder = self.work / UNSENT
        for shard in sorted(folder.iterdir()) if folder.is_dir() else ():
            with suppress(BlockingIOError):  # its own process is at it
                self._send(shard, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def set_aside(self, shard: str) -> str:
        """Copy a shard's objects to `damaged`, and delete them, its rows first."""
        place, target = self.shards / shard, self.root / DAMAGED / shard
        files = sorted(there.name for there in objects.listing(place))
        for file in files:
            objects.copy(place / file, target / file)
        self.remove(shard, "")
        return str(target)

    def remove(self, shard: str, owner: str) -> None:
        """Delete a shard's objects, its rows first: without them it is none."""
        place = self.shards / shard
        files = [there.name for there in objects.listing(place)]
        if ROWS_FILE in files:
            objects.delete(place / ROWS_FILE)
        objects.delete_below(place)
        for file in files:
            object_cache.forget(str(place / file))
        self.manifest.remove(shard)

    def parts(self) -> set[str]:
        """Return the names of all shards below which an object is."""
        return {there.name.partition("/")[0] for there in objects.listing(self.shards)}

    def claims(self) -> Owners:
        """Return claims by objects with a lease."""
        return Leases(self.root / "claims", on_death=self.look_again)

    def prepare(self) -> None:
        """Make the folder of what is not finished."""
        with plain_disk_errors(self.tmp, "paths.cache"):
            self.tmp.mkdir(parents=True, exist_ok=True)

    def tidy(self) -> None:
        """Make one object of the manifest's many."""
        self.manifest.fold()

    def read_recipe(self) -> bytes:
        """Return what the recipe's object holds."""
        return objects.read(self.root / RECIPE_FILE)

    def write(self, name: str, content: bytes) -> None:
        """Write an object."""
        objects.write(self.root / name, content)

    def delete(self, name: str) -> None:
        """Delete an object."""
        objects.delete(self.root / name)

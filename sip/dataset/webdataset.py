"""Own pictures in tar files, the format of the library `webdataset`; nothing is unpacked.

Members of one picture share all before the first dot of their name: `<key>.jpg` (or .jpeg, .png,
.webp), and `<key>.cls`, the class index as text, or `<key>.json`. The tar files are not compressed:
a picture is read where it lies, by the reference `<tar>::<offset>:<size>` (`sip.core.tars`).
"""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.core.image_io import MAX_BYTES, size_of
from sip.core.tars import read_bytes, split_reference
from sip.dataset.base import Split
from sip.dataset.files import PARTS, Entry, Picture, content, prompt_words
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import Subset, make_parts

SUFFIXES = ("jpg", "jpeg", "png", "webp")
NAMES_FILE = "classes.txt"
MAX_FACTS = 2**20  # bytes of a .json or .cls


@dataclass
class Group:
    """The members of one picture: where they lie; `label` and `class_name` as they say."""

    sample_id: str
    members: dict[str, str] = field(default_factory=dict)  # ending -> reference
    label: int | None = None
    class_name: str | None = None

    @property
    def picture(self) -> str | None:
        """Where the picture lies."""
        return next((self.members[suffix] for suffix in SUFFIXES if suffix in self.members), None)


def read_groups(tar: Path, prefix: str) -> list[Group]:
    """Return what a tar file holds, from its headers, in its order; only groups with a picture.

    Raises:
        UserError: It is no plain tar file, or holds a name twice.
    """
    groups: dict[str, Group] = {}
    end = -1
    try:
        with tarfile.open(tar, "r:") as file:
            for member in file:
                if member.offset <= end:  # a header of negative size: read on, it would never end
                    raise tarfile.ReadError(f"{member.name[:100]!r} lies before the one before it")
                end = member.offset
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if not (member.isreg() and not member.issparse() and stem and ending):
                    continue
                key = f"{folder}/{stem}" if folder else stem
                members = groups.setdefault(key, Group(f"{prefix}/{key}")).members
                if ending.lower() in members:
                    raise UserError(f"{tar}: expected each name once, came {member.name} again")
                members[ending.lower()] = f"{tar}::{member.offset_data}:{member.size}"
    except UserError:
        raise
    except Exception as error:  # on damaged headers tarfile raises ValueError and others too
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{tar}: expected a tar file that is not compressed ({reason}); unpack it, and pack it "
            "with tar -cf"
        ) from error
    return [group for group in groups.values() if group.picture is not None]


def read_member(reference: str, at_most: int) -> bytes:
    """Return a member's bytes.

    Raises:
        OSError, ValueError: The tar file is gone or ends before it, or it is longer than `at_most`.
    """
    parts = split_reference(reference)
    if parts and parts[2] > at_most:
        raise ValueError(f"{parts[2]} bytes is more than {at_most} bytes")
    return read_bytes(reference)


def open_member(reference: str) -> Picture:
    """Return a picture of a tar file; the hash is of its bytes."""
    try:
        data = read_member(reference, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise UserError(f"expected the picture {reference}: {error}; mend the tar file") from error
    return Picture(reference, *size_of(data), hashlib.sha256(data).hexdigest())


class WebDataset(Reader):
    """Pictures in tar files.

    Args:
        root: Their folder.
        shards: train, val, test -> names of the part's tar files in `root`, with * and ?; None
            where the fraction makes the part.
        label_key: Of the JSON, where there is no .cls: a class index or a class name.
        class_name_key: Of the JSON: the class in words; None if it has none.
        class_names: The classes by label; None for `classes.txt` in `root`, a class a line, or
            else for what the JSON says.
        val_fraction, test_fraction: As of `sip.dataset.image_folder.ImageFolder`.
        split_seed: Chooses them.
        prompt_names: Class name -> words that fit a prompt, where they differ.
        shots, fraction, imbalance, label_noise, seed: See `sip.dataset.subsets.Subset`.
    """

    def __init__(
        self,
        root: str,
        shards: dict[Split, str | None],
        label_key: str,
        class_name_key: str | None,
        class_names: list[str] | None,
        val_fraction: float,
        test_fraction: float,
        split_seed: int,
        prompt_names: dict[str, str],
        shots: int | None,
        fraction: float | None,
        imbalance: float | None,
        label_noise: float | None,
        seed: int,
    ) -> None:
        super().__init__(Subset(shots, fraction, imbalance, label_noise, seed))
        self.root = Path(root).resolve()
        self.shards = shards
        self.label_key = label_key
        self.class_name_key = class_name_key
        self.names = class_names
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.prompt_names = prompt_names

    def facts(self) -> dict[str, Any]:
        """Return what decides the pictures of the splits, their content too."""
        return {
            "class": "sip.dataset.webdataset.WebDataset",
            "version": 1,
            "root": self.root.name,
            "shards": self.shards,
            "class_names": list(self.class_names),
            "val_fraction": self.val_fraction,
            "test_fraction": self.test_fraction,
            "split_seed": self.split_seed,
            "content": content(self),
        }

    def listing(self) -> Listing:
        """Return the classes and the entries, in the order of the tar files' names.

        Raises:
            UserError: The folder, a tar file, a label or a class's name is missing.
        """
        groups = {part: self._groups(part) for part in PARTS if self.shards.get(part)}
        if "train" not in groups:
            raise UserError("dataset.shards.train: expected names of tar files, came null")
        for group in (group for rows in groups.values() for group in rows):
            self._read_label(group)
        names = self._names([group for rows in groups.values() for group in rows])
        entries: dict[Split, list[Entry]] = {
            part: [self._entry(group, names) for group in rows] for part, rows in groups.items()
        }
        make_parts(entries, self.test_fraction, self.val_fraction, self.split_seed)
        return prompt_words(names, self.prompt_names), entries

    def _groups(self, part: Split) -> list[Group]:
        pattern = str(self.shards[part] or "")
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts or "\0" in pattern:
            raise UserError(
                f"dataset.shards.{part}: expected names of tar files within dataset.root, came "
                f"{pattern!r}; say where they are with dataset.root=..."
            )
        tars = sorted(path for path in self.root.glob(pattern) if path.is_file())
        if not tars or any(tar.suffix != ".tar" for tar in tars):
            found = next((tar.name for tar in tars if tar.suffix != ".tar"), "none")
            raise UserError(
                f"dataset.shards.{part}: expected tar files {pattern} in {self.root}, found "
                f"{found}; say where they are with dataset.root=... and what they are called"
            )
        groups = []
        for tar in tars:
            prefix = tar.relative_to(self.root).with_suffix("").as_posix()
            groups += read_groups(tar, prefix)
        if not groups:
            raise UserError(
                f"dataset.shards.{part}: expected pictures ({', '.join(SUFFIXES)}) in {tars[0]} "
                "and so on, found none"
            )
        return groups

    def _read_label(self, group: Group) -> None:
        """Fill in what `.cls` and `.json` say."""
        facts: dict[str, Any] = {}
        try:
            if "json" in group.members:
                facts = json.loads(read_member(group.members["json"], MAX_FACTS))
            value = facts.get(self.label_key)
            if "cls" in group.members:
                value = int(read_member(group.members["cls"], MAX_FACTS))
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{group.sample_id}: expected a whole number in its .cls and an object in its "
                f".json ({error}); mend it"
            ) from error
        if type(value) is int:
            group.label = value
            name = facts.get(self.class_name_key) if self.class_name_key else None
        else:
            name = value if value is not None else facts.get(self.class_name_key or "")
        group.class_name = None if name is None else str(name)
        if group.label is None and group.class_name is None:
            raise UserError(
                f"{group.sample_id}: expected a label in {self.label_key} of its .json, or a .cls "
                f"beside the picture, came {', '.join(facts) or 'neither'}; set dataset.label_key"
            )

    def _names(self, groups: Sequence[Group]) -> list[str]:
        """Return the classes by label: as stated, of the file, or as the JSON says."""
        if self.names is not None:
            return [str(name) for name in self.names]
        if (file := self.root / NAMES_FILE).is_file():
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError as error:
                raise UserError(f"{file}: expected text in UTF-8 ({error}); save it so") from error
            return [line.strip() for line in lines if line.strip()]
        if all(group.label is None for group in groups):
            return sorted({group.class_name or "" for group in groups})
        by_label = {group.label: group.class_name for group in groups if group.label is not None}
        num = max(by_label) + 1
        looked = range(min(num, len(by_label) + 5))  # one number may be absurd
        unnamed = [label for label in looked if by_label.get(label) is None]
        if unnamed:
            raise UserError(
                f"dataset.class_names: expected a name for each of {num} classes, found none for "
                f"{', '.join(map(str, unnamed[:5]))}; list them, or write {NAMES_FILE} in "
                f"{self.root}, a class a line"
            )
        return [by_label[label] or "" for label in range(num)]

    def _entry(self, group: Group, names: Sequence[str]) -> Entry:
        label = group.label
        if label is None:
            if group.class_name not in names:
                raise UserError(
                    f"{group.sample_id}: expected one of the classes {', '.join(names)}, came "
                    f"{group.class_name!r}"
                )
            label = names.index(group.class_name)
        return Entry(group.sample_id, label, partial(open_member, group.picture or ""))

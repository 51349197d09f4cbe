"""Your own images in tar files, the format of the library `webdataset`; they are not unpacked.

Members of one image share all before the first dot of their name: `<key>.jpg` (or the ending of
another image), and `<key>.cls`, the class index as text, or `<key>.json`. The tar files are not
compressed: an image is read in place, by the reference `<tar>::<offset>:<size>` (`sip.core.tars`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from sip.core.component import component, known_by
from sip.core.errors import UserError
from sip.core.object_cache import folder_on_disk
from sip.core.ranges import Seed
from sip.core.tars import MAX_BYTES, read_bytes, reference_to, split_reference
from sip.core.text import join_first, reason_of
from sip.dataset.base import Split
from sip.dataset.files import GENERATED, PARTS, Entry, ImageFile
from sip.dataset.folders import SUFFIXES, is_image, say_once
from sip.dataset.labels import (
    ClassNames,
    PromptNames,
    is_missing,
    number_of,
    prompt_words,
    read_names,
    sorted_classes,
    text_of,
)
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import HeldOut
from sip.dataset.tar_members import MAX_FACTS, members_of

NAMES_FILE = "classes.txt"
USUAL: dict[Split, tuple[str, ...]] = {  # names of parts that `shards` does not state
    "val": ("val-*.tar", "validation-*.tar"),
    "test": ("test-*.tar",),
}
FACTS = ("json", "cls")  # endings of what states the label


@dataclass
class Group:
    """The members of one image, and what they state."""

    sample_id: str
    members: dict[str, str] = field(default_factory=dict)  # ending -> reference
    contents: dict[str, bytes] = field(default_factory=dict)  # ending -> what need not be read
    label: int | None = None
    class_name: str | None = None
    is_generated: bool = False

    @cached_property
    def images(self) -> list[str]:
        """Endings of the members, once all are known, that are images; the first is used."""
        return [suffix[1:] for suffix in SUFFIXES if suffix[1:] in self.members]

    @property
    def image(self) -> str | None:
        """Reference of the image."""
        return self.members[self.images[0]] if self.images else None

    def read(self, ending: str) -> bytes:
        """Return the bytes of a member that states facts.

        Raises:
            OSError, ValueError: As of `read_member`.
        """
        known = self.contents.get(ending)
        return read_member(self.members[ending], MAX_FACTS) if known is None else known


Passed = dict[str, list[str]]  # reason -> members that are not used


def read_groups(tar: Path, prefix: str, passed: Passed, lists: Path | None = None) -> list[Group]:
    """Return the content of a tar file, from its headers, in its order; only groups with an image.

    Args:
        tar: The file.
        prefix: Begins the sample ids.
        passed: Gets the members that may be images and are not used.
        lists: Folder for lists of members, which a later start reads in place of the tar file.

    Raises:
        UserError: It is no plain tar file, or contains a name twice.
    """
    groups: dict[str, Group] = {}
    for member in members_of(tar, FACTS, lists):
        folder, _, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        if not (stem and ending):
            continue
        if not member.is_file:
            passed.setdefault("links or special files", []).append(member.name)
            continue
        key = f"{folder}/{stem}" if folder else stem
        if (group := groups.get(key)) is None:
            group = groups[key] = Group(f"{prefix}/{key}")
        ending = ending.lower()
        if ending in group.members:
            raise UserError(f"{tar}: names must differ, got {member.name} twice; rename one")
        group.members[ending] = reference_to(tar, member.start, member.size)
        if member.content is not None:
            group.contents[ending] = member.content
    for group in groups.values():
        for ending in group.images[1:]:
            name = f"{group.sample_id.removeprefix(f'{prefix}/')}.{ending}"
            passed.setdefault("further images of a key", []).append(name)
        if group.image is None:
            dotted = [end for end in group.members if is_image(end)]
            reason = "images with a dot in their key" if dotted else "keys without an image"
            name = group.sample_id.removeprefix(f"{prefix}/")
            passed.setdefault(reason, []).append(f"{name}.{dotted[0]}" if dotted else name)
    return [group for group in groups.values() if group.image is not None]


def read_member(reference: str, at_most: int) -> bytes:
    """Return a member's bytes.

    Raises:
        OSError, ValueError: The tar file is gone or ends before it, or it is longer than `at_most`.
    """
    parts = split_reference(reference)
    if parts and parts[2] > at_most:
        raise ValueError(f"{parts[2]} bytes is more than {at_most} bytes")
    return read_bytes(reference)


def open_member(reference: str) -> ImageFile:
    """Return an image of a tar file; the hash is of its bytes."""
    try:
        data = read_member(reference, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise UserError(
            f"dataset: cannot read the image {reference}: {error}; fix the tar file"
        ) from error
    return ImageFile.of(reference, data)


@component
class WebDataset(Reader):
    """Images in tar files.

    Args:
        root: Their folder.
        shards: train, val, test -> names of the part's tar files in `root`, with * and ?. None for
            val and test: the usual names (val-*.tar, validation-*.tar, test-*.tar) if there are
            such files, else the fraction makes the part. False: the fraction makes it.
        label_key: Key in the JSON of the class index or name, if there is no .cls.
        class_name_key: Key in the JSON of the class in words; None if it has none.
        classes: Class names by label; None for `classes.txt` in `root`, a class a line, or else
            for what the JSON says.
        val_fraction, test_fraction: As of `sip.dataset.image_folder.ImageFolder`.
        split_seed: Chooses them.
        prompt_names: Class name -> words that fit a prompt, if they differ.
    """

    root: str = known_by("content")
    shards: dict[Split, str | Literal[False] | None]
    label_key: str
    class_name_key: str | None
    classes: list[str] | None
    val_fraction: HeldOut
    test_fraction: HeldOut
    split_seed: Seed
    prompt_names: PromptNames

    @property
    def place(self) -> Path:
        """The folder."""
        return Path(self.root).expanduser().resolve()

    def listing(self) -> Listing:
        """Return the classes and the entries, in the order of the tar files' names.

        Raises:
            UserError: The folder, a tar file, a label or a class's name is missing.
        """
        if not self.shards.get("train"):
            given = text_of(self.shards.get("train"))
            raise UserError(
                f"dataset.shards.train: must be names of tar files, got {given}; set it"
            )
        tars = self._all_tars()
        groups = {part: self._groups(part, tars[part]) for part in PARTS if part in tars}
        for group in (group for rows in groups.values() for group in rows):
            self._read_label(group)
        names = self._names([group for rows in groups.values() for group in rows])
        labels = {name: label for label, name in enumerate(names)}
        entries: dict[Split, list[Entry]] = {
            part: [self._entry(group, labels) for group in rows] for part, rows in groups.items()
        }
        self._make_parts(entries, self.test_fraction, self.val_fraction, self.split_seed)
        return prompt_words(names, self.prompt_names), entries

    def column_values(self, column: str, key: str) -> dict[str, Any]:
        """Return sample_id -> value of a key of the JSON, or text of the member of that ending.

        Args:
            column: Key or ending.
            key: Key that it was configured with, for messages.

        Raises:
            UserError: No image has either, or one cannot be read.
        """
        tars = self._all_tars()
        groups = [group for part, files in tars.items() for group in self._groups(part, files)]
        values, keys = {}, set[str]()
        for group in groups:
            facts: dict[str, Any] = {}
            try:
                if column in group.members and column not in {*group.images, *FACTS}:
                    text = group.read(column).decode("utf-8-sig")
                    facts = {column: text}
                elif "json" in group.members:
                    facts = dict(json.loads(group.read("json")))
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise UserError(
                    f"{key}: must be of text in UTF-8 or in an object of JSON, got another content "
                    f"for {group.sample_id} ({reason_of(error)}); fix it"
                ) from error
            keys |= facts.keys()
            values[group.sample_id] = facts.get(column)
        if column not in keys:
            there = ", ".join(sorted(keys)) or "no keys"
            raise UserError(
                f"{key}: must be one of {there} of the .json, or the ending of a text member, got "
                f"{column!r}"
            )
        return values

    def _all_tars(self) -> dict[Split, list[Path]]:
        """Return the tar files of each part.

        Raises:
            UserError: There are none, or two parts share one.
        """
        tars = {part: self._tars(part) for part in PARTS if self.shards.get(part)}
        tars |= self._usual_parts(tars)
        _refuse_shared(tars)
        return tars

    def _usual_parts(self, given: dict[Split, list[Path]]) -> dict[Split, list[Path]]:
        """Return the tar files of val and test that have the usual names and are not used yet."""
        used = {tar for tars in given.values() for tar in tars}
        found: dict[Split, list[Path]] = {}
        for part, patterns in USUAL.items():
            if self.shards.get(part) is None:
                names = [str(Path(self.shards["train"] or "").with_name(name)) for name in patterns]
                tars = sorted({tar for name in names for tar in self.place.glob(name)} - used)
                if tars:
                    found[part] = tars
                    text = f"{part} is {join_first([tar.name for tar in tars])}"
                    say_once(self.place, f"{text}; to leave it out: dataset.shards.{part}=false")
        return found

    def _tars(self, part: Split) -> list[Path]:
        pattern = str(self.shards[part] or "")
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts or "\0" in pattern:
            raise UserError(
                f"dataset.shards.{part}: must be names of tar files within dataset.root, got "
                f"{pattern!r}; set dataset.root to their folder"
            )
        try:
            tars = sorted(path for path in self.place.glob(pattern) if path.is_file())
        except (ValueError, IndexError):  # "a**.tar" and "." are no patterns
            tars = []
        if not tars or any(tar.suffix != ".tar" for tar in tars):
            match = next((tar.name for tar in tars if tar.suffix != ".tar"), "none")
            fix = "write * in place of {...}" if "{" in pattern else "or this to their names"
            raise UserError(
                f"dataset.shards.{part}: must match tar files, got {pattern!r}, which matches "
                f"{match} in {self.place}; set dataset.root, {fix}"
            )
        return tars

    @property
    def _lists(self) -> Path | None:
        """Folder for lists of the tar files' members; None without an index."""
        return folder_on_disk(self.index) / "tars" if self.index else None

    def _groups(self, part: Split, tars: list[Path]) -> list[Group]:
        groups, passed = list[Group](), Passed()
        for tar in tars:
            prefix = tar.relative_to(self.place).with_suffix("").as_posix()
            groups += read_groups(tar, prefix, passed, self._lists)
        for reason, names in passed.items():
            text = f"passed over {len(names):,} {reason} in the shards of {part}"
            say_once(self.place, f"{text}: {join_first(names)}")
        if not groups:
            raise UserError(
                f"dataset.shards.{part}: must be tar files with images ({', '.join(SUFFIXES)}), "
                f"got none in {tars[0]} and so on; set it to other files"
            )
        return groups

    def _read_label(self, group: Group) -> None:
        """Read `.cls` and `.json` into the group.

        Raises:
            UserError: There is no label, it is not one, or the two files contradict each other.
        """
        facts: dict[str, Any] = {}
        number = None
        try:
            if "json" in group.members:
                facts = json.loads(group.read("json"))
            value, name = facts.get(self.label_key), facts.get(self.class_name_key or "")
            if "cls" in group.members:
                text = group.read("cls").decode("utf-8-sig").strip()
                if not text.removeprefix("-").isdecimal():
                    raise ValueError(f"{text[:20]!r} is no whole number")
                number = int(text)
            stated = number_of(value)
            if stated is None and not is_missing(value):
                name = value  # a label that is a name
            group.class_name = None if is_missing(name) else text_of(name)
            if self.label_key != "kind":
                group.is_generated = facts.get("kind") == GENERATED
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{group.sample_id}: must have a whole number in its .cls, or an object with a "
                f"number or a name in {self.label_key} in its .json, got another content "
                f"({reason_of(error)}); fix it"
            ) from error
        if number is not None and stated is not None and number != stated:
            raise UserError(
                f"{group.sample_id}: must have one label, got {number} in its .cls and {stated} in "
                f"{self.label_key} of its .json; fix it, or set dataset.label_key to another key"
            )
        group.label = stated if number is None else number
        if group.label is None and group.class_name is None:
            if "json" in group.members:
                got = f"a .json with {', '.join(facts) or 'no keys'}"
                fix = "set dataset.label_key to the key of the label" if facts else "add the label"
            else:
                got, fix = (
                    "neither",
                    f"add {group.sample_id.rpartition('/')[2]}.cls to the tar file",
                )
            raise UserError(
                f"{group.sample_id}: must have a label in {self.label_key} of its .json, or a "
                f".cls, got {got}; {fix}"
            )

    def _names(self, groups: Sequence[Group]) -> list[str]:
        """Return the classes by label: as configured, of the file, or of the JSON.

        Raises:
            UserError: Groups contradict each other, or a class has no name.
        """
        stated = ClassNames()
        for group in groups:
            if group.label is not None and group.class_name is not None:
                stated.add(group.label, group.class_name, f"the .json of {group.sample_id}")
        if self.classes is not None:
            return stated.agreed([text_of(name) for name in self.classes], "dataset.classes")
        if (file := self.place / NAMES_FILE).is_file():
            return stated.agreed(read_names(file), str(file))
        if all(group.label is None for group in groups):
            return sorted_classes(group.class_name or "" for group in groups)
        num = 1 + max(group.label for group in groups if group.label is not None)
        return stated.names(
            num, f"list them, or write {NAMES_FILE} in {self.place}, a class a line"
        )

    def _entry(self, group: Group, labels: Mapping[str, int]) -> Entry:
        label = group.label
        if label is None:
            label = labels.get(group.class_name or "")
        if label is None:
            raise UserError(
                f"{group.sample_id}: must be of the classes {', '.join(labels)}, got "
                f"{group.class_name!r}; fix it, or list all in dataset.classes"
            )
        image = group.image or ""
        return Entry(group.sample_id, label, partial(open_member, image), image, group.is_generated)


def _refuse_shared(tars: Mapping[Split, Sequence[Path]]) -> None:
    """Refuse to train on what is tested.

    Raises:
        UserError: Two parts have a tar file in common.
    """
    first: dict[Path, Split] = {}
    for part, files in tars.items():
        for tar in files:
            if (other := first.setdefault(tar.resolve(), part)) != part:
                raise UserError(
                    f"dataset.shards.{part}: must be other tar files than those of {other}, got "
                    f"{tar.name} in both; name the files of each part"
                )

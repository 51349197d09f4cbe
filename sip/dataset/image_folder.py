"""Your own images in folders: one folder a class, with or without folders train, val and test.

    root/train/cat/1.jpg  root/val/cat/2.jpg  root/test/cat/3.jpg     parts as given
    root/cat/1.jpg        root/dog/1.jpg                              parts made by `split_seed`

With `train` but without `val` or `test`, the missing part is taken from train by its fraction.
Images may lie in folders within a class folder; links are followed. Hidden files and what systems
leave behind (Thumbs.db, __MACOSX, ...) are passed over, any other file with a line that names it.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from sip.config.words import with_value
from sip.core.component import added, component, known_by
from sip.core.errors import UserError
from sip.core.ranges import Seed
from sip.core.text import join_first
from sip.dataset.base import Split
from sip.dataset.files import GENERATED, PARTS, Entry
from sip.dataset.folders import (
    SUFFIXES,
    Files,
    files_below,
    files_in,
    folders_in,
    inside,
    is_image,
    say_once,
    say_passed_over,
)
from sip.dataset.labels import PromptNames, composed, part_of, prompt_words
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import HeldOut

TABLE = "metadata.csv"  # of an export
PACKED = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}  # each may be a class


@component
class ImageFolder(Reader):
    """Images in class folders.

    Args:
        root: The folder.
        val_fraction, test_fraction: Share of each class that becomes val and test, if there is no
            such folder. The test part is taken first, of all images. 0 for none, to generate
            images without training a classifier.
        split_seed: Chooses them.
        prompt_names: Class folder -> words that fit a prompt, if they differ.
        label: Name of the only class, to generate from images without class folders: all images in
            `root`, or the one that it names, are the training part. None: the folders are classes.
    """

    root: str = known_by("content")
    val_fraction: HeldOut
    test_fraction: HeldOut
    split_seed: Seed
    prompt_names: PromptNames
    label: str | None = added(neutral=None)

    @property
    def place(self) -> Path:
        """The folder."""
        return Path(self.root).expanduser()

    def listing(self) -> Listing:
        """Return the classes, in the order of the folders' names, and the entries.

        Raises:
            UserError: The folder is missing or not as described above.
        """
        self._require_root()
        if self.label is not None:
            return self._of_one_class(self.label)
        folders = {folder.name: folder for folder in folders_in(self.place)}
        _refuse_misnamed_parts(self.place, list(folders))
        given: list[Split] = [part for part in PARTS if part in folders]
        if given and "train" not in given:
            raise UserError(
                f"dataset.root: must contain train next to {' and '.join(given)}, got no train in "
                f"{self.place.resolve()}; add it, or put the class folders there without parts"
            )
        train_folder = self.place / "train" if given else self.place
        names = [folder.name for folder in folders_in(train_folder)]
        if not names:
            raise UserError(
                f"dataset.root: must contain a folder for each class, got none in "
                f"{train_folder.resolve()}; put the images of class cat into the folder cat, "
                "or, to generate from images of one class, name it: dataset.label=cat"
            )
        words = prompt_words(names, self.prompt_names)
        names = composed(names)
        entries = {part: self._entries(part, self.place / part, names) for part in given}
        if given:
            unused = [folder for name, folder in folders.items() if name not in given]
            say_passed_over(self.place, unused, "folder", "next to train")
            say_passed_over(self.place, _images_in(self.place), "image", "in no class folder")
        else:
            entries["train"] = self._entries("train", self.place, names)
        packed = [file for file in files_in(train_folder) if file.suffix.lower() in PACKED]
        say_passed_over(self.place, packed, "archive", "next to the classes, not unpacked")
        self._make_parts(entries, self.test_fraction, self.val_fraction, self.split_seed)
        return words, entries

    @cached_property
    def _generated(self) -> set[str]:
        """Files that the table of an export lists as generated."""
        table = self.place / TABLE
        if not table.is_file():
            return set()
        try:
            with table.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error):  # a table of the user's own
            return set()
        return {row.get("file_name") or "" for row in rows if row.get("kind") == GENERATED}

    def _of_one_class(self, label: str) -> Listing:
        """Return all images as the training part of one class."""
        if self.place.is_file():
            files = Files([str(self.place)])
        else:
            files = files_below(self.place)
            self._say_rest(files.rest, files.special)
        if not files.images:
            raise UserError(
                f"dataset.root: must contain images ({', '.join(SUFFIXES)}), got none in "
                f"{self.place.resolve()}; set dataset.root to their folder"
            )
        top = self.place.parent if self.place.is_file() else self.place
        names = inside(top, files.images)
        folders = sorted({name.split("/")[0] for name in names if "/" in name})
        if len(folders) > 1:
            text = f"{len(folders)} folders ({join_first(folders)}) are merged into one class"
            say_once(self.place, f"{text}, {label}; to keep them as classes: dataset.label=null")
        entries: dict[Split, list[Entry]] = {part: [] for part in PARTS}
        entries["train"] = [
            Entry.of_file(name, 0, path) for name, path in zip(names, files.images, strict=True)
        ]
        return prompt_words([label], self.prompt_names), entries

    def _require_root(self) -> None:
        if self.place.is_dir() or (self.label is not None and is_image(self.place.name)):
            return
        place = self.place.resolve()
        if self.place.exists():
            raise UserError(
                f"dataset.root: must be a folder of images, got the file {place}; "
                + _reader_of(place)
            )
        raise UserError(
            f"dataset.root: must be a folder of images, got {place}, which does not exist; "
            "set dataset.root to the folder"
        )

    def _entries(self, part: Split, folder: Path, names: Sequence[str]) -> list[Entry]:
        """Return the images of one part."""
        entries, rest, special = list[Entry](), list[str](), list[str]()
        class_folders = {class_folder: Files() for class_folder in folders_in(folder)}
        labels = {name: label for label, name in enumerate(names)}
        own_names = composed([class_folder.name for class_folder in class_folders])
        generated = self._generated
        for class_folder, name in zip(class_folders, own_names, strict=True):
            if name not in labels:
                raise _unknown_class(class_folder, names)
            files = class_folders[class_folder] = files_below(class_folder)
            _refuse_parts_within(class_folder, files.folders)
            if not files.images:
                raise UserError(
                    f"dataset.root: each class folder must contain images ({', '.join(SUFFIXES)}), "
                    f"got none in {class_folder}; fill or delete it"
                )
            label, ids = labels[name], inside(self.place, files.images)
            entries += [
                Entry.of_file(sample_id, label, path, sample_id in generated)
                for sample_id, path in zip(ids, files.images, strict=True)
            ]
            rest += files.rest
            special += files.special
        if part == "train":
            _say_what_lies_within(class_folders)
        say_passed_over(self.place, _images_in(folder), "image", "in no class folder")
        self._say_rest(rest, special)
        return entries

    def _say_rest(self, rest: Sequence[str], special: Sequence[str]) -> None:
        """Print which files below the class folders are not used, by reason."""
        say_passed_over(self.place, rest, "file", "without the name of an image")
        say_passed_over(self.place, special, "file", "(pipe, socket or device)")


def _reader_of(file: Path) -> str:
    """Return what to do about a file in place of a folder of images."""
    if is_image(file.name):
        return "name its class with dataset.label=..."
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv"):
        return f"a list of images is {with_value('dataset=csv dataset.path={}', str(file))}"
    folder = str(file.parent)
    if kind == ".parquet":
        return f"Parquet is {with_value('dataset=huggingface dataset.path={}', folder)}"
    text = "unpack it and set dataset.root to the folder"
    if kind == ".tar":
        shards = with_value("dataset=webdataset dataset.root={}", folder)
        text += f", or, if it is a shard with labels: {shards}"
    return text


def _images_in(folder: Path) -> list[Path]:
    """Return the images that lie in a folder itself."""
    return [file for file in files_in(folder) if is_image(file.name)]


def _say_what_lies_within(class_folders: Mapping[Path, Files]) -> None:
    """Print a line if the class folders look like folders above the classes."""
    (names, *different) = {tuple(files.folders) for files in class_folders.values()}
    if different or len(names) < 2 or any(map(_images_in, class_folders)):
        return
    shown = ", ".join(names[:5])
    first = next(iter(class_folders))
    if len(class_folders) == 1:
        text = (
            f"one class, {first.name}, with images in {len(names)} folders ({shown}); if these are "
            f"the classes: {with_value('dataset.root={}', str(first))}"
        )
    else:
        text = (
            f"{len(class_folders)} classes ({join_first([place.name for place in class_folders])}) "
            f"with the same {len(names)} folders in each ({shown}); if these are the classes, "
            "rename the folders above them to train, val and test"
        )
    say_once(first, text)


def _refuse_misnamed_parts(root: Path, names: Sequence[str]) -> None:
    """Refuse folders that would be taken for classes, or be ignored.

    Raises:
        UserError: One has another name of a part, or its name in capitals.
    """
    meant = {
        name: part
        for name in names
        if (part := part_of(name)) and name not in PARTS
        if folders_in(root / name) and not _images_in(root / name)  # else it may well be a class
    }
    if meant and "train" in {*names, *meant.values()}:
        renames = join_first([f"{name} to {part}" for name, part in meant.items()], len(meant))
        raise UserError(
            f"dataset.root: parts must be named train, val and test, got {', '.join(meant)} in "
            f"{root.resolve()}; rename {renames}"
        )


def _refuse_parts_within(class_folder: Path, folders: Sequence[str]) -> None:
    """Refuse to mix the parts of a class.

    Raises:
        UserError: Its folder holds the folder train, under whatever name.
    """
    parts = {part_of(name): class_folder / name for name in folders}
    if "train" in parts:
        raise UserError(
            f"dataset.root: train must be above the classes, got {parts['train']}; set it "
            f"to {class_folder} if its folders are the parts, or move the images to "
            f"train/{class_folder.name}, and so on"
        )


def _unknown_class(folder: Path, names: Sequence[str]) -> UserError:
    alike = [name for name in names if name.casefold() == folder.name.casefold()]
    hint = f"; rename it to {alike[0]}" if alike else ""
    return UserError(
        f"dataset.root: folders must be classes of the training part, got {folder.name!r} in "
        f"{folder.parent.resolve()}; the classes are {', '.join(names)}{hint}"
    )

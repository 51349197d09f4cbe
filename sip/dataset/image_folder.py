"""Own pictures in folders: one folder a class, with or without folders train, val and test.

    root/train/cat/1.jpg  root/val/cat/2.jpg  root/test/cat/3.jpg     parts as given
    root/cat/1.jpg        root/dog/1.jpg                              parts made by `split_seed`

With `train` but without `val` or `test`, the missing part is taken from train by its fraction.
Pictures may lie in folders within a class folder; links are followed. Hidden files and what systems
leave behind (Thumbs.db, __MACOSX, ...) are passed over, other files with a line that names them.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.dataset.base import Split
from sip.dataset.files import PARTS, Entry, content, from_file, prompt_words
from sip.dataset.folders import (
    SUFFIXES,
    files_below,
    files_in,
    folders_in,
    is_picture,
    say_once,
    say_passed_over,
)
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import Subset, make_parts

# What others call the parts, in small letters.
OTHER_NAMES = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}


class ImageFolder(Reader):
    """Pictures in class folders.

    Args:
        root: The folder.
        val_fraction, test_fraction: Share of each class that becomes val and test, in [0, 1), if
            there is no such folder. The test part is taken first, of all pictures. 0 for none, if
            pictures are to be drawn and no classifier trained.
        split_seed: Chooses them.
        prompt_names: Class folder -> words that fit a prompt, where they differ.
        shots, fraction, imbalance, label_noise, seed: See `sip.dataset.subsets.Subset`.
    """

    def __init__(
        self,
        root: str,
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
        self.root = Path(root).expanduser()
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.prompt_names = prompt_names

    def facts(self) -> dict[str, Any]:
        """Return what decides the pictures of the splits, their content too."""
        return {
            "class": "sip.dataset.image_folder.ImageFolder",
            "version": 1,
            "root": self.root.resolve().name,
            "val_fraction": self.val_fraction,
            "test_fraction": self.test_fraction,
            "split_seed": self.split_seed,
            "prompt_names": self.prompt_names,
            "content": content(self),
        }

    def listing(self) -> Listing:
        """Return the classes, in the order of the folders' names, and the entries.

        Raises:
            UserError: The folder is missing or not as described above.
        """
        self._require_root()
        folders = {folder.name: folder for folder in folders_in(self.root)}
        _refuse_misnamed_parts(self.root, list(folders))
        given: list[Split] = [part for part in PARTS if part in folders]
        if given and "train" not in given:
            raise UserError(
                f"expected the folder train beside {' and '.join(given)} in {self.root.resolve()}; "
                "add it, or put the class folders there without parts"
            )
        train_folder = self.root / "train" if given else self.root
        names = [folder.name for folder in folders_in(train_folder)]
        if not names:
            raise UserError(
                f"expected a folder for each class in {train_folder.resolve()}, found none; "
                "put the pictures of class cat into the folder cat, and so on"
            )
        _refuse_alike(names, self.prompt_names)
        entries = {part: self._entries(self.root / part, names) for part in given}
        if given:
            beside = [folder for name, folder in folders.items() if name not in given]
            say_passed_over(self.root, beside, "folder", "beside train")
            say_passed_over(self.root, _pictures(self.root), "picture", "in no class folder")
        else:
            entries["train"] = self._entries(self.root, names)
        if len(names) == 1:
            _say_what_lies_within(train_folder / names[0])
        make_parts(entries, self.test_fraction, self.val_fraction, self.split_seed)
        if any(entries[part] for part in PARTS if part != "train" and part not in given):
            say_once(self.root, _parts(entries))
        return prompt_words(names, self.prompt_names), entries

    def _require_root(self) -> None:
        if self.root.is_dir():
            return
        place = self.root.resolve()
        if self.root.exists():
            raise UserError(
                f"dataset.root: expected a folder of pictures, {place} is a file; unpack it, and "
                "say where the folder is with dataset.root=..."
            )
        raise UserError(
            f"dataset.root: expected a folder of pictures, looked for {place}; "
            "say where it is with dataset.root=..."
        )

    def _entries(self, folder: Path, names: Sequence[str]) -> list[Entry]:
        """Return the pictures of one part."""
        entries, others = [], []
        for class_folder in folders_in(folder):
            if class_folder.name not in names:
                raise _unknown_class(class_folder, names)
            _refuse_parts_within(class_folder)
            label = names.index(class_folder.name)
            found = files_below(class_folder)
            if not found.pictures:
                raise UserError(
                    f"expected pictures ({', '.join(SUFFIXES)}) in the class folder "
                    f"{class_folder}, found none; fill or remove it"
                )
            for path in found.pictures:
                inside = path.relative_to(self.root).as_posix()
                entries.append(Entry(inside, label, partial(from_file, path)))
            others += found.others
        say_passed_over(self.root, _pictures(folder), "picture", "in no class folder")
        say_passed_over(self.root, others, "file", "without a picture's name")
        return entries


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder itself."""
    return [file for file in files_in(folder) if is_picture(file.name)]


def _parts(entries: dict[Split, list[Entry]]) -> str:
    """Return that not all pictures are there to draw from, and how they would be."""
    sizes = ", ".join(f"{len(entries[part]):,} {part}" for part in PARTS)
    return (
        f"parts made by split_seed: {sizes}; to draw from all: dataset.val_fraction=0 "
        "dataset.test_fraction=0"
    )


def _say_what_lies_within(class_folder: Path) -> None:
    """Say so where the only class looks like a folder of classes."""
    inner = [folder.name for folder in folders_in(class_folder)]
    if len(inner) > 1 and not _pictures(class_folder):
        say_once(
            class_folder,
            f"one class, {class_folder.name}, with pictures in {len(inner)} folders "
            f"({', '.join(inner[:5])}); if these are the classes: dataset.root={class_folder}",
        )


def _refuse_misnamed_parts(root: Path, names: Sequence[str]) -> None:
    """Refuse folders that would be taken for classes, or for nothing.

    Raises:
        UserError: One has another name of a part, or its name in capitals.
    """
    meant = {
        name: part
        for name in names
        if (part := OTHER_NAMES.get(name.lower(), name.lower())) in PARTS and name != part
        if folders_in(root / name) and not _pictures(root / name)  # else it may well be a class
    }
    if meant and "train" in {*names, *meant.values()}:
        name, part = next(iter(meant.items()))
        raise UserError(
            f"dataset.root: expected the parts train, val and test in {root.resolve()}, came "
            f"{name!r}; rename it to {part}"
        )


def _refuse_parts_within(class_folder: Path) -> None:
    """Refuse to mix the parts of a class.

    Raises:
        UserError: Its folder holds the folder train.
    """
    if "train" in {folder.name for folder in folders_in(class_folder)}:
        raise UserError(
            f"dataset.root: expected train above the classes, came {class_folder / 'train'}; name "
            f"{class_folder} if its folders are the parts, or move the pictures to "
            f"train/{class_folder.name}, and so on"
        )


def _refuse_alike(names: Sequence[str], prompt_names: dict[str, str]) -> None:
    """Refuse classes that a prompt cannot tell apart: CLIP reads no capitals.

    Raises:
        UserError: Two folders' names are alike, and `prompt_names` has no words for them.
    """
    seen: dict[str, str] = {}
    for name in names:
        if name in prompt_names:
            continue
        words = " ".join(name.replace("_", " ").split()).casefold()
        if words in seen:
            raise UserError(
                f"dataset: expected classes with words of their own, came the folders "
                f"{seen[words]!r} and {name!r}; put them together, or tell them apart with "
                f"dataset.prompt_names={{{name}: ...}}"
            )
        seen[words] = name


def _unknown_class(folder: Path, names: Sequence[str]) -> UserError:
    alike = [name for name in names if name.casefold() == folder.name.casefold()]
    hint = f"; rename it to {alike[0]}" if alike else ""
    return UserError(
        f"expected only classes of the training part in {folder.parent.resolve()}, came "
        f"{folder.name!r}; the classes are {', '.join(names)}{hint}"
    )

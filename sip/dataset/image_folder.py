"""Own pictures in folders: one folder a class, with or without folders train, val and test.

    root/train/cat/1.jpg  root/val/cat/2.jpg  root/test/cat/3.jpg     parts as given
    root/cat/1.jpg        root/dog/1.jpg                              parts made by `split_seed`

With `train` but without `val` or `test`, the missing part is taken from train by its fraction.
Pictures may lie in folders within a class folder; hidden and other files are passed over.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sip.common.errors import UserError
from sip.dataset.base import Split
from sip.dataset.files import PARTS, Entry, content, from_file, prompt_words
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import Subset, make_parts

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def pictures_in(folder: Path) -> list[Path]:
    """Return the picture files in a folder and those within it, by path.

    Raises:
        UserError: There is none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != "."
    )
    if not found:
        raise UserError(
            f"expected pictures ({', '.join(SUFFIXES)}) in the class folder {folder}, found none; "
            "fill or remove it"
        )
    return found


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
        self.root = Path(root)
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
        if not self.root.is_dir():
            raise UserError(
                f"dataset.root: expected a folder of pictures, looked for {self.root.resolve()}; "
                "say where it is with dataset.root=..."
            )
        given: list[Split] = [part for part in PARTS if (self.root / part).is_dir()]
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
        entries = {part: self._entries(self.root / part, names) for part in given}
        if not given:
            entries["train"] = self._entries(self.root, names)
        make_parts(entries, self.test_fraction, self.val_fraction, self.split_seed)
        return prompt_words(names, self.prompt_names), entries

    def _entries(self, folder: Path, names: Sequence[str]) -> list[Entry]:
        """Return the pictures of one part."""
        entries = []
        for class_folder in folders_in(folder):
            if class_folder.name not in names:
                raise UserError(
                    f"expected only classes of the training part in {folder.resolve()}, came "
                    f"{class_folder.name!r}; the classes are {', '.join(names)}"
                )
            label = names.index(class_folder.name)
            for path in pictures_in(class_folder):
                inside = path.relative_to(self.root).as_posix()
                entries.append(Entry(inside, label, partial(from_file, path)))
        return entries

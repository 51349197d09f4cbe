"""What all readers share: list first, choose the subset, then open; checks of lists and labels.

A new reader declares the location of its data as fields, and implements `listing`.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import cached_property
from itertools import chain
from typing import Literal

from sip.core.component import added, component, ignored, refuse
from sip.core.errors import UserError
from sip.core.hashing import digest, digest_of_rows
from sip.core.memory import collection
from sip.core.object_cache import folder_on_disk
from sip.core.progress import progress
from sip.core.spill import Spilled
from sip.core.text import counted, join_first
from sip.core.threads import num_cores
from sip.dataset.base import Dataset, Sample, Split
from sip.dataset.files import (
    BAR_FROM,
    GENERATED,
    PARTS,
    Entry,
    ImageFile,
    require_part,
    require_text,
)
from sip.dataset.folders import say_once
from sip.dataset.index import FileIndex
from sip.dataset.perceptual import perceptual
from sip.dataset.subsets import HeldOut, Subset, make_parts

NUM_SHOWN = 10  # images that a message names
EMPTY = 65  # grey levels; 14-bit values in a 16-bit file reach 64, 12-bit values 16
WRITE_EVERY = 60.0  # s between two writes of the index while images are decoded
OPENED_AT_ONCE = 16  # images that a thread opens in a row
MAX_THREADS = 8  # that open images; each may take a quarter GiB
SUBSET_KEYS = {each.name for each in fields(Subset)}
Listing = tuple[Sequence[str], dict[Split, list[Entry]]]
Opener = Callable[[Sequence[Entry], FileIndex], list[ImageFile]]


@component
class Reader(Subset, ABC):
    """A data set.

    Args:
        broken: What to do if images cannot be decoded: refuse the data set and name them all, or
            pass over them with a line that names them.
        index: Folder that remembers which images are whole, for later starts; None: none.
    """

    broken: Literal["refuse", "skip"] = added(neutral="refuse")
    index: str | None = ignored(neutral=None)

    @abstractmethod
    def listing(self) -> Listing:
        """Return the classes in words that fit a prompt, and the entries of each split.

        Raises:
            UserError: The data are missing, or not as they must be.
        """

    @property
    def all_splits(self) -> tuple[Split, ...]:
        """Parts of the data set."""
        return PARTS

    @property
    def trained_on(self) -> Split:
        """The listed part whose images the classifier trains on."""
        return "train"

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in words that fit a prompt, in the order of the labels."""
        return self._listed[0]

    @cached_property
    def content(self) -> str:
        """Hash of the classes and of all rows of train, val and test.

        For `known_by("content")`, if the data can change under the same name.
        """
        with collection(False):
            rows = (
                [split, sample.sample_id, sample.label, sample.sha256]
                for split in PARTS
                for sample in self.samples(split)
            )
            return digest_of_rows(rows, list(self.class_names))

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the rows of one split; images are opened, hashed and decoded once.

        Raises:
            UserError: The data are missing, there is no such split or number of shots, or an image
                cannot be read and `broken` says refuse.
        """
        require_part(split, self.all_splits)
        if split not in self._opened:
            with collection(False):
                samples, broken = self.readable(split, open_all)
            if broken and self.broken == "refuse":
                raise self._refused()
            if broken:
                num = counted(len(broken), "image")
                text = f"left out {num} of {split} that cannot be read: {_shown(broken)}"
                if split in self.made_parts:
                    text += "; the parts were made with them: delete the files to make them without"
                say_once(str(getattr(self, "root", "")), text)
            self._opened[split] = samples
            self._num_broken[split] = len(broken)
        return self._opened[split]

    @cached_property
    def _files(self) -> FileIndex:
        if not self.index:
            return FileIndex(None)
        given = {key: getattr(self, key, None) for key in ("root", "path", "folder", "name")}
        name = digest(type(self).__name__, {key: str(value) for key, value in given.items()})
        return FileIndex(folder_on_disk(self.index) / f"{name[:16]}.arrow")

    def perceptual_hashes(self) -> dict[str, int]:
        """Return path -> perceptual hash of the images that were opened."""
        return self._hashes

    @cached_property
    def _hashes(self) -> dict[str, int]:
        return {}

    @property
    def opened(self) -> dict[Split, Sequence[Sample]]:
        """The rows of the parts that were opened so far."""
        return {part: self.samples(part) for part in PARTS if part in self._opened}

    @cached_property
    def _opened(self) -> dict[Split, Sequence[Sample]]:
        return {}

    @cached_property
    def _num_broken(self) -> dict[Split, int]:
        return {}

    def readable(self, split: Split, opener: Opener) -> tuple[Sequence[Sample], dict[str, str]]:
        """Return the readable rows of one split, and sample_id -> reason of the broken ones.

        The subset is chosen among the readable rows, as if the broken ones did not exist.

        Args:
            split: Part of the data set.
            opener: Opens rows, such as `open_all`.
        """
        class_names, entries = self._listed
        listed = entries[self.trained_on if split == "train" else split]
        files: dict[str, ImageFile] = {}
        broken: dict[str, str] = {}
        rows: Sequence[Entry] = ()
        while True:
            whole = [row for row in listed if row.sample_id not in broken] if broken else listed
            try:
                rows = self.choose(whole, len(class_names)) if split == "train" else whole
            except UserError:  # too few are left
                if not broken or self.broken == "skip":
                    raise
                rows = [row for row in rows if row.sample_id not in broken]
                break  # the broken ones are what is to be fixed
            new = [row for row in rows if row.sample_id not in files] if files else rows
            opened = opener(new, self._files)
            files |= zip([row.sample_id for row in new], opened, strict=True)
            bad = [number for number, file in enumerate(opened) if file.error]
            if not bad:
                break
            broken |= {new[number].sample_id: opened[number].error or "" for number in bad}
        ids = [row.sample_id for row in rows]
        found = [files[sample_id] for sample_id in ids]
        self._say_empty([i for i, file in zip(ids, found, strict=True) if file.contrast < EMPTY])
        self._say_several([i for i, file in zip(ids, found, strict=True) if file.is_several], split)
        self._hashes.update((f.path, f.perceptual) for f in found if f.perceptual is not None)
        samples = Spilled(
            Sample(
                *(row.sample_id, file.path, row.label, class_names[row.label]),
                *(split, file.width, file.height, file.sha256),
            )
            for row, file in zip(rows, found, strict=True)
        )
        return samples, broken

    def check_shots(self) -> None:
        """Check that each class has enough images; without the files, the job will say it.

        Raises:
            UserError: One has fewer than `shots`.
        """
        if self.shots is None:
            return
        try:
            class_names, entries = self._listed
        except UserError:
            return
        self.sizes(Counter(row.label for row in entries[self.trained_on]), len(class_names))

    def share(self, other: Dataset) -> None:
        """Take over what another data set has read, if it differs in its subset only.

        Then the files are not listed again, and the lists are in memory once.
        """
        if not isinstance(other, Reader) or type(other) is not type(self):
            return
        own = [each.name for each in fields(self) if each.name not in SUBSET_KEYS]
        if any(getattr(self, name) != getattr(other, name) for name in own):
            return
        for name in ("_listed", "_made", "_files", "_hashes"):
            if name in vars(other):
                vars(self)[name] = vars(other)[name]
        for part in other._opened.keys() - {"train"}:
            self._opened[part] = other._opened[part]
            self._num_broken[part] = other._num_broken[part]

    def _say_empty(self, names: list[str]) -> None:
        """Print which images have almost no contrast, if there are any."""
        if names:
            text = (
                f"{counted(len(names), 'image')} with little contrast: {join_first(names)}; "
                "often 12-bit values in 16-bit files, or transparency: convert them"
            )
            say_once(str(getattr(self, "root", "")), text)

    def _say_several(self, names: list[str], split: Split) -> None:
        """Print which files have several pages or frames, if there are any."""
        if names:
            num = counted(len(names), "file")
            text = f"{num} of {split} with several pages or frames, of which the first is used"
            say_once(str(getattr(self, "root", "")), f"{text}: {join_first(names)}")

    def _refused(self) -> UserError:
        """Return the error that names what cannot be read, of all parts."""
        broken: dict[str, str] = {}
        num = 0
        for part in self.all_splits:
            samples, bad = self.readable(part, open_all)
            num += len(samples) + len(bad)
            broken |= bad
        return UserError(
            f"dataset: images must be readable, got {len(broken):,} of {num:,} that are not: "
            f"{_shown(broken)}; fix or delete them, or pass over them with dataset.broken=skip"
        )

    @cached_property
    def _listed(self) -> Listing:
        with collection(False):
            class_names, entries = self.listing()
        require_text(class_names)
        for rows in entries.values():
            require_text([row.sample_id for row in rows])
            for row in rows:
                if not 0 <= row.label < len(class_names):
                    raise UserError(
                        f"dataset: labels must be in 0 .. {len(class_names) - 1}, one for each of "
                        f"its classes, got {row.label} for {row.sample_id}; fix the labels"
                    )
        self._refuse_generated(entries)
        return class_names, entries

    def _refuse_generated(self, entries: Mapping[Split, Sequence[Entry]]) -> None:
        """Refuse to measure on generated images.

        Raises:
            UserError: Val or test holds one.
        """
        for part in ("val", "test"):
            bad = [row.sample_id for row in entries.get(part, ()) if row.is_generated]
            if not bad:
                continue
            fix = "remove them"
            if part in self._made:
                fix = (
                    "export again with parts=[train,val,test], or make no such parts: "
                    f"{no_made(['val', 'test'])}"
                )
            raise UserError(
                f"dataset: {part} must contain real images only, got {len(bad):,} with the kind "
                f"{GENERATED}, first {bad[0]}; {fix}"
            )

    @cached_property
    def _made(self) -> list[Split]:
        """Parts that `_make_parts` took from train."""
        return []

    @property
    def made_parts(self) -> tuple[Split, ...]:
        """Parts that the source does not have, taken from train by `split_seed`."""
        return tuple(part for part in PARTS if self._listed and part in self._made)

    def _make_parts(
        self,
        entries: dict[Split, list[Entry]],
        test: float | None,
        val: float | None,
        seed: int,
        pretrain: float | None = None,
    ) -> None:
        """Add missing parts as `make_parts` does, and note which."""
        given = set(entries)
        make_parts(entries, test, val, seed, pretrain)
        self._made.extend(part for part, rows in entries.items() if rows and part not in given)

    def num_readable(self) -> dict[Split, int]:
        """Return the number of readable images of each part, whatever the shots."""
        num = {}
        for part in PARTS:
            self.samples(part)
            listed = self._listed[1][self.trained_on if part == "train" else part]
            num[part] = len(listed) - self._num_broken[part]
        return num


def no_made(parts: Sequence[Split]) -> str:
    """Return the overrides that keep parts in train."""
    return " ".join(f"dataset.{part}_fraction=0" for part in parts)


def say_made_parts(dataset: Dataset) -> None:
    """Print that images are held out for val and test, and how to generate from all."""
    if isinstance(dataset, Reader) and dataset.made_parts:
        num = dataset.num_readable()
        made = [part for part in dataset.made_parts if part in ("val", "test")]
        sizes = " and ".join(f"{num[part]:,} {part}" for part in made)
        text = f"parts made by split_seed: {sizes}, taken from train, which keeps {num['train']:,}"
        say_once(dataset.content, f"{text}; to generate from all: {no_made(made)}")


@component
class PretrainReader(Reader):
    """A data set from whose training part a part `pretrain` can be set aside.

    Args:
        pretrain_fraction: Share of each class of train, after test is taken, that becomes the part
            `pretrain`: the only images that your own generators may learn from. None: no such part.
        train_part: Part that the classifier trains on, and of which shots are taken: `train`, or
            `pretrain` for the upper bound of what a generator can give.
    """

    pretrain_fraction: HeldOut | None
    train_part: Literal["train", "pretrain"]

    def __post_init__(self) -> None:
        """Refuse to train on a part that does not exist."""
        super().__post_init__()
        if self.train_part == "pretrain" and self.pretrain_fraction is None:
            fix = "set dataset.pretrain_fraction"
            raise refuse("train_part", "train if there is no part pretrain", self.train_part, fix)

    @property
    def all_splits(self) -> tuple[Split, ...]:
        """Parts of the data set."""
        return PARTS if self.pretrain_fraction is None else ("pretrain", *PARTS)

    @property
    def trained_on(self) -> Split:
        """The listed part whose images the classifier trains on."""
        return self.train_part


def open_all(entries: Sequence[Entry], index: FileIndex) -> list[ImageFile]:
    """Return what is known of the entries' images, in their order; decode what `index` lacks.

    Of several processes that start at once, one decodes, and the others read what it has written.
    """

    def open_few(numbers: Sequence[int]) -> list[ImageFile]:
        return [entries[number].open() for number in numbers]

    with ThreadPoolExecutor(min(MAX_THREADS, num_cores())) as threads:
        _, files = index.look_up(entries, threads)
        if None in files:
            with index.only_here(), collection(True):
                index.refresh()
                stamps, files = index.look_up(entries, threads)
                new = [number for number, file in enumerate(files) if file is None]
                bar = progress("dataset", len(new), "image") if len(new) >= BAR_FROM else None
                written = time.monotonic()
                for start in range(0, len(new), BAR_FROM):
                    part = new[start : start + BAR_FROM]
                    few = [
                        part[at : at + OPENED_AT_ONCE] for at in range(0, len(part), OPENED_AT_ONCE)
                    ]
                    opened = chain.from_iterable(threads.map(open_few, few))
                    for number, file in zip(part, _hashed(list(opened)), strict=True):
                        files[number] = file
                        index.add(entries[number], stamps[number], file)
                    if time.monotonic() - written > WRITE_EVERY:
                        index.write()
                        written = time.monotonic()
                    if bar is not None:
                        bar.update(len(part))
                if bar is not None:
                    bar.close()
                index.write()
    return files


def _hashed(files: Sequence[ImageFile]) -> list[ImageFile]:
    """Return the files with their perceptual hashes, many at a time."""
    grey = [file.grey for file in files if file.grey is not None]
    hashes = iter(perceptual(grey).tolist() if grey else ())
    return [
        file if file.grey is None else file._replace(grey=None, perceptual=next(hashes))
        for file in files
    ]


def _shown(broken: Mapping[str, str]) -> str:
    """Return the first broken images with their reasons."""
    return join_first([f"{name} ({reason})" for name, reason in broken.items()], NUM_SHOWN)


def require_trainable(class_names: Sequence[str], parts: Mapping[Split, Sequence[Sample]]) -> None:
    """Check what training needs and generation does not, before images are generated.

    Args:
        class_names: The data set's classes.
        parts: Its samples of train, val and test.

    Raises:
        UserError: There is one class only, one without a training image, or an empty part.
    """
    if len(class_names) < 2:
        raise UserError(
            f"dataset: must have at least two classes to train on, got {', '.join(class_names)}; "
            "add the images of another class"
        )
    for part, samples in parts.items():
        if not samples:
            raise UserError(
                f"dataset: part {part} must have images, got none; training chooses on val and "
                f"reports on test: give their shares, such as dataset.{part}_fraction=0.1"
            )
    seen = {sample.label for sample in parts["train"]}
    if missing := [name for label, name in enumerate(class_names) if label not in seen]:
        raise UserError(
            f"dataset: each of {len(class_names)} classes must have a training image, got none for "
            f"{len(missing)} ({', '.join(missing[:5])}); add images or remove the class"
        )

"""Folders of images as people have them: images, other files, stray files, links."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.text import counted, join_first

SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".heic", ".heif"),
)
# Files that systems and archivers leave behind, in lower case; hidden files begin with a dot.
STRAY = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    *("__macosx", "@eadir", "$recycle.bin", "#recycle", "system volume information"),
    *("lost+found", "__pycache__"),
}


@dataclass
class Files:
    """Files below a folder, by path; texts, since a folder may have a million.

    Attributes:
        images: Those with the name of an image.
        rest: All other files.
        special: Pipes, sockets and devices, which are not read.
        folders: Names of the folders that lie in the folder itself.
    """

    images: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def is_image(name: str) -> bool:
    """Return whether a file has the name of an image; capitals do not matter."""
    return name.lower().endswith(SUFFIXES)


def entries(folder: Path) -> list["os.DirEntry[str]"]:
    """Return what is in a folder, by name, without what is hidden or stray.

    Raises:
        UserError: The folder may not be read, or a name is not in UTF-8.
    """
    try:
        with os.scandir(folder) as listing:
            listed = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"dataset: cannot read the folder {folder}: {error.strerror}; change its rights, or "
            "move it"
        ) from error
    kept = [e for e in listed if e.name[0] != "." and e.name.lower() not in STRAY]
    for entry in kept:
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"dataset: names must be in UTF-8, got {os.fsencode(entry.name)!r} in {folder}; "
                "rename it (convmv -f latin1 -t utf8 -r does many)"
            ) from error
    return kept


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, and the links to folders, by name.

    Raises:
        UserError: As `entries`.
    """
    return [Path(entry.path) for entry in entries(folder) if _is_folder(entry)]


def files_in(folder: Path) -> list[Path]:
    """Return the files that lie in a folder itself, by name.

    Raises:
        UserError: As `entries`.
    """
    return [Path(entry.path) for entry in entries(folder) if _is_file(entry)]


def files_below(folder: Path) -> Files:
    """Return the files in a folder and in those within it.

    Links are followed; a folder that can be reached in two ways is read once, by the way
    without links; one that contains the folder itself is not read, so that cycles end.

    Raises:
        UserError: As `entries`; or an image is a link that leads nowhere.
    """
    files = Files()
    seen = {place for path in (folder.absolute(), folder.resolve()) for place in path.parents}
    seen = {place.resolve() for place in seen}
    inner, links = [folder], list[Path]()
    num_read = 0
    while inner or links:
        place = inner.pop() if inner else links.pop(0)
        if (real := place.resolve()) in seen:
            continue
        seen.add(real)
        num_read += 1
        for entry in entries(place):
            if _is_folder(entry):
                (links if entry.is_symlink() else inner).append(Path(entry.path))
                if place is folder:
                    files.folders.append(entry.name)
            elif _is_file(entry):
                (files.images if is_image(entry.name) else files.rest).append(entry.path)
            elif os.path.exists(entry.path):
                files.special.append(entry.path)
            elif not is_image(entry.name):
                files.rest.append(entry.path)
            elif entry.is_symlink():
                raise UserError(
                    f"dataset: {entry.path} must be an image, got a link to "
                    f"{os.readlink(entry.path)}, which does not exist; fix or delete the link"
                )
    if num_read > 1:  # the entries of one folder are in order
        files.images.sort(key=_parts)
        files.rest.sort(key=_parts)
        files.special.sort(key=_parts)
    return files


def _parts(path: str) -> list[str]:
    return path.split(os.sep)


@cache
def say_once(root: Path | str, text: str) -> None:
    """Print a line about a data set once per process: a sweep builds it for every job."""
    say("dataset", text)


def say_passed_over(root: Path, files: Sequence[str | Path], noun: str, why: str) -> None:
    """Print which files or folders are not used, if there are any."""
    if files:
        names = join_first(inside(root, [os.fspath(file) for file in files]))
        say_once(root, f"passed over {counted(len(files), noun)} {why}: {names}")


def inside(root: str | Path, paths: Sequence[str]) -> list[str]:
    """Return paths as seen from a folder, with slashes."""
    start = os.path.join(root, "")
    texts = [
        path[len(start) :] if path.startswith(start) else os.path.relpath(path, root)
        for path in paths
    ]
    return texts if os.sep == "/" else [text.replace(os.sep, "/") for text in texts]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False

"""Checksums of model weights: what the package brings, and what the hub's cache holds.

A folder of the user's own has none to compare with. It is known by its content: changed by a bit,
it is another model with another fingerprint, and takes nothing that the sound one made for its own.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from sip.core.errors import DamagedError
from sip.weights.layout import Parts, files_of, needed_weights

HASHED_SUFFIXES = {".safetensors", ".json", ".txt", ".model", ".jinja"}
NAME = "SHA256SUMS"  # as `sha256sum` writes and checks it
CONVERTED = "converted.sha256"  # the same, of weights that were converted
PACKAGED = Path(__file__).resolve().parents[1] / "miniature"
SHA256 = re.compile("[0-9a-f]{64}")
NUM_THREADS = 4


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256 in hex digits; the same file is read once a process."""
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


def checksums(folder: Path) -> str:
    """Return the content of `SHA256SUMS` for the model folders in `folder`."""
    files = [file.relative_to(folder).as_posix() for file in folder.glob("*/**/*")]
    hashed = sorted(file for file in files if Path(file).suffix in HASHED_SUFFIXES)
    return "".join(f"{sha256_of(folder / file)}  {file}\n" for file in hashed)


def seal(folder: Path) -> None:
    """Write the checksums of newly made weights, if `folder` is what the package brings."""
    if folder.resolve() == PACKAGED:
        (folder / NAME).write_text(checksums(folder))


def check_packaged(folder: Path) -> None:
    """Check a model folder that comes with the package; any other is let through.

    Raises:
        DamagedError: A file is not what was released.
    """
    if PACKAGED not in folder.parents:
        return
    for line in (PACKAGED / NAME).read_text().splitlines():
        expected, _, name = line.partition("  ")
        file = PACKAGED / name
        if folder in file.parents and (not file.is_file() or sha256_of(file) != expected):
            raise DamagedError(
                f"model file {file} is damaged or was changed; install the package again (in a "
                f"checkout: git checkout -- {file}), or copy the folder elsewhere to change it"
            )


def known_sha256(file: Path) -> str:
    """Return a file's SHA-256; the hub's cache names files by it."""
    target = file.resolve()
    return target.name if SHA256.fullmatch(target.name) else sha256_of(target)


def check_blobs(files: Iterable[Path]) -> None:
    """Check those of some weight files that the hub's cache names by their SHA-256.

    Raises:
        DamagedError: A file is not what was downloaded.
    """
    named = [file for file in (file.resolve() for file in files) if SHA256.fullmatch(file.name)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for file, found in zip(named, pool.map(sha256_of, named), strict=True):
            if found != file.name:
                raise DamagedError(
                    f"weights {file} are damaged: their checksum is not the one in their name; "
                    "delete that file, and download or copy it again"
                )


def check_hub(folder: Path, variant: str | None = None, without: Sequence[str] = ()) -> None:
    """Check weights in the hub's cache, whose files are named by their SHA-256; once a process.

    Those that were converted have a list of checksums next to them.

    Args:
        folder: Folder of the model.
        variant: Variant of its weight files; the repository's other files are not read.
        without: Components of a diffusers pipeline that are not loaded.

    Raises:
        DamagedError: A file is not what was downloaded.
    """
    files = needed_weights(folder, files_of(folder), Parts(variant, tuple(without)))
    check_blobs(folder / file for file in files)
    if (folder / CONVERTED).is_file():
        for line in (folder / CONVERTED).read_text().splitlines():
            expected, _, name = line.partition("  ")
            if sha256_of(folder / name) != expected:
                raise DamagedError(
                    f"weights {folder / name} are damaged: their checksum is not the one in "
                    f"{CONVERTED}; delete that folder, and start again: it is converted again"
                )


@cache
def _sha256(file: Path, size: int, modified: int) -> str:
    """Hash a file; size and time are in the key, so a changed file is hashed again."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

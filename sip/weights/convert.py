"""Models of which a folder holds only pickles: a copy with safetensors, made once.

The copy lies in the folder `sip` of `HF_HOME`, or of the user's cache if that cannot be written.
Its name holds a hash of what it was made from, so that a later start finds it, and a changed file
has a copy of its own. The model's own folder is never written to: a recipe is the same before and
after.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from sip.core.errors import UserError
from sip.core.files import held, plain_disk_errors
from sip.core.progress import say
from sip.weights.checksums import CONVERTED, check_blobs, known_sha256, sha256_of
from sip.weights.layout import PICKLE, SMALL, IncompleteError, Parts, files_of, needed_weights
from sip.weights.pickles import convert_file, convert_index, is_index, new_name

PART = ".part"  # end of the names of hidden folders that are being filled


def has_pickles(files: Iterable[str]) -> bool:
    """Return whether there are pickles among the weight files that a model needs."""
    return any(file.endswith(PICKLE) for file in files)


def find_converted(folder: Path, files: Sequence[str], parts: Parts) -> Path | None:
    """Return the converted copy of a model folder; None if there is none.

    Args:
        folder: Folder of the model.
        files: Weights that the model needs, relative to the folder.
        parts: The part of the model that is needed.
    """
    for place in places():
        copy = place / _name(folder, files)
        if copy.is_dir() and _is_complete(copy, parts):
            return copy
    return None


def convert(folder: Path, files: Sequence[str], parts: Parts) -> Path:
    """Make the converted copy of a model folder, whole or not at all; return it.

    Raises:
        UserError: A pickle holds more than tensors, or no place can be written.
        DamagedError: A pickle is not what was downloaded.
    """
    pickles = [file for file in files if file.endswith(PICKLE)]
    check_blobs(folder / file for file in pickles)
    copy = writable() / _name(folder, files)
    with whole_folder(copy, lambda: _is_complete(copy, parts)) as made:
        num = _fill(folder, made, files)
    size = sum((folder / file).stat().st_size for file in pickles) / 1e9
    say(
        "weights",
        f"{_repository(folder) or folder}: {', '.join(pickles)} converted to safetensors without "
        f"running code, {num} tensors equal, {size:.2f} GB, in {copy}",
    )
    return copy


@contextmanager
def whole_folder(folder: Path, is_complete: Callable[[], bool]) -> Iterator[Path]:
    """Yield a folder to fill, which then takes its place, whole or not at all.

    Args:
        folder: The place; of several processes, the first one's folder stays there.
        is_complete: Whether what is there can stay.
    """
    sweep(folder.parent)
    with (
        plain_disk_errors(folder, "HF_HOME"),
        TemporaryDirectory(dir=folder.parent, prefix=".", suffix=PART) as part,
        held(Path(part)),
    ):
        made = Path(part) / folder.name
        made.mkdir()
        yield made
        if folder.is_dir() and not is_complete():
            shutil.rmtree(folder)
        try:
            made.rename(folder)
        except OSError:  # another process was quicker
            if not is_complete():
                raise


def sweep(place: Path) -> None:
    """Remove what killed conversions left in a place: hidden folders that no process holds.

    An empty one may be another process's, which is about to hold it.
    """
    for part in {inner.parent for inner in place.glob(f".*{PART}/*")}:
        with suppress(OSError), held(part) as is_left:
            if is_left:
                shutil.rmtree(part, ignore_errors=True)


def _fill(folder: Path, copy: Path, files: Sequence[str]) -> int:
    """Write the files of a copy and their checksums; return the number of tensors converted."""
    num, sums = 0, ""
    for name in _sources(folder, files):
        source, inner = folder / name, Path(name).parent
        (copy / inner).mkdir(exist_ok=True)
        if is_index(source.name):
            if any(Path(file).parent == inner and "-of-" in file for file in files):
                convert_index(source, copy / inner / new_name(source.name))
        elif name.endswith(PICKLE):
            target = copy / inner / new_name(source.name)
            num += convert_file(source, target)
            sums += f"{sha256_of(target)}  {target.relative_to(copy).as_posix()}\n"
        elif name.endswith(SMALL):
            shutil.copyfile(source, copy / name)
        else:
            (copy / name).symlink_to(source.resolve())  # gigabytes that are safetensors already
    (copy / CONVERTED).write_text(sums)
    return num


def _sources(folder: Path, files: Sequence[str]) -> list[str]:
    """Return the files that a copy is made from: weights, configurations and tokenizers."""
    return sorted({*files, *(file for file in files_of(folder) if file.endswith(SMALL))})


def _is_complete(copy: Path, parts: Parts) -> bool:
    try:
        return not has_pickles(needed_weights(copy, files_of(copy), parts))
    except (IncompleteError, UserError):
        return False


def _name(folder: Path, files: Sequence[str]) -> str:
    """Return the name of a copy: that of the model, and a hash of what the copy is made from."""
    sha256 = hashlib.sha256()
    for name in _sources(folder, files):
        sha256.update(f"{known_sha256(folder / name)}  {name}\n".encode())
    label = (_repository(folder) or folder.name).replace("/", "--")
    return f"{label}-{sha256.hexdigest()[:16]}"


def _repository(folder: Path) -> str:
    """Return the name of the repository of a snapshot in the hub's cache; "" of another folder."""
    repo = folder.parent.parent.name
    is_snapshot = folder.parent.name == "snapshots" and repo.startswith("models--")
    return repo.removeprefix("models--").replace("--", "/") if is_snapshot else ""


def places() -> Iterator[Path]:
    """Yield where copies may lie, the best first."""
    from huggingface_hub import constants

    yield Path(constants.HF_HOME) / "sip"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sip"


def writable() -> Path:
    """Return the first place that can be written; say so if it is not the best.

    Raises:
        UserError: None can.
    """
    refused: list[str] = []
    for place in places():
        try:
            place.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=place):
                pass
        except OSError as error:
            refused.append(f"{place}: {error.strerror}")
            continue
        if refused:
            say("weights", f"the cache cannot be written ({refused[0]}); {place} is used")
        return place
    raise UserError(
        "weights: a place for converted weights must be writable, got "
        f"{'; '.join(refused)}; set XDG_CACHE_HOME=FOLDER or HF_HOME=FOLDER"
    )

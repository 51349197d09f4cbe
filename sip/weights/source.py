"""Find model weights in a folder or in the local cache of the Hugging Face hub.

Only `require` may use the network, before any costly work starts: it downloads missing weights, or
reports them in one line.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from sip.core.errors import UserError
from sip.weights import hub
from sip.weights.checksums import HASHED_SUFFIXES, check_packaged, sha256_of
from sip.weights.convert import convert, find_converted, has_pickles
from sip.weights.layout import (
    PICKLE,
    IncompleteError,
    Parts,
    files_of,
    needed_weights,
    weight_files,
)
from sip.weights.missing import Missing, MissingWeightsError
from sip.weights.safety import check_headers, check_small_files

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
DEFAULT_REVISION = "main"  # the hub's own default
# A name of the hub's form that begins so is a path, as a stack's "models/own-small/scorer".
LOCAL = ("models", "weights", "checkpoints", "store", "runs", "data")
STACK = re.compile(r"(?:.*/)?models/(.+)-(tiny|patch|small)/\w+")  # as sip.stack.build names them


def resolve(path: str) -> str:
    """Return the absolute folder that `path` names, or `path` unchanged if it names none.

    A folder may be absolute, relative to the working directory, or relative to the folder that
    holds the package, so that "sip/miniature/scorer" works from anywhere. All else is a hub name.
    """
    given = Path(path).expanduser()
    for folder in (given, PACKAGE_PARENT / given):
        if folder.is_dir():
            return str(folder.resolve())
    return path


def weights_recipe(path: str, revision: str | None, variant: str | None = None) -> dict:
    """Return the identity of these weights, for a recipe.

    A local folder is known by its content, wherever it lies; a hub model by name and revision, and
    a vanished one by its first mirror's name, whichever of them this disk holds.
    """
    chosen = {} if variant is None else {"variant": variant}
    folder = Path(resolve(path))
    if not folder.is_dir():
        return {"name": hub.canonical(path), "revision": revision or DEFAULT_REVISION, **chosen}
    pickles = _pickles(folder, variant)
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if (file.suffix in HASHED_SUFFIXES or file in pickles)
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    sha256 = hashlib.sha256()
    for file in files:
        sha256.update(file.relative_to(folder).as_posix().encode() + b"\0")
        sha256.update(bytes.fromhex(sha256_of(file)))
    return {"name": folder.name, "sha256": sha256.hexdigest(), **chosen}


def require(
    path: str,
    revision: str | None,
    variant: str | None = None,
    without: Sequence[str] = (),
    file: str | None = None,
    check: Callable[[Path], object] | None = None,
    kind: str = "transformers",
) -> None:
    """Make sure that complete weights are on this disk; download a hub model, unless offline.

    Args:
        path: Folder, or the hub's name.
        revision: Revision of the hub model; None for its newest.
        variant: Such as "fp16", of the weight files; None for the plain ones.
        without: Components of a diffusers pipeline that are not needed.
        file: The one safetensors file that is needed, such as a LoRA's, instead of a model.
        check: Called with the model's folder before its weights are downloaded, raises what speaks
            against it.
        kind: What reads the model, a key of `layout.STEMS`.

    Raises:
        MissingWeightsError: Weights are missing; says how to get them.
        UserError: They are damaged, refused by `check`, or ask for code of their own to be run.
    """
    parts = Parts(variant, tuple(without), file, check, kind)
    folder = _local(path, parts)
    if folder is None:
        hub.fetch(path, revision or DEFAULT_REVISION, parts)
        folder = hub.cached(path, revision or DEFAULT_REVISION, parts)
    if parts.file is None:
        check_small_files(folder)
        if check is not None:
            check(folder)
    files = needed_weights(folder, files_of(folder), parts)
    if has_pickles(files) and find_converted(folder, files, parts) is None:
        if not hub.may_download:  # only looked at, nothing is changed
            raise _not_converted(path, revision, parts, folder)
        convert(folder, files, parts)
    folder = weights_folder(path, revision, variant, without, file)
    check_headers(folder, needed_weights(folder, files_of(folder), parts))


def weights_folder(
    path: str,
    revision: str | None,
    variant: str | None = None,
    without: Sequence[str] = (),
    file: str | None = None,
) -> Path:
    """Return the folder on this disk to load from: `path` itself, or the hub cache's snapshot.

    If that holds only pickles, it is their converted copy. Neither this nor `from_pretrained` of
    the folder asks the network.

    Raises:
        UserError: As `require`.
    """
    parts = Parts(variant, tuple(without), file)
    folder = model_folder(path, revision, parts)
    files = needed_weights(folder, files_of(folder), parts)
    if not has_pickles(files):
        return folder
    copy = find_converted(folder, files, parts)
    if copy is None:
        raise _not_converted(path, revision, parts, folder)
    return copy


def model_folder(path: str, revision: str | None, parts: Parts) -> Path:
    """Return the folder of a model on this disk, whether or not its weights are pickles.

    Raises:
        UserError: As `require`.
    """
    return _local(path, parts) or hub.cached(path, revision or DEFAULT_REVISION, parts)


def _not_converted(
    path: str, revision: str | None, parts: Parts, folder: Path
) -> MissingWeightsError:
    """Return the error of a model whose pickles were not converted yet."""
    command = hub.convert_command(path, revision, parts.variant)
    reason = f"{folder} holds pickles (.bin), which the first run converts to safetensors"
    return MissingWeightsError.of(Missing(path, command, reason, 0))


def _pickles(folder: Path, variant: str | None) -> set[Path]:
    """Return the pickled weights that a local folder is known by, since it has no others."""
    found = set()
    for inside in {file.parent for file in folder.rglob(f"*{PICKLE}")}:
        names = weight_files([file.name for file in inside.iterdir()], variant)
        found |= {inside / name for name in names if name.endswith(PICKLE)}
    return found


def _local(path: str, parts: Parts) -> Path | None:
    """Return the complete folder that `path` names; None if it may be a hub name."""
    folder = Path(resolve(path)).expanduser()
    if folder.is_dir():
        try:
            needed_weights(folder, files_of(folder), parts)
        except IncompleteError as lacks:
            raise UserError(
                f"model folder {folder}: expected {lacks}, found none; copy a complete model "
                f"folder there, or set another model"
            ) from None
        check_packaged(folder)
        return folder
    if folder.is_file():
        raise UserError(
            f"model folder {path}: must be a folder, got a file; take its folder: {folder.parent}"
        )
    if _may_be_on_hub(path) and path.partition("/")[0] not in LOCAL:
        return None
    if path == "???":
        raise UserError(
            "a model must be named, got none: set images.model, images.controlnet, captions.model "
            "or scores.model, whichever the choice in use asks for"
        )
    places = " or ".join(dict.fromkeys([str(folder.absolute()), str(PACKAGE_PARENT / folder)]))
    reason = f"no model folder is at {places}; copy one there, or set another model"
    raise MissingWeightsError.of(Missing(path, _how_to_make(path), reason))


def _how_to_make(path: str) -> str:
    """Return the command that makes a folder if it is a part of a stack, else ""."""
    made = STACK.fullmatch(path)
    if made is None:
        return ""
    from sip.core.paths import conf_folder

    name, size = made.groups()
    if (conf_folder() / "profile" / f"{name}.yaml").is_file():
        source = f"profile={name}"
    else:
        source = f"profile=own profile.name={name} dataset.root=FOLDER"
    return f"python -m sip.stack.build {source} size={size}"


def _may_be_on_hub(path: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return True

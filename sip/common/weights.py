"""Where model weights lie: a folder, or the local cache of the Hugging Face hub.

Nothing here touches the network. A model that is not there is reported before any costly work
starts, and it is for the user to download it.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sip.common.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Model = TypeVar("Model", bound=PreTrainedModel)

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
DEFAULT_REVISION = "main"  # the hub's own default
CONFIG_FILES = ("config.json", "model_index.json")  # of a transformers or timm, a diffusers model
HASHED_SUFFIXES = {".safetensors", ".json", ".txt"}


def resolve(path: str) -> str:
    """Return the absolute folder that `path` names, or `path` unchanged where it names none.

    A folder may be absolute, relative to the working directory, or relative to the folder that
    holds the package, so that "sip/miniature/scorer" works from anywhere. All else is a hub name.
    """
    given = Path(path).expanduser()
    for folder in (given, PACKAGE_PARENT / given):
        if folder.is_dir():
            return str(folder.resolve())
    return path


def weights_recipe(path: str, revision: str | None) -> dict:
    """Return what tells these weights from others, for a room's recipe.

    A local folder is known by its content, wherever it lies; a hub model by name and revision.
    """
    folder = Path(resolve(path))
    if not folder.is_dir():
        return {"name": path, "revision": revision or DEFAULT_REVISION}
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in HASHED_SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    sha256 = hashlib.sha256()
    for file in files:
        status = file.stat()
        sha256.update(file.relative_to(folder).as_posix().encode() + b"\0")
        sha256.update(_file_sha256(file, status.st_size, status.st_mtime_ns))
    return {"name": folder.name, "sha256": sha256.hexdigest()}


def require(path: str, revision: str | None) -> None:
    """Check that the weights are on this disk.

    Raises:
        UserError: They are not; says what is missing, where it was looked for, how to get it.
    """
    weights_folder(path, revision)


def weights_folder(path: str, revision: str | None) -> Path:
    """Return the folder on this disk to load from: `path` itself, or the hub cache's snapshot.

    `from_pretrained` of this folder never asks the network, not even for a newer revision.

    Raises:
        UserError: As `require`.
    """
    folder = Path(resolve(path)).expanduser()
    if folder.is_dir():
        _require_files(folder, "copy a complete model folder there, or set another model")
        return folder
    if not _may_be_on_hub(path):
        places = dict.fromkeys([str(folder.absolute()), str(PACKAGE_PARENT / folder)])
        raise UserError(
            f"model {path!r}: expected a folder in the hub's layout at {' or '.join(places)}, "
            f"found none; put it there, or set another model"
        )
    return _snapshot(path, revision or DEFAULT_REVISION)


def load_transformer(
    model_class: "type[Model]", path: str, revision: str | None, dtype: str, device: str
) -> "Model":
    """Load a transformers model for inference: safetensors alone, no network, no bar of its own.

    The stored weights are converted to `dtype`, a torch type by name.

    Raises:
        UserError: As `require`, or the weights do not fill the model, which transformers would
            let pass with random numbers in their place.
    """
    import torch
    from transformers.utils import logging

    folder, had_bar = weights_folder(path, revision), logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        loaded: Any = model_class.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True
        )
    finally:
        if had_bar:
            logging.enable_progress_bar()
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"model folder {folder}: expected the weights of a {model_class.__name__}, "
            f"{len(missing)} are missing, first {missing[0]!r}; set another model"
        )
    return model.eval().to(device)


@cache
def _file_sha256(file: Path, size: int, modified: int) -> bytes:
    """Hash a file once a process; size and time are in the key, so a changed file counts anew."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _may_be_on_hub(path: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return True


def _snapshot(name: str, revision: str) -> Path:
    """Return the hub cache's folder of one revision, by look-ups on the disk alone."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE

    command = f"get it with: hf download {name} --revision {revision}"
    for config_file in CONFIG_FILES:
        found = try_to_load_from_cache(name, config_file, revision=revision)
        if isinstance(found, str):
            folder = Path(found).parent
            _require_files(folder, command)
            return folder
    raise UserError(
        f"model {name!r}: revision {revision!r} is neither a folder nor in the hub's cache "
        f"{HF_HUB_CACHE}; {command}"
    )


def _require_files(folder: Path, remedy: str) -> None:
    if not any((folder / config_file).is_file() for config_file in CONFIG_FILES):
        raise UserError(f"model folder {folder}: expected {' or '.join(CONFIG_FILES)}; {remedy}")
    if not any(folder.rglob("*.safetensors")):
        raise UserError(f"model folder {folder}: expected *.safetensors, found none; {remedy}")

"""Checks of a model folder before any of it is loaded: no code, no damaged weights.

A model folder can come from anybody. Weights are safetensors, which hold only numbers; a pickle
may run code when it is read, and is converted first by a reader that runs none
(`sip.weights.pickles`). The libraries run what a folder's configuration
names only if asked to (`trust_remote_code`); here the folder is refused instead, so that
nothing else is loaded in its place, and no question is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.core.text import reason_of
from sip.weights.content import check_content, how_to_replace
from sip.weights.layout import PIPELINE, SMALL, read_json

# Where diffusers takes a pipeline's parts from; the last two are modules of its own.
LIBRARIES = ("diffusers", "transformers", "stable_diffusion", "kolors")
OWN = ("sip.images.patches", "PatchAutoencoder")  # the one class of this package
CONFIGS = ("config.json", PIPELINE)  # ends of the names of files that may name code
CODE = "auto_map"  # transformers' key: class -> file of the folder that defines it
MAX_REASON = 200  # characters of a library's error that are passed on


def check_headers(folder: Path, files: Sequence[str]) -> None:
    """Check the headers of weight files, which tell how long each file must be.

    Args:
        folder: Folder of the model.
        files: Safetensors files, relative to the folder.

    Raises:
        UserError: One is damaged or cut off.
    """
    from safetensors import SafetensorError, safe_open

    for name in files:
        check_content(folder / name)
        try:
            with safe_open(folder / name, framework="np"):
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"weights {folder / name}: must be a whole safetensors file, got one that is cut "
                f"off, damaged or of another kind ({reason_of(error)[:MAX_REASON]}); "
                f"{how_to_replace(folder / name)}"
            ) from error


def check_small_files(folder: Path) -> None:
    """Check only the small files of a model folder; the weights may still be missing.

    Raises:
        UserError: It names code of its own, or a file holds something else than its name says.
    """
    for file in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if file.name.endswith(SMALL) and file.is_file() and file.stat().st_size:
            check_content(file)
    require_no_code(folder)


def require_no_code(folder: Path) -> None:
    """Refuse a model folder that names code of its own.

    Raises:
        UserError: It does, or one of its configuration files is broken.
    """
    if code := code_named(folder):
        raise UserError(
            f"model folder {folder}: must be a model that the installed libraries know, got one "
            f"that brings code of its own ({code}), which is never run; set another model"
        )


def code_named(folder: Path) -> str | None:
    """Return which code a model folder asks for, and where; None if it asks for none.

    Raises:
        UserError: One of its configuration files is broken.
    """
    files = sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
    for file in (file for file in files if file.name.endswith(CONFIGS)):
        if _holds(read_json(file), CODE):
            return f"{CODE} in {file.relative_to(folder).as_posix()}"
    if not (folder / PIPELINE).is_file():
        return None
    for name, value in read_json(folder / PIPELINE).items():
        if name == "_class_name" and not isinstance(value, str):
            return f"_class_name {value} in {PIPELINE}"
        is_part = isinstance(value, list) and len(value) == 2 and tuple(value) != OWN
        if is_part and value[0] not in (None, *LIBRARIES):
            return f"{name} of {value[0]!r} in {PIPELINE}"
    return None


@contextmanager
def plain_load_errors(what: object) -> Iterator[None]:
    """Turn what the libraries raise on wrong and damaged files into one line.

    Args:
        what: Is loaded: a folder.

    Raises:
        UserError: It cannot be loaded; says why.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # the tokenizers raise plain Exceptions
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a device
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]
        raise UserError(
            f"{what} cannot be loaded ({reason}); copy a complete model there"
        ) from error


def require_filled(folder: Path, kind: str, info: Mapping[str, Any]) -> None:
    """Refuse a model that its file did not fill: the libraries put random numbers there.

    Args:
        folder: Folder of the model, for the message.
        kind: The model's class, for the message.
        info: What `from_pretrained` returns with `output_loading_info=True`.

    Raises:
        UserError: Some weights are missing.
    """
    missing, unknown = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    if missing:
        known = f", and {len(unknown)} there are not known, first {unknown[0]!r}" if unknown else ""
        raise UserError(
            f"model folder {folder}: expected the weights of a {kind}, {len(missing)} are missing, "
            f"first {missing[0]!r}{known}; set another model, or if a newer transformers or "
            "diffusers wrote it, upgrade yours"
        )


def _holds(value: Any, key: str) -> bool:
    """Return whether a key with a value is anywhere in JSON values."""
    if isinstance(value, dict):
        return bool(value.get(key)) or any(_holds(inner, key) for inner in value.values())
    return isinstance(value, list) and any(_holds(inner, key) for inner in value)

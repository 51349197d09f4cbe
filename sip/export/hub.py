"""Push an export to the Hugging Face hub: checked before the work, private, resumable.

Only the hub's own library speaks to it and finds the token (HF_TOKEN, or what `hf auth login`
saved). The card carries a mark of run and options: a dataset with the same mark is finished, any
other one is left alone.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.text import reason_of
from sip.weights.hub import MAX_REASON

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from sip.export.source import Source

T = TypeVar("T")

PREFIX = "hub:"
MARK = "sip_export"  # key in the header of a card
MARK_LINE = re.compile(rf"^{MARK}: (\w+)$", re.MULTILINE)
OF_GIT = ".gitattributes"  # made by the hub
MAX_FILES = 10_000  # the hub's limit for a folder
WAITS = (2.0, 10.0, 30.0, 60.0)  # s before each further try


def mark_of(folder: Path) -> str | None:
    """Return the mark of an export; None if the folder is none."""
    card = folder / "README.md"
    found = MARK_LINE.search(card.read_text(encoding="utf-8")) if card.is_file() else None
    return found[1] if found else None


class HubDataset:
    """A dataset of the hub, to which an export goes.

    Args:
        push: "hub:NAME" or "hub:OWNER/NAME".
        private: Whether it is made private.
        overwrite: Whether it may replace what is in the dataset.

    Raises:
        UserError: It is no name of a dataset.
    """

    def __init__(self, push: str, private: bool, overwrite: bool) -> None:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        self.name = str(push).removeprefix(PREFIX)
        self.private, self.overwrite = private, overwrite
        rule = "push: must be hub:NAME or hub:OWNER/NAME"
        if not str(push).startswith(PREFIX):
            raise UserError(f"{rule}, got {push}; write push={PREFIX}{self.name}")
        try:
            validate_repo_id(self.name)
        except HFValidationError as error:
            raise UserError(f"{rule}, got {push}; {reason_of(error)}") from error

    @property
    def api(self) -> "HfApi":
        """The hub's client."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))  # the library's constant may be older

    def log_in(self) -> None:
        """Check that the hub can be reached with a login that may own the dataset.

        Raises:
            UserError: It cannot.
        """
        from huggingface_hub import constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise UserError("push: must reach the hub, got HF_HUB_OFFLINE=1; unset it")
        if get_token() is None:
            raise UserError(
                "push: must be logged in to the hub, got no token; run hf auth login, or set "
                "HF_TOKEN in the environment"
            )
        with self._plain_errors():
            person = _tried(self.api.whoami)
        owners = [person["name"], *(each["name"] for each in person.get("orgs", ()))]
        owner, slash, _ = self.name.partition("/")
        if not slash:
            self.name = f"{owners[0]}/{self.name}"
        elif owner not in owners:
            raise UserError(
                f"push: must be a dataset of {' or '.join(owners)}, whose token this is, got "
                f"{self.name}; name one of these, or log in as somebody else"
            )

    def check(self, source: "Source", mark: str, is_folder_of_images: bool) -> None:
        """Check that the dataset is new, or has this export or a part of it.

        Raises:
            UserError: It has something else, or others can read it, or it would have more files
                than the hub takes.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        in_folder: Counter[tuple[str, int]] = Counter()  # of a class: real and generated images
        for (part, label, _), num in source.counts.items():
            in_folder[part, label] += num
        most = max(in_folder.values())
        if is_folder_of_images and most > MAX_FILES:
            raise UserError(
                f"format: must be webdataset or datasets, got image_folder: the hub takes "
                f"{MAX_FILES:,} files in a folder, and a class has {most:,} images"
            )
        with self._plain_errors():
            try:
                info = _tried(lambda: self.api.dataset_info(self.name))
            except RepositoryNotFoundError:
                return
        if self.private and not info.private:
            raise UserError(
                f"private: must be false for {self.name}, which everybody can read, got true; make "
                "it private in its settings, or write private=false"
            )
        there = {file.rfilename for file in info.siblings or ()} - {OF_GIT}
        theirs = info.card_data.get(MARK) if info.card_data else None
        if there and theirs != mark and not self.overwrite:
            raise UserError(
                f"push: must be a new dataset, or one with this export, got {self.name}, which has "
                f"{'another export' if theirs else 'other files'}; name another one, or replace "
                "all of it with overwrite=true"
            )

    def push(self, folder: Path) -> str:
        """Upload a folder; what is there already is not sent again.

        Returns:
            The dataset's address.

        Raises:
            UserError: The hub does not take it, or cannot be reached for some minutes.
        """
        with self._plain_errors(f"; {folder} is complete, and the same command goes on"):
            url = _tried(
                lambda: self.api.create_repo(
                    self.name, repo_type="dataset", private=self.private, exist_ok=True
                )
            )
            # The card first: by its mark, an upload that was cut short is known.
            _tried(lambda: self._upload(folder, "README.md", None))
            _tried(lambda: self._upload(folder, None, "*" if self.overwrite else None))
        return str(url)

    def _upload(self, folder: Path, only: str | None, replaced: str | None) -> None:
        self.api.upload_folder(
            repo_id=self.name,
            repo_type="dataset",
            folder_path=folder,
            commit_message="Images and their card, by sip.export",
            allow_patterns=only,
            delete_patterns=replaced,
        )

    @contextmanager
    def _plain_errors(self, fix: str = "") -> Iterator[None]:
        """Say in one line what the hub answered."""
        try:
            yield
        except (*_errors(), RuntimeError, ValueError) as error:
            reason = reason_of(_cause(error))[:MAX_REASON]
            is_refused = _status(error) is not None or isinstance(error, ValueError)
            what = "refuses it" if is_refused else "did not take it"  # e.g. its storage library
            what = "does not answer" if _may_pass(error) else what
            raise UserError(f"push: the hub {what} for {self.name}: {reason}{fix}") from error


def _tried(action: Callable[[], T]) -> T:
    """Return what an action returns; try again while the hub is busy or cannot be reached."""
    for wait in WAITS:
        try:
            return action()
        except (*_errors(), RuntimeError, json.JSONDecodeError) as error:
            if not _may_pass(error):
                raise
            got = _status(error) or reason_of(_cause(error))
            say("push", f"the hub answers {got}; again in {wait:g} s")
        time.sleep(wait)
    return action()


def _may_pass(error: Exception) -> bool:
    """Return whether another try may succeed: the hub is busy, or was not reached."""
    if not isinstance(_cause(error), (*_errors(), json.JSONDecodeError)):
        return False
    status = _status(error)
    return status is None or status in (408, 429) or status >= 500


def _errors() -> Any:
    """Return what the hub's library raises: the error of its HTTP client, and OSError."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__


def _status(error: Exception) -> int | None:
    """Return the status that the hub answered with; None if it did not answer."""
    return getattr(getattr(_cause(error), "response", None), "status_code", None)


def _cause(error: Exception) -> BaseException:
    """Return why one of several uploads failed, which the library wraps; else the error."""
    return error.__cause__ or error if isinstance(error, RuntimeError) else error

"""What the command line of the studio says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sip.config import plugins
from sip.core.errors import UserError
from sip.core.files import check_folders
from sip.core.object_cache import on_disk
from sip.core.paths import conf_folder
from sip.core.text import key_of
from sip.core.uri import Place, place_of

FOLDER = "studio"  # in the store, or in the cache of one in a bucket
OWN_KEYS = ("host", "port", "open")
NOT_PASSED = ("profile", "paths.store", "paths.runs", *OWN_KEYS)
DATA = "dataset"  # group; Try has the image that is dropped, and runs know their own


@dataclass(frozen=True)
class Settings:
    """The settings of a studio.

    Attributes:
        profile: A choice of `conf/profile`.
        store: Place of the store.
        runs: Folder of the runs.
        overrides: Further overrides of its command line, which previews take over.
    """

    profile: str
    store: Place
    runs: Path
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Any, overrides: Sequence[str]) -> Self:
        """Return the settings of a configuration.

        Args:
            config: The whole configuration.
            overrides: Those of the command line.

        Raises:
            UserError: Store or runs cannot be written.
        """
        check_folders(config.paths)
        passed = tuple(
            word
            for word in overrides
            if key_of(word) not in NOT_PASSED and key_of(word).partition(".")[0] != DATA
        )
        store, runs = place_of(config.paths.store), Path(config.paths.runs)
        return cls(config.profile.name, store, runs, passed)

    @property
    def folder(self) -> Path:
        """Folder of the prompt lists and the runs of previews."""
        return on_disk(self.store) / FOLDER

    @property
    def line(self) -> str:
        """What the page says of them."""
        chosen = ", ".join([f"profile={self.profile}", *self.overrides])
        return f"`{chosen}` · runs in `{self.runs}`"

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `sip.generate` for previews, whose runs are not among those to review."""
        return {
            "profile": self.profile,
            "store": self.store,
            "runs": self.folder / "runs",
            "overrides": ["metrics=[]", *self.overrides],
            "progress": False,
        }


def searched(sources: Sequence[Any]) -> list[str]:
    """Return the override that adds the folders of configurations that the command line adds.

    Args:
        sources: `hydra.runtime.config_sources`.
    """
    known = {folder.resolve() for folder in (conf_folder(), *plugins.folders())}
    folders = [Path(source.path).resolve() for source in sources if source.schema == "file"]
    added = [f"file://{folder}" for folder in folders if folder not in known]
    return [f"hydra.searchpath={added}"] if added else []


def check_address(host: Any, port: Any) -> None:
    """Check where the studio is to listen.

    Raises:
        UserError: Host or port cannot be one.
    """
    if not isinstance(host, str) or not host.strip():
        raise UserError(f"host: must be an address such as 127.0.0.1, got {host!r}")
    if port is not None and (type(port) is not int or not 1 <= port <= 65535):
        rule = "must be null or a whole number in [1, 65535]"
        raise UserError(f"port: {rule}, got {port!r}; null takes one that is free")

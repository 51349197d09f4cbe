"""What the command line of the studio says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sip.core.errors import UserError
from sip.core.text import key_of

FOLDER = "studio"  # in the store: prompt lists and runs of previews
OWN_KEYS = ("host", "port", "open")
NOT_PASSED = ("profile", "paths.store", "paths.runs", *OWN_KEYS)
DATA = "dataset"  # group; Try has the image that is dropped, and runs know their own


@dataclass(frozen=True)
class Settings:
    """The settings of a studio.

    Attributes:
        profile: A choice of `conf/profile`.
        store, runs: Folders of the store and the runs.
        overrides: Further overrides of its command line, which previews take over.
    """

    profile: str
    store: Path
    runs: Path
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Any, overrides: Sequence[str]) -> Self:
        """Return the settings of a configuration.

        Args:
            config: The whole configuration.
            overrides: Those of the command line.
        """
        passed = tuple(
            word
            for word in overrides
            if key_of(word) not in NOT_PASSED and key_of(word).partition(".")[0] != DATA
        )
        return cls(config.profile.name, Path(config.paths.store), Path(config.paths.runs), passed)

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
            "runs": self.store / FOLDER / "runs",
            "overrides": ["metrics=[]", *self.overrides],
            "progress": False,
        }


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

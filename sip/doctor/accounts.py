"""Whether W&B knows who you are; the key itself is neither shown nor checked over the network."""

import netrc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sip.doctor.base import MISSING, NOTE, OK, Finding

if TYPE_CHECKING:
    from omegaconf import DictConfig

VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
HOST = "api.wandb.ai"  # where WANDB_BASE_URL names no other


def wandb(config: "DictConfig") -> Iterator[Finding]:
    """Yield whether the chosen logger can log."""
    node = config.logger
    if node.kind != "wandb":
        yield Finding("W&B", OK, f"not asked for (logger={node.kind})")
        return
    place = login_place()
    if place is not None:
        yield Finding("W&B", OK, f"logged in, by {place}; logger.mode={node.mode}")
    elif node.mode == "online":
        yield Finding(
            "W&B", MISSING, "not logged in, and logger.mode=online asks for it", "wandb login"
        )
    else:
        text = "not logged in; runs are logged offline, `wandb sync` uploads them later"
        yield Finding("W&B", NOTE, text, "wandb login")


def login_place() -> str | None:
    """Return where W&B would find its key: a variable's name or a file; None if nowhere."""
    for name in VARIABLES:
        if os.environ.get(name):
            return name
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname or HOST
    given = os.environ.get("NETRC")
    for file in [Path(given)] if given else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            found = netrc.netrc(str(file.expanduser())).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if found:
            return str(file)
    return None

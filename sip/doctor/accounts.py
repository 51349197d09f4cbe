"""Whether the chosen logger can log. W&B's key is neither shown nor checked over the network."""

import netrc
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sip.doctor.base import MISSING, OK, Finding

if TYPE_CHECKING:
    from omegaconf import DictConfig

VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
HOST = "api.wandb.ai"  # unless WANDB_BASE_URL names another


def logger(config: "DictConfig") -> Iterator[Finding]:
    """Yield whether the chosen logger can log."""
    from sip.tracking.loggers import PACKAGES, install_logger

    node = config.logger
    package = PACKAGES.get(node.kind)
    if package and find_spec(package) is None:
        yield Finding("logger", MISSING, f"{node.kind}: not installed", install_logger(package))
    elif node.kind != "wandb":
        yield Finding("logger", OK, str(node.kind))
    elif (place := login_place()) is not None:
        yield Finding("logger", OK, f"wandb, {node.mode}; logged in by {place}")
    elif node.mode == "online":
        text = "wandb, online: not logged in"
        yield Finding("logger", MISSING, text, "wandb login")
    else:
        yield Finding("logger", OK, "wandb, offline; `wandb sync` uploads runs later")


def login_place() -> str | None:
    """Return the variable or the file with W&B's key; None if there is none."""
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

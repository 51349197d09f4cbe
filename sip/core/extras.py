"""The command that installs an extra of this package, which is on no index yet."""

import shlex
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sip.core.paths import PACKAGE

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "sip-augmentation"


def install_extras(*extras: str) -> str:
    """Return the command that installs extras: from the checkout, else the packages themselves."""
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        place = "." if checkout == Path.cwd() else str(checkout)
        named = f"{place}[{','.join(extras)}]"
        return f"pip install -e {shlex.quote(named)}"
    wanted = [f"{each.name}{each.specifier}" for extra in extras for each in requirements(extra)]
    return f"pip install {shlex.join(wanted)}"


def requirements(extra: str) -> "list[Requirement]":
    """Return the packages of an extra, as the installed package states them."""
    from packaging.requirements import Requirement

    stated = map(Requirement, metadata.requires(DISTRIBUTION) or ())
    return [
        each
        for each in stated
        if each.marker is not None and each.marker.evaluate({"extra": extra})
    ]

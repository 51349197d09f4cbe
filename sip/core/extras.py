"""The command that installs an extra of this package, which is on no index yet."""

import shlex
from importlib import metadata
from pathlib import Path

from sip.core.paths import PACKAGE

DISTRIBUTION = "sip-augmentation"


def install_extras(*extras: str) -> str:
    """Return the command that installs extras: from the checkout, else the packages themselves."""
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        place = "." if checkout == Path.cwd() else str(checkout)
        named = f"{place}[{','.join(extras)}]"
        return f"pip install -e {shlex.quote(named)}"
    wanted = [need for extra in extras for need in packages_of(extra)]
    return f"pip install {shlex.join(wanted)}"


def packages_of(extra: str) -> list[str]:
    """Return what an extra requires, as pip reads it, of the installed package."""
    from packaging.requirements import Requirement

    requirements = map(Requirement, metadata.requires(DISTRIBUTION) or ())
    return [
        f"{each.name}{each.specifier}"
        for each in requirements
        if each.marker is not None and each.marker.evaluate({"extra": extra})
    ]

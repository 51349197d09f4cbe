"""Versions of Python, of the packages that SIP needs, and of its extras."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from sip.core.extras import DISTRIBUTION, install_extras, requirements
from sip.doctor.base import MISSING, NOTE, OK, Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

SHOWN = ("torch", "torchvision", "diffusers", "transformers", "timm", "pytorch-lightning")
DEVELOPERS = {"dev", "docs", "test"}  # extras for those who work on SIP


def findings() -> Iterator[Finding]:
    """Yield one finding for Python and one for the packages."""
    from packaging.requirements import Requirement

    yield Finding("python", OK, f"{platform.python_version()}, {platform.platform(terse=True)}")
    try:
        needed = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        text = f"{DISTRIBUTION} is not installed; its code is read from {sys.path[0] or '.'}"
        yield Finding("packages", NOTE, text, "pip install -e .")
        return
    yield _packages([req for req in needed if req.marker is None])


def extras() -> Iterator[Finding]:
    """Yield which extras are not installed."""
    try:
        names = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ()
    except metadata.PackageNotFoundError:
        return
    lacking = {}
    for name in names:
        if name not in DEVELOPERS and (
            wrong := [w for req in requirements(name) if (w := _wrong(req))]
        ):
            lacking[name] = "; ".join(wrong)
    if lacking:
        text = ", ".join(f"{name} ({wrong})" for name, wrong in lacking.items())
        yield Finding("extras", NOTE, f"not installed: {text}", install_extras(*lacking))
    else:
        yield Finding("extras", OK, "all are installed")


def _packages(needed: "list[Requirement]") -> Finding:
    """Return what is installed of the packages that are needed."""
    wrong = {req.name: text for req in needed if (text := _wrong(req))}
    if wrong:
        names = " ".join(f"'{req.name}{req.specifier}'" for req in needed if req.name in wrong)
        return Finding("packages", MISSING, "; ".join(wrong.values()), f"pip install {names}")
    own = metadata.version(DISTRIBUTION)
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN)
    return Finding("packages", OK, f"sip {own}, {shown}; all {len(needed)} in the tested ranges")


def _wrong(requirement: "Requirement") -> str | None:
    """Return what is wrong with the installed version; None if nothing is."""
    name, wanted = requirement.name, requirement.specifier
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    if wanted.contains(installed, prereleases=True):
        return None
    return f"{name}: must be {wanted}, got {installed}"

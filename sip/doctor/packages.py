"""Versions: Python, the packages that SIP needs, and what its extras bring."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from sip.doctor.base import MISSING, NOTE, OK, Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "sip-augmentation"
SHOWN = ("torch", "torchvision", "diffusers", "transformers", "timm", "pytorch-lightning")
DEVELOPERS = {"dev", "docs", "test"}  # extras for those who work on SIP


def findings() -> Iterator[Finding]:
    """Yield one finding for Python, one for the packages, one for the extras."""
    from packaging.requirements import Requirement

    yield Finding("python", OK, f"{platform.python_version()}, {platform.platform(terse=True)}")
    try:
        about = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        text = f"{DISTRIBUTION} is not installed, its code is read from {sys.path[0] or '.'}"
        yield Finding("packages", NOTE, text, "pip install -e .")
        return
    needed = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    yield _packages([req for req in needed if req.marker is None])
    lacking = {}
    for extra in about.get_all("Provides-Extra") or ():
        brought = [
            r for r in needed if r.marker is not None and r.marker.evaluate({"extra": extra})
        ]
        if extra not in DEVELOPERS and (wrong := [w for req in brought if (w := _wrong(req))]):
            lacking[extra] = "; ".join(wrong)
    if lacking:
        text = ", ".join(f"{extra} ({wrong})" for extra, wrong in lacking.items())
        command = f"pip install '{DISTRIBUTION}[{','.join(lacking)}]'"
        yield Finding("extras", NOTE, f"not installed, and not needed by default: {text}", command)
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
        return f"{name} is not there"
    if wanted.contains(installed, prereleases=True):
        return None
    return f"{name}: must be {wanted}, got {installed}"

"""Which packages the day needs, which of them are missing, and how to bring them as wheels."""

import importlib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from experiments.gpu.settings import ROOT

UNUSED = {"wandb"}  # every step uses logger=csv
MORE = (
    *("pytest", "antlr4-python3-runtime", "tokenizers", "huggingface_hub", "pyyaml"),
    *("pydantic_core", "typing-inspection"),  # pydantic needs them
)
IMPORTS = {  # modules that are named otherwise than their package
    "antlr4-python3-runtime": "antlr4",
    "hydra-core": "hydra",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
SOURCE_ONLY = ("antlr4-python3-runtime",)  # no wheel is published; it is pure Python
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


@dataclass(frozen=True)
class Package:
    """A package as it is installed.

    Attributes:
        name: As pip knows it.
        version: Installed; None if it is missing.
        wanted: The range that pyproject.toml names, or "".
        error: Why it cannot be imported; None if it can.
        fits: Whether the version lies in the range.
    """

    name: str
    version: str | None
    wanted: str
    error: str | None
    fits: bool

    def line(self) -> str:
        """Return one line about it."""
        if self.error:
            return f"{self.name}: MISSING ({self.error})"
        note = "" if self.fits else f"; pyproject.toml wants {self.wanted}"
        return f"{self.name} {self.version}{note}"


def required() -> dict[str, str]:
    """Return the packages that the steps import, name -> range, from pyproject.toml."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parsed = map(Requirement, project["dependencies"])
    wanted = {one.name: str(one.specifier) for one in parsed if one.name not in UNUSED}
    return wanted | dict.fromkeys(MORE, "")


def check(wanted: dict[str, str]) -> list[Package]:
    """Import each package; return what is installed, the missing ones first."""
    packages = [_check(name, versions) for name, versions in sorted(wanted.items())]
    return sorted(packages, key=lambda package: package.error is None)


def _check(name: str, wanted: str) -> Package:
    from packaging.specifiers import SpecifierSet

    try:
        importlib.import_module(IMPORTS.get(name, name.replace("-", "_")))
    except Exception as error:  # an import can fail in any way, of a wrong version too
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Package(name, None, wanted, reason, False)
    try:
        there = version(name)
    except PackageNotFoundError:
        return Package(name, "of unknown version", wanted, None, True)
    fits = SpecifierSet(wanted).contains(there.partition("+")[0], prereleases=True)
    return Package(name, there, wanted, None, fits)


def pins() -> dict[str, str]:
    """Return the versions that constraints.txt names, name -> version."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("#")[0].strip().partition("==") for line in lines)
    return {name.lower(): pinned for name, _, pinned in pairs if pinned}


def commands(names: Iterable[str], folder: str = "wheels") -> list[str]:
    """Return the pip commands that save packages as wheels for Python 3.12 on Linux."""
    pinned = pins()
    words = {name: f"{name}=={pinned[name]}" if name in pinned else name for name in names}
    binary = [word for name, word in words.items() if name not in SOURCE_ONLY]
    source = [word for name, word in words.items() if name in SOURCE_ONLY]
    platforms = " ".join(f"--platform {name}" for name in PLATFORMS)
    lines = []
    if binary:
        lines.append(
            "python -m pip download --only-binary=:all: --no-deps --python-version 3.12 "
            f"--implementation cp {platforms} -d {folder} {' '.join(binary)}"
        )
    if source:
        lines.append(f"python -m pip wheel --no-deps -w {folder} {' '.join(source)}")
    return lines


def install_command(folder: str = "wheels", target: str = "/tmp/gpu-packages") -> str:
    """Return the command that unpacks the wheels on a machine without network."""
    return (
        f"python -m pip install --no-index --no-deps --no-compile --target {target} {folder}/*.whl "
        f"&& export PYTHONPATH={target}"
    )


def report(packages: Sequence[Package]) -> tuple[list[str], list[str]]:
    """Return a line a package, and the names of the missing ones."""
    missing = [package.name for package in packages if package.error]
    return [package.line() for package in packages], missing

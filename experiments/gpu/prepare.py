"""What must travel to a machine that has a GPU and no network: sizes, their sum, the commands."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from experiments.gpu.packages import commands, install_command, pins
from experiments.gpu.settings import ROOT, Settings

MIB = 2**20
LIMIT = 64  # MiB that may travel
DATA = ("train.parquet", "test.parquet")


def run(settings: Settings) -> int:
    """Print; return 0 if everything is there and fits."""
    total, is_whole = 0.0, True
    print("What travels, MiB:")
    for name, size in _items(settings):
        print(f"  {name:<54} {'not there' if size is None else f'{size / MIB:9.1f}'}")
        total += size or 0
        is_whole = is_whole and size is not None
    fits = total <= LIMIT * MIB
    word = "fits" if fits else "does not fit"
    print(f"  {'sum':<54} {total / MIB:9.1f}   {word} into {LIMIT} MiB")
    folder = _shown(settings.wheels) if settings.wheels else "wheels"
    print("\nWheels, here:")
    for line in commands(settings.missing, folder):
        print(f"  {line}")
    print(f"\nThere, in the repository's root:\n  {install_command(folder)}")
    return 0 if fits and is_whole else 1


def _items(settings: Settings) -> Iterator[tuple[str, int | None]]:
    """Yield name and bytes of what travels; None for what is not there."""
    yield "repository (tracked files)", _repository()
    for name in DATA:
        file = settings.data / name if settings.data else None
        yield f"data: {name}", file.stat().st_size if file and file.exists() else None
    for name in settings.missing:
        wheel = _wheel(settings.wheels, name)
        label = f"wheel: {wheel.name if wheel else name}"
        yield label, wheel.stat().st_size if wheel else None


def _repository() -> int:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return sum(file.stat().st_size for file in files if file.is_file())


def _wheel(folder: Path | None, name: str) -> Path | None:
    """Return the wheel of a package, of its pinned version if there are several."""
    if folder is None:
        return None
    stem = name.replace("-", "_").lower()
    wheels = [file for file in folder.glob("*.whl") if file.name.lower().split("-")[0] == stem]
    pinned = [file for file in wheels if f"-{pins().get(name)}-" in file.name]
    return next(iter([*pinned, *wheels]), None)


def _shown(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)

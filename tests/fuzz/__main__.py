"""Fuzz for as long as you like: `python -m tests.fuzz pictures --seconds 600`; see `make fuzz`."""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from tests.fuzz.engine import fuzz

KINDS = ("pictures", "configurations")


def main() -> int:
    """Try damaged inputs of a kind; return 1 if one of them did harm."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seconds", type=float, default=600, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    given = parser.parse_args()
    prepare = importlib.import_module(f"tests.fuzz.{given.kind}").prepare
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(prepare, given.seconds, given.seed, Path(folder), given.first)
    print(f"{given.kind}, seed {given.seed}:", *report.lines(), sep="\n  ")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())

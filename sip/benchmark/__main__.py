"""What it costs: `python -m sip.benchmark generation`, or another of `BENCHMARKS`."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig

BENCHMARKS = ("generation", "training", "formats", "storage", "memory")


def task(config: "DictConfig") -> None:
    """Run the benchmark that the command line names."""
    from sip.core.errors import UserError

    if config.benchmark not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise UserError(f"benchmark: expected one of {known}, came {config.benchmark!r}")
    import_module(f"sip.benchmark.{config.benchmark}").run(config)


def main() -> None:
    """Run on the command line's configuration; its first word may be the benchmark's name."""
    if len(sys.argv) > 1 and "=" not in sys.argv[1] and sys.argv[1][:1] != "-":
        sys.argv[1] = f"benchmark={sys.argv[1]}"
    sip.config.cli.main(task, config_name="benchmark")


if __name__ == "__main__":
    main()

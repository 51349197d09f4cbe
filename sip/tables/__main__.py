"""The table of arms: `python -m sip.tables runs=runs output=experiments/main/table`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import sip.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Read the finished runs of an experiment; print the table and write it."""
    from sip.common.errors import UserError
    from sip.tables.main import arms, markdown, write

    files = sorted(Path(config.runs).glob("*/summary.json"))
    read = [json.loads(file.read_text()) for file in files]
    summaries = [summary for summary in read if "test_accuracy" in summary]
    chosen = [
        s for s in summaries if config.experiment is None or config.experiment in s["experiments"]
    ]
    if not chosen:
        raise UserError(
            f"tables: expected finished runs of experiment {config.experiment!r} in "
            f"{config.runs}, found {len(summaries)} of other experiments; name them with runs= "
            "and experiment="
        )
    try:
        rows = arms(chosen)
    except ValueError as error:
        raise UserError(f"tables: {error}") from error
    commits = sorted({str(s["commit"])[:10] for s in chosen})
    prints = ", ".join(s["fingerprint"] for s in chosen)
    footer = (
        f"{len(chosen)} runs, commit {', '.join(commits)}. Same number of optimiser steps for all "
        f"arms of a backbone; checkpoint chosen on validation; test read once a run.\n\n"
        f"<details><summary>Fingerprints</summary>{prints}</details>"
    )
    print(markdown(rows, footer))
    if config.output:
        write(rows, footer, Path(config.output))


def main() -> None:
    """Run on the command line's configuration."""
    sip.cli.main(task, config_name="tables")


if __name__ == "__main__":
    main()

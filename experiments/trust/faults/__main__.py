"""Breaks things on purpose and prints what happened: `python -m experiments.trust.faults`.

    python -m experiments.trust.faults [quick] [only=words] [most=NUMBER] [output=FILE]

Ends with 1 where a fault was not handled. `quick` leaves out those that take long; `only` chooses
those whose name holds the words; `most` bounds the kills of each fault that kills at every touch of
the disk, where time is short. Nothing outside of temporary folders is touched.
"""

import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"MPLBACKEND": "Agg", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
os.environ |= {"WANDB_SILENT": "true", "WANDB_MODE": "offline"}

import torch  # noqa: E402

import tests.preloaded  # noqa: E402, F401
from experiments.trust.faults import FAULTS, Fault, NotRunError, killing  # noqa: E402

HANDLED, NOT_HANDLED, NOT_RUN = "handled", "NOT HANDLED", "not run"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    saw: str
    lost: str
    verdict: str
    seconds: float  # of a processor


def run(fault: Fault) -> Row:
    """Try one fault in a folder of its own."""
    started = _cpu()
    with tempfile.TemporaryDirectory(prefix="sip-fault-") as folder:
        try:
            outcome = fault.work(Path(folder))
            found = (outcome.saw, outcome.lost, HANDLED)
        except NotRunError as error:
            found = (str(error), "", NOT_RUN)
        except Exception as error:
            found = (f"{type(error).__name__}: {error}", "", NOT_HANDLED)
    return Row(fault.name, *found, _cpu() - started)


def _cpu() -> float:
    """Return the processor's seconds of this process and of all that it started."""
    return sum(os.times()[:4])


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| fault | what the user saw | what was lost | verdict |", "|---|---|---|---|"]
    for row in rows:
        cells = [" ".join(cell.replace("|", "\\|").split()) for cell in (row.saw, row.lost)]
        lines.append(f"| {row.name} | {cells[0]} | {cells[1]} | {row.verdict} |")
    return "\n".join(lines) + "\n"


def report(rows: list[Row], command: str) -> str:
    """Return the page that is committed."""
    counts = {one: sum(row.verdict == one for row in rows) for one in (HANDLED, NOT_HANDLED)}
    seconds = sum(row.seconds for row in rows)
    return (
        "# What happens on a bad day\n\n"
        f"Question: what does a user see, and lose, when things break? Command: `{command}` "
        f"({seconds / 60:.0f} CPU-minutes). Expected: nothing finished is "
        "lost or wrong, and every message names cause and remedy in one line. Obtained: "
        f"{counts[HANDLED]} of {len(rows)} faults handled, {counts[NOT_HANDLED]} not. Paths are "
        "shortened to `...`.\n\n" + table(rows)
    )


def main() -> None:
    """Run what the command line asks for."""
    arguments = sys.argv[1:]
    options = dict(text.split("=", 1) for text in arguments if "=" in text)
    if unknown := [
        a for a in arguments if a.split("=")[0] not in ("quick", "only", "most", "output")
    ]:
        sys.exit(f"error: {' '.join(unknown)}: expected quick, only=, most= or output=")
    warnings.simplefilter("ignore", DeprecationWarning)  # fork: this process has one thread
    torch.set_num_threads(1)
    wanted = [fault for fault in FAULTS if fault.quick or "quick" not in arguments]
    wanted = [fault for fault in wanted if options.get("only", "") in fault.name]
    killing.most = int(options["most"]) if "most" in options else None
    rows = []
    for fault in wanted:
        row = run(fault)
        rows.append(row)
        print(f"{row.verdict:<12} {row.seconds:6.1f} s  {row.name}\n    {row.saw[:2000]}")
        print(f"    lost: {row.lost}" if row.lost else "", flush=True)
        if "output" in options:
            output = Path(options["output"])
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(report(rows, f'make faults ARGS="{" ".join(arguments)}"'))
    sys.exit(any(row.verdict == NOT_HANDLED for row in rows))


if __name__ == "__main__":
    main()

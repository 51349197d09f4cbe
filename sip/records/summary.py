"""The table that a run ends with."""

from pathlib import Path
from typing import Any

from sip.core.text import text_table
from sip.jobs.evaluate import shown
from sip.pipeline.filtering import SHEET
from sip.pipeline.filtering import line as filter_line


def table(summary: dict[str, Any], folder: Path, store: Path) -> str:
    """Return the table that a run ends with."""
    shots = summary["shots"]
    seconds = ", ".join(f"{row['stage']} {row['seconds']:.1f}" for row in summary["stages"])
    sieve = summary.get("filter")
    rows = {
        "arm": f"{summary['backbone']} + {summary['augmentation']}, seed {summary['seed']}",
        "dataset": summary["dataset"] + (f", {shots} shots a class" if shots else ""),
        "training images": f"{summary['num_real']} real + {summary['num_drawn']} drawn",
        "budget": f"{summary['steps']} optimiser steps, {summary['epochs']:.1f} passes over the "
        "training images",
        **({"filter": filter_line(sieve)} if sieve else {}),
        **({"rejected": str(folder / SHEET)} if sieve and sieve["rejected"] else {}),
        "best epoch": f"{summary['best_epoch']:.0f} (step {summary['best_step']}), by validation: "
        f"{summary['val_accuracy']:.3f} on {summary['num_val']} images",
        "test top-1": f"{summary['test_accuracy']:.3f} on {summary['num_test']} images",
        "test, further": shown(summary["metrics"]),
        "seconds": seconds,
        "U-Net evaluations": f"{summary['unet_evaluations']:,}",
        "run": str(folder),
        "store": str(store) if summary["num_drawn"] else "not used",
        "contact sheet": str(folder / summary["contact_sheet"])
        if summary["contact_sheet"]
        else "none: nothing was drawn",
    }
    return text_table(rows)

"""Summaries of made-up runs, for every test that needs a finished run."""

from pathlib import Path
from typing import Any

from sip.core.machine import Machine
from sip.records.summary import GenerationSummary, StageCounts, Summary, TrainingSummary
from sip.records.write import write_summary

MACHINE = Machine(processor="AMD EPYC", instructions="AVX2", limits={}, threads=1)
COMMON: dict[str, Any] = {
    "name": "resnet50-sip-seed0",
    "fingerprint": "0123456789",
    "dataset": "digits",
    "num_real": 50,
    "num_generated": 50,
    "unet_evaluations": 2500,
    "stages": (),
    "command": "python -m sip.train",
    "versions": {"torch": "2.15.0"},
    "platform": "Linux",
    "machine": MACHINE,
    "commit": "0123456789abcdef",
    "recipe": {"seed": 0, "offline": None},
}


def stage(name: str, cached: int = 0, computed: int = 1, seconds: float = 1.0) -> StageCounts:
    """Return what a stage did."""
    return StageCounts(stage=name, cached=cached, computed=computed, seconds=seconds)


def training_summary(**changes: Any) -> TrainingSummary:
    """Return the summary of a training run."""
    own = {
        "experiments": ("main",),
        "backbone": "resnet50",
        "augmentation": "sip",
        "seed": 0,
        "shots": 5,
        "leaks": {},
        "num_val": 200,
        "num_test": 200,
        "steps": 250,
        "epochs": 25.0,
        "best_step": 200,
        "best_epoch": 20.0,
        "val_accuracy": 0.75,
        "test_accuracy": 0.75,
        "generation_seconds": 25.0,
        "contact_sheet": None,
        "overrides": (),
        "choices": {},
    }
    return TrainingSummary(**{**COMMON, **own, **changes})


def generation_summary(**changes: Any) -> GenerationSummary:
    """Return the summary of a run of `sip.generate`."""
    own = {"images": "img2img", "failures": {}, "images_dir": "images/img2img-0123456789"}
    return GenerationSummary(**{**COMMON, **own, **changes})


def write_run(folder: Path, summary: Summary) -> Path:
    """Write the summary into a run folder, which is made; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_summary(folder, summary)
    return folder

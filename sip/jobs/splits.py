"""The real images of a run: read, checked, and compared for duplicates."""

from typing import Any

from sip.core import progress
from sip.core.progress import say
from sip.core.stages import StageLog
from sip.dataset import leaks
from sip.dataset.base import Sample, Split
from sip.dataset.reader import require_trainable, say_made_parts
from sip.dataset.remarks import remarks
from sip.jobs.train_job import TrainJob

SPLITS: tuple[Split, ...] = ("train", "val", "test")
Splits = dict[Split, list[Sample]]


def load_splits(job: TrainJob, stages: StageLog) -> tuple[Splits, dict[str, Any]]:
    """Return the real images by split, and what train shares with val and test.

    Raises:
        UserError: An image cannot be read, or nothing can be trained on them.
    """
    shared: dict[str, Any] = {}
    with stages.stage("dataset") as row:
        splits = {split: job.dataset.samples(split) for split in SPLITS}
        row["cached"] = sum(len(samples) for samples in splits.values())
        say_made_parts(job.dataset)
        require_trainable(job.dataset.class_names, splits)
        if progress.is_first:
            if job.config.train.leaks:
                shared = _leaks(splits, job.config.runtime.num_workers)
            for line in remarks(splits, job.dataset.class_names):
                say("dataset", line)
    return splits, shared


def _leaks(splits: Splits, num_workers: int) -> dict[str, Any]:
    """Count and report what train shares with val and test."""
    shared = leaks.find(splits, num_workers)
    for leak in shared:
        say("leaks", leak.line())
    return {leak.part: {"exact": leak.exact, "near": leak.near} for leak in shared}

"""The real images of a run: read, checked, and compared for duplicates."""

from collections.abc import Iterable, Sequence
from typing import Any

from sip.core import progress
from sip.core.progress import say
from sip.core.stages import StageLog
from sip.dataset import leaks
from sip.dataset.base import Sample, Split
from sip.dataset.reader import Reader, require_trainable, say_made_parts
from sip.dataset.remarks import codes, remarks
from sip.jobs.train_job import TrainJob
from sip.pipeline.plan import chosen_models
from sip.weights.stacks import learnt_by_stacks, pool_remarks

SPLITS: tuple[Split, ...] = ("train", "val", "test")
Splits = dict[Split, Sequence[Sample]]


def load_splits(job: TrainJob, stages: StageLog) -> tuple[Splits, dict[str, Any]]:
    """Return the real images by split, and what val and test share with train and the generator.

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
                shared = _leaks(job, splits)
            names = job.dataset.class_names
            for line in [*(codes(names) if job.offline else ()), *remarks_of(job, splits)]:
                say("dataset", line)
    return splits, shared


def remarks_of(job: TrainJob, splits: Splits) -> list[str]:
    """Return the remarks on the data set, without what the check for leaks reports."""
    return remarks(splits, job.dataset.class_names, with_leaks=not job.config.train.leaks)


def _leaks(job: TrainJob, splits: Splits) -> dict[str, dict[str, int]]:
    """Count and report what train, and what a generator saw, shares with val and test."""
    num_workers = job.config.runtime.num_workers
    hashed = job.dataset.perceptual_hashes() if isinstance(job.dataset, Reader) else {}
    found = leaks.find(splits, num_workers, hashed=hashed)
    is_apart = getattr(job.dataset, "trained_on", None) != "pretrain"
    if job.components and is_apart and "pretrain" in getattr(job.dataset, "all_splits", ()):
        pool = job.dataset.samples("pretrain")
        found += leaks.find({**splits, "pretrain": pool}, num_workers, "pretrain", hashed)
        seen = ((sample.sha256, sample.label) for sample in pool)
        for line in pool_remarks(chosen_models(job.config), seen):
            say("leaks", line)
    counts: dict[str, dict[str, int]] = {}
    for leak in found:
        say("leaks", leak.line())
        end = "" if leak.known == "train" else f"_{leak.known}"
        counts.setdefault(leak.part, {})
        counts[leak.part] |= {f"exact{end}": leak.exact, f"near{end}": leak.near}
    for name, (of, advice, learnt) in _learnt(job).items():
        for part, num in num_learnt(learnt, splits).items():
            counts.setdefault(part, {})[f"exact_{name}"] = num
            if num:
                say(
                    "leaks",
                    f"{part}: {num:,} of {len(splits[part]):,} images were learnt by {of}: "
                    f"accuracy on them says nothing; {advice}",
                )
    return counts


def _learnt(job: TrainJob) -> dict[str, tuple[str, str, Iterable[str]]]:
    """Return what lists its training images: its kind, how it is called, advice, and the list."""
    found: dict[str, tuple[str, str, Iterable[str]]] = {}
    models = chosen_models(job.config) if job.components else []
    if weights := job.config.backbone.get("weights"):
        models.append(str(weights))
    if stacks := learnt_by_stacks(models):
        of = f"the stack {' and '.join(folder.name for folder in stacks)}"
        found["stack"] = (of, "train it on the same parts", set().union(*stacks.values()))
    adapter = getattr(job.components.generator, "adapter", None) if job.components else None
    if adapter and adapter.record and adapter.record.learnt:
        of = "the adapter of images.lora"
        found["adapter"] = (of, "adapt on the training part only", adapter.record.learnt)
    return found


def num_learnt(learnt: Iterable[str], splits: Splits) -> dict[Split, int]:
    """Return how many images of val and test have one of the content hashes."""
    known = set(learnt)
    parts = [part for part in leaks.OTHERS if splits.get(part)]
    return {part: sum(sample.sha256 in known for sample in splits[part]) for part in parts}

"""A run: one arm with one seed, in a folder named by its fingerprint.

The folder is `<backbone>-<augmentation>-seed<seed>-<fingerprint>` under `paths.runs`, with the
values of a sweep before the seed, and holds

- `summary.json`: the numbers; written last, so a run with it is finished
- `config.yaml`: the resolved configuration
- `metrics.csv`: the curves
- `images.parquet`: every image used, the generated ones with their provenance
- `predictions.parquet`: logits on val and test
- `per_class.csv`, `confusion.png`: of test
- `classifier/`: the network that validation chose, in timm's hub layout
- `contact_sheet.png`: only if images were generated
- `rejected.png`: images that a filter rejected
- `quality.parquet`: how similar each generated image is to its label, caption and original

A finished run is recognised by the recipes of its components. Nothing heavy is imported for it.
"""

from omegaconf import DictConfig

from sip.core import progress
from sip.core.component import refuse
from sip.core.files import check_folders
from sip.core.progress import say
from sip.core.text import counted, text_table
from sip.core.uri import place_of
from sip.jobs.baseline import Baseline, baseline_of, tables_command
from sip.jobs.objectives import Objectives
from sip.jobs.train_job import TrainJob
from sip.records.summary import TrainingSummary
from sip.store.repair import check_retry, repair
from sip.store.stage import Store


def train(config: DictConfig) -> float | tuple[float, ...] | None:
    """Generate what the store lacks, train, test once, and print the table.

    Returns:
        The metrics of `train.objectives`, for sweepers; None for `plan=true`. The test accuracy is
        for people.

    Raises:
        UserError: Something is missing or wrong; before any costly work.
    """
    check_retry(config.retry)
    if config.prompts_out is not None:
        raise refuse("prompts_out", "null in sip.train", config.prompts_out, "run sip.generate")
    check_folders(config.paths)
    job = TrainJob(config)
    job.say_ignored_settings()
    objectives = Objectives(config, job.augmentation.offline.generates)
    if config.retry == "damaged" and not config.plan:
        job.check()  # a store takes long to be read
        repair(Store(config.paths.store), config.runtime.num_workers)
    if config.plan:
        from sip.jobs.training import print_plan

        print_plan(job)
        return None
    summary = job.cached() if job.reuses else None
    if summary is None:
        summary = _carry_out(job)
    else:
        for stage in summary.stages:
            say(stage.stage, f"cached {stage.cached + stage.computed}")
        asked, machine = config.runtime.num_threads, summary.machine
        if asked is not None and machine and machine.threads != asked:
            text = f"the cached run had {counted(machine.threads, 'thread')}, not {asked}"
            say("runtime", f"{text}; train.reuse=false trains it again")
    baseline = baseline_of(job, _carry_out) if config.train.baseline else None
    if progress.is_first:
        rows = summary.rows(job.folder, place_of(config.paths.store))
        progress.write_lines(text_table(_with_context(rows, job, summary, baseline)))
    return objectives.of(summary)


def _carry_out(job: TrainJob) -> TrainingSummary:
    from sip.jobs.training import run

    return run(job)


def _with_context(
    rows: dict[str, str], job: TrainJob, summary: TrainingSummary, baseline: Baseline | None
) -> dict[str, str]:
    """Return the rows of a run's table with the name of its arm, and how it compares."""
    arm = ", ".join([summary.augmentation, *job.swept_words])
    rows["arm"] = f"{summary.backbone} + {arm}, seed {summary.seed}"
    if baseline is None:
        return rows
    gain = 100 * (summary.test_accuracy - baseline.summary.test_accuracy)
    rows |= {
        "baseline top-1": f"{baseline.summary.test_accuracy:.3f} with augmentation=none and the "
        f"same seed: {gain:+.1f} points",
        "baseline run": str(baseline.folder),
        "compare": tables_command(job.config),
    }
    return rows

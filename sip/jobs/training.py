"""Carry out a run that is not finished yet: generate, filter, train, evaluate, write the folder."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sip.augmentation.base import Augmentation
from sip.classifier.base import UNFINISHED, Result, TrainingImage
from sip.config.build import build
from sip.config.provenance import command_line, environment
from sip.core import progress
from sip.core.component import refuse
from sip.core.paths import SUMMARY
from sip.core.spill import Spilled
from sip.core.stages import StageLog
from sip.core.text import text_table
from sip.core.uri import place_of
from sip.dataset import leaks
from sip.dataset.reader import say_made_parts
from sip.dataset.remarks import say_remarks
from sip.device.launch import launched
from sip.device.settings import Runtime, device, set_threads
from sip.executor.static import Static
from sip.jobs.alone import alone
from sip.jobs.evaluate import evaluate
from sip.jobs.splits import Splits, load_splits, remarks_of
from sip.jobs.train_job import TrainJob
from sip.jobs.training_plan import CACHED, RUN, plan_training, trainings_of
from sip.pipeline.backoff import settle
from sip.pipeline.features import required_by_metrics
from sip.pipeline.filtering import Sifted, sift
from sip.pipeline.plan import (
    NO_WEIGHTS,
    make_plan,
    missing_weights,
    nothing_downloaded,
    say_what_models_know,
    without_device,
)
from sip.pipeline.planned import PlannedRows, leave
from sip.pipeline.quality import NOTHING, measure
from sip.pipeline.rungs import LadderCounts
from sip.pipeline.stored import StoredImage, spent
from sip.pipeline.streaming import stream
from sip.records.summary import StageCounts, TrainingSummary
from sip.records.write import (
    CONTACT_SHEET,
    write_config,
    write_contact_sheet,
    write_images,
    write_rejected_sheet,
    write_summary,
)
from sip.store.stage import Store
from sip.weights.loaded import loaded_weights

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from sip.classifier.predictor import Predictor
    from sip.pipeline.offline import Offline


def print_plan(job: TrainJob) -> None:
    """Print what would be generated and trained."""
    trainings = trainings_of(job)
    if not trainings:  # weights and device are not asked for
        rows = {"to generate": f"nothing: {CACHED}", "to train": f"nothing, {CACHED}"}
        progress.write_lines(text_table(rows))
        leave([])
        return
    no_device = without_device(job.config)
    with nothing_downloaded():
        missing = missing_weights(job.offline, _required(job))
    if missing is None:
        require(job)
    elif job.offline:
        say_what_models_know(job.config)
    samples = job.dataset.samples("train")
    say_made_parts(job.dataset)
    say_remarks(job.dataset)
    rows = {"to generate": "nothing: this arm is trained on the real images"}
    work: list[PlannedRows] = []
    if job.offline and RUN not in trainings:
        rows = {"to generate": f"nothing: {CACHED}"}
    elif job.offline:
        num_processes = job.devices.num_processes(job.config.runtime.device)
        unmeasured = NO_WEIGHTS if missing else no_device
        plan = make_plan(job.offline, samples, num_processes, unmeasured, job.dataset.class_names)
        rows, work = plan.lines(), [*plan.work]
    stages = {stage for stage, _ in missing.models} if missing else set()
    lacking = "the weights of the backbone are missing" if "backbone" in stages else no_device
    training = plan_training(job, lacking or None)
    progress.write_lines(text_table(rows | training.lines()))
    leave([*work, *training.work])
    if missing is not None:
        progress.write_lines(missing)


def require(job: TrainJob) -> None:
    """Check before any costly work that the run can be carried out.

    Raises:
        UserError: It cannot.
    """
    from sip.device.precision import require_mixed
    from sip.tracking.loggers import require_logger

    if isinstance(build(job.config.executor), Static):
        fix = "generate with sip.generate executor=static first"
        raise refuse("executor", "local or ray in sip.train", "static", fix)
    require_logger(job.config.logger)
    if job.offline:
        say_what_models_know(job.config)
    job.check()
    on = device(job.config.runtime.device)
    require_mixed("classifier.precision", job.classifier.precision, on)
    if missing := missing_weights(job.offline, _required(job)):
        raise missing
    if job.offline:
        job.offline.check()
    if job.offline:  # refuse what does not fit the backbone before anything is generated
        network = job.backbone.create(2)
        job.augmentation.require(network)
        num_processes = job.devices.num_processes(job.config.runtime.device)
        share = job.classifier.batch_size // num_processes
        replace(job.classifier, batch_size=share).require(job.backbone, network)


def _required(job: TrainJob) -> dict[str, Callable[[], None]]:
    """Return what checks the weights that the stages of generation do not need."""
    measured = required_by_metrics(job.config) if job.offline else {}
    return {"backbone": job.backbone.require, **measured}


def run(job: TrainJob) -> TrainingSummary:
    """Carry out a run with every process of the job; the first one writes the folder."""
    set_threads(Runtime.of(job.config.runtime))
    require(job)
    with launched(job.devices, device(job.config.runtime.device), watched=True) as own:
        if job.offline:
            job.offline.models.runtime = replace(job.offline.runtime, device=own)
        if not progress.is_first:
            return _run(job)
        # Several processes cannot wait: those of this job need each other.
        with alone(Path(job.config.paths.runs), job.fingerprint, not job.devices.several) as waited:
            # An equal job may also have ended since this one looked.
            is_new = job.reuses or (waited and job.config.train.reuse)
            return (job.finished() if is_new else None) or _run(job)


def _run(job: TrainJob) -> TrainingSummary:
    before = job.finished()  # trained again: it stays a run of the experiments that asked for it
    stages = StageLog()
    splits, leaked = load_splits(job, stages)
    images: Sequence[StoredImage] = ()
    ladder = None
    if job.offline:
        images, ladder = generated(job, job.offline, splits, stages)
    leaks.check_sources((image.prompt for image in images), splits["train"])
    sifted = _sift(job, images, splits, stages)
    quality = NOTHING
    loggers: list[Logger] = []
    if progress.is_first:
        if job.offline:
            classes = job.dataset.class_names
            quality = measure(
                job.config, job.offline, sifted.kept, splits["val"], classes, stages, job.folder
            )
        loggers = _open(job, splits, sifted)
        quality.write(job.folder)
    with stages.stage("classifier") as row:
        result = fit(job, job.augmentation, sifted.kept, splits, job.folder, loggers)
        row["computed"], row["seconds"] = 1, result.earlier
    evaluations, seconds = spent(images)
    given = command_line()
    models: dict[Any, object] = {"backbone": job.backbone}
    if job.components:
        models |= job.components.with_weights()
    summary = TrainingSummary(
        name=job.name,
        fingerprint=job.fingerprint,
        experiments=(job.config.experiment,),
        swept={job.config.experiment or "": tuple(job.swept)} if job.swept else {},
        dataset=job.dataset_name,
        backbone=job.names["backbone"],
        augmentation=job.names["augmentation"],
        seed=job.config.seed,
        shots=job.config.dataset.get("shots"),
        leaks=leaked,
        num_real=len(splits["train"]),
        num_generated=result.num_train - len(splits["train"]),
        filter=sifted.counts,
        ladder=ladder,
        num_val=len(splits["val"]),
        num_test=len(splits["test"]),
        steps=result.steps,
        epochs=round(result.epochs, 2),
        best_step=result.best_step,
        best_epoch=result.best_epoch,
        val_accuracy=result.val_accuracy,
        test_accuracy=result.test_accuracy,
        unet_evaluations=evaluations,
        metrics=quality.metrics,
        quality=tuple(quality.rows),
        generation_seconds=seconds,
        stages=tuple(StageCounts(**row) for row in stages.rows),
        contact_sheet=CONTACT_SHEET if sifted.kept else None,
        **environment(),
        overrides=tuple(given["overrides"]),
        choices=given["choices"],
        remarks=tuple(remarks_of(job, splits)),
        unread=tuple(sorted(job.components.generator.unread)) if job.components else (),
        weights=loaded_weights(models),
        recipe=job.recipe,
    )
    if before is not None:
        summary = replace(summary, experiments=before.experiments, swept=before.swept)
    if progress.is_first:
        summary = summary.evaluated(evaluate(job.folder))
        _close(job, summary, loggers, sifted.kept)
    return summary


def generated(
    job: TrainJob, offline: "Offline", splits: Splits, stages: StageLog
) -> tuple[Sequence[StoredImage], LadderCounts | None]:
    """Generate what is missing; return the images in the order of the prompts, and the counts.

    With a ladder of noise rates, its rejected and failed rungs are among them.
    """
    samples = splits["train"]
    stream(offline, samples)
    prompts, captions = offline.prompts(samples, stages)
    control = partial(_control, job, splits, stages)
    settled = settle(offline, prompts, job.dataset.class_names, stages, control)
    offline.report_failures(settled.last, samples)
    images = settled.images(offline, captions)
    kept = (image for image in images if image.is_ok or settled.verdicts is not None)
    return Spilled(kept), settled.counts


def fit(
    job: TrainJob,
    augmentation: Augmentation,
    generated: Sequence[StoredImage],
    splits: Splits,
    folder: Path,
    loggers: Sequence["Logger"],
) -> Result:
    """Train and test a classifier on the real images and the given generated ones."""
    from sip.classifier.loading import Loading
    from sip.classifier.rows import TrainingRows
    from sip.classifier.train import train as train_classifier
    from sip.device.precision import set_precision

    set_precision(Runtime.of(job.config.runtime))
    return train_classifier(
        backbone=job.backbone,
        recipe=job.classifier,
        augmentation=augmentation,
        train_rows=TrainingRows(splits["train"], map(_training_image, generated)),
        val_rows=splits["val"],
        test_rows=splits["test"],
        class_names=job.dataset.class_names,
        seed=job.config.seed,
        run_folder=folder,
        trainer_kwargs=trainer_kwargs(job.config),
        loggers=loggers,
        store=job.config.paths.store,
        loading=Loading.of(job.config.runtime, job.devices.num_local(job.config.runtime.device)),
    )


def _sift(job: TrainJob, images: Sequence[StoredImage], splits: Splits, stages: StageLog) -> Sifted:
    """Return the generated images as the filter leaves them; without a filter all are kept."""
    control = partial(_control, job, splits, stages)
    return sift(job.offline, images, job.dataset.class_names, stages, control)


def _control(job: TrainJob, splits: Splits, stages: StageLog) -> "Predictor":
    """Return the arm's control, which is trained if there is none."""
    from sip.backbone.saved import SavedClassifier
    from sip.classifier.predictor import Predictor
    from sip.classifier.resume import Checkpoints
    from sip.jobs.control import PLAIN, control_of

    def train(folder: Path) -> None:
        fit(job, replace(PLAIN, base=job.augmentation.base), [], splits, folder, [])
        Checkpoints(folder, "").remove()

    folder = control_of(
        job.recipe,
        Path(job.config.paths.runs),
        Store(job.config.paths.store).work,
        train,
        stages,
        is_shared=job.devices.several,
    )
    assert job.offline  # which has the device of this process
    return Predictor(SavedClassifier(folder), job.offline.models.runtime.device)


def _open(job: TrainJob, splits: Splits, sifted: Sifted) -> list["Logger"]:
    """Write what is known before the training; return the loggers."""
    from sip.tracking.artifacts import GeneratedSet
    from sip.tracking.loggers import keep_curves, make_loggers

    folder = job.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMMARY).unlink(missing_ok=True)
    store = place_of(job.config.paths.store)
    write_images(folder / "images.parquet", splits, sifted.images, store)
    values = write_config(job.config, folder / "config.yaml")
    generated = None
    if job.offline and sifted.kept:
        stage = job.offline.stage("images").fingerprint
        generated = GeneratedSet(sifted.kept, job.offline.recipe(), stage)
    write_contact_sheet(sifted.kept, folder)
    write_rejected_sheet(sifted.images, folder)
    keep_curves(folder, (folder / UNFINISHED).exists())
    return make_loggers(
        job.config.logger,
        folder,
        run_id=job.fingerprint,
        name=job.name,
        group=job.config.experiment,
        values=values,
        images=generated,
    )


def _close(
    job: TrainJob, summary: TrainingSummary, loggers: list["Logger"], kept: Sequence[StoredImage]
) -> None:
    """Write the results; with them the run is finished, and needs its checkpoint no more."""
    from sip.classifier.resume import Checkpoints
    from sip.tracking.later import place_of
    from sip.tracking.loggers import join_curves, log_results

    if log_results(loggers, summary.numbers, job.folder, kept):
        summary = replace(summary, logged=(place_of(job.config.logger),))
    join_curves(job.folder)
    write_summary(job.folder, summary)
    Checkpoints(job.folder, "").remove()


def trainer_kwargs(config: DictConfig) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer; the device is `runtime.device`."""
    kwargs = OmegaConf.to_container(config.trainer, resolve=True)
    assert isinstance(kwargs, dict)
    accelerator = "gpu" if device(config.runtime.device).startswith("cuda") else "cpu"
    return {"accelerator": accelerator, **{str(key): value for key, value in kwargs.items()}}


def _training_image(image: StoredImage) -> TrainingImage:
    prompt, source = image.prompt, image.prompt.source_class
    return TrainingImage(
        prompt.image_id,
        image.file,
        prompt.label,
        prompt.sample_id,
        image.row.file_sha256,
        image.probability,
        None if source is None else source.label,
        1.0 if source is None else source.label_share,
    )

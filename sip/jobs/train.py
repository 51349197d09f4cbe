"""A run: one arm with one seed, in a folder named by its fingerprint.

The folder is `<backbone>-<augmentation>-seed<seed>-<fingerprint>` under `paths.runs`, and holds

- `summary.json`: the numbers; written last, so a run with it is finished
- `config.yaml`: the resolved configuration
- `metrics.csv`: the curves
- `pictures.parquet`: every picture used, the drawn ones with their provenance
- `predictions.parquet`: logits on val and test
- `per_class.csv`, `confusion.png`: of test
- `classifier.safetensors`: the weights that validation chose
- `contact_sheet.png`: only where pictures were drawn
- `rejected.png`: some of those that a filter rejected
- `quality.parquet`: how similar each of them is to its label, caption and original
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sip.augmentation.base import Augmentation
from sip.classifier.base import UNFINISHED, Result, TrainingImage
from sip.config.build import build
from sip.config.provenance import choice, command_line, environment
from sip.core import progress
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.image_io import read_rgb
from sip.core.progress import say
from sip.core.stages import StageLog
from sip.core.text import join_first, text_table
from sip.dataset import leaks
from sip.dataset.base import Dataset, Sample, Split
from sip.dataset.reader import require_trainable
from sip.dataset.remarks import remarks
from sip.device.launch import launched
from sip.device.settings import Devices, Runtime, device, set_threads
from sip.jobs.evaluate import evaluate
from sip.jobs.objectives import Objectives
from sip.pipeline.filtering import Sifted, sift
from sip.pipeline.offline import Offline, Picture
from sip.pipeline.plan import make_plan, say_what_models_know
from sip.pipeline.quality import NOTHING, measure
from sip.records.read import finished_folders, read_summary
from sip.records.summary import StageCounts, TrainingSummary, arm
from sip.records.write import (
    write_config,
    write_contact_sheet,
    write_images,
    write_rejected_sheet,
    write_summary,
)
from sip.store.repair import check_retry, mend

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from sip.classifier.control import Control

OF_DRAWING = ("captions", "scores", "prompts", "images", "filter")  # groups
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def train(config: DictConfig) -> float | tuple[float, ...] | None:
    """Make what the run needs and does not find, train, test once; print the table.

    Returns:
        The metrics of `train.objectives`, for sweepers; None for `plan=true`. The test accuracy is
        for people.

    Raises:
        UserError: Something is missing or wrong; before any costly work.
    """
    check_retry(config.retry)
    set_threads(Runtime.of(config.runtime))
    if config.retry == "damaged" and not config.plan:
        mend(Path(config.paths.store), config.runtime.num_workers)
    run = Run(config)
    run.say_what_plays_no_part()
    goals = Objectives(config, run.offline is not None)
    if config.plan:
        run.print_plan()
        return None
    reuse = config.train.reuse and config.retry is None  # failed pictures may come out now
    summary = run.found() if reuse else None
    if summary is None:
        summary = run.make()
    else:
        for stage in summary.stages:
            say(stage.stage, f"found {stage.found + stage.made}")
    if progress.is_first:
        print(summary.table(run.folder, Path(config.paths.store)))
    return goals.of(summary)


class Run:
    """One arm with one seed.

    Args:
        config: The whole configuration.
        dataset: What `config.dataset` describes, if it is there already; built if None.
    """

    def __init__(self, config: DictConfig, dataset: Dataset | None = None) -> None:
        if type(config.seed) is not int or config.seed < 0:
            raise UserError(f"seed: expected a whole number >= 0, came {config.seed!r}")
        self.config = config
        self.devices = Devices.of(config.trainer)
        self.dataset = build(config.dataset) if dataset is None else dataset
        self.augmentation = build(config.augmentation)
        self.backbone = build(config.backbone)
        self.classifier = build(config.classifier)
        self.offline = Offline(config) if self.augmentation.offline.generates else None
        self.recipe = {
            "seed": config.seed,
            "dataset": self.dataset.recipe(),
            "augmentation": self.augmentation.recipe(),
            "backbone": self.backbone.recipe(),
            "classifier": self.classifier.recipe(),
            "offline": self.offline.recipe() if self.offline else None,
        }
        self.fingerprint = digest(self.recipe)[:10]
        self.names = {
            "dataset": choice("dataset"),
            "backbone": choice("backbone"),
            "augmentation": arm(),
        }
        self.name = f"{self.names['backbone']}-{self.names['augmentation']}-seed{config.seed}"
        self.folder = Path(config.paths.runs) / f"{self.name}-{self.fingerprint}"

    def found(self) -> TrainingSummary | None:
        """Return the summary of the same run, if it was finished before, under whatever name."""
        for folder in finished_folders(Path(self.config.paths.runs), self.fingerprint):
            summary = read_summary(folder / "summary.json")
            assert isinstance(summary, TrainingSummary)
            self.folder = folder
            experiment = self.config.experiment
            if experiment not in summary.experiments:
                summary = replace(summary, experiments=(*summary.experiments, experiment))
                write_summary(folder, summary)
            return summary
        return None

    def say_what_plays_no_part(self) -> None:
        """Say which settings of the command line are about drawing, where nothing is drawn."""
        if self.offline is not None or not progress.is_first:
            return
        given = [text.lstrip("+") for text in command_line()["overrides"]]
        idle = [text for text in given if re.split(r"[./=@]", text)[0] in OF_DRAWING]
        if idle:
            arm_name = self.names["augmentation"]
            say("augmentation", f"{arm_name} draws nothing; without effect: {', '.join(idle)}")

    def print_plan(self) -> None:
        """Print what would be drawn."""
        if self.offline is None:
            print("plan: this arm draws nothing; the classifier is trained on the real pictures")
            return
        self._require()
        samples = self.dataset.samples("train")
        _refuse_unreadable(samples)
        print(text_table(make_plan(self.offline, samples).lines()))

    def make(self) -> TrainingSummary:
        """Do the run, with every process of the job; the first one writes the folder."""
        self._require()
        device_name = device(self.config.runtime.device)
        with launched(self.devices, device_name, watched=True) as own:
            if self.offline:
                self.offline.models.runtime = replace(self.offline.runtime, device=own)
            return self._make()

    def _make(self) -> TrainingSummary:
        stages = StageLog()
        with stages.stage("dataset") as row:
            parts = {split: self.dataset.samples(split) for split in SPLITS}
            row["found"] = sum(len(samples) for samples in parts.values())
            _refuse_unreadable([sample for samples in parts.values() for sample in samples])
            require_trainable(self.dataset.class_names, parts)
            leaked = self._leaks(parts) if progress.is_first else {}
            if progress.is_first:
                for line in remarks(parts, self.dataset.class_names):
                    say("dataset", line)
        pictures = self.offline.pictures(parts["train"], stages) if self.offline else []
        leaks.check_sources((picture.prompt for picture in pictures), parts["train"])
        sifted = self._sift(pictures, parts, stages)
        quality = NOTHING
        loggers: list[Logger] = []
        sheet = None
        if progress.is_first:
            if self.offline:
                classes = self.dataset.class_names
                quality = measure(
                    self.config, self.offline, sifted.kept, parts["val"], classes, stages
                )
            loggers, sheet = self._open(parts, sifted)
            quality.write(self.folder)
        with stages.stage("classifier") as row:
            result = self._train(self.augmentation, sifted.kept, parts, self.folder, loggers)
            row["made"] = 1
        metrics = evaluate(self.folder) if progress.is_first else {}
        given = command_line()
        summary = TrainingSummary(
            name=self.name,
            fingerprint=self.fingerprint,
            experiments=(self.config.experiment,),
            dataset=self.names["dataset"],
            backbone=self.names["backbone"],
            augmentation=self.names["augmentation"],
            seed=self.config.seed,
            shots=self.config.dataset.get("shots"),
            leaks=leaked,
            num_real=len(parts["train"]),
            num_generated=len(sifted.kept),
            filter=sifted.counts,
            num_val=len(parts["val"]),
            num_test=len(parts["test"]),
            steps=result.steps,
            epochs=round(result.epochs, 2),
            best_step=result.best_step,
            best_epoch=result.best_epoch,
            val_accuracy=result.val_accuracy,
            test_accuracy=result.test_accuracy,
            unet_evaluations=sum(picture.row["unet_evaluations"] for picture in pictures),
            metrics=quality.metrics | metrics,
            quality=tuple(quality.rows),
            generation_seconds=sum(picture.row["seconds"] for picture in pictures),
            stages=tuple(StageCounts(**row) for row in stages.rows),
            contact_sheet=sheet.name if sheet else None,
            **environment(),
            overrides=tuple(given["overrides"]),
            choices=given["choices"],
            recipe=self.recipe,
        )
        if progress.is_first:
            self._close(summary, loggers, sifted.kept)
        return summary

    def _open(
        self, parts: dict[Split, list[Sample]], sifted: Sifted
    ) -> tuple[list["Logger"], Path | None]:
        """Write what is known before the training; return the loggers and the contact sheet."""
        from sip.tracking.artifacts import GeneratedSet
        from sip.tracking.loggers import keep_curves, make_loggers

        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "summary.json").unlink(missing_ok=True)
        store = Path(self.config.paths.store)
        write_images(self.folder / "pictures.parquet", parts, sifted.pictures, store)
        values = write_config(self.config, self.folder / "config.yaml")
        found = None
        if self.offline and sifted.kept:
            room = self.offline.room("images").fingerprint
            found = GeneratedSet(sifted.kept, self.offline.recipe(), room)
        sheet = write_contact_sheet(sifted.kept, self.folder)
        write_rejected_sheet(sifted.pictures, self.folder)
        keep_curves(self.folder, (self.folder / UNFINISHED).exists())
        loggers = make_loggers(
            self.config.logger,
            self.folder,
            run_id=self.fingerprint,
            name=self.name,
            group=self.config.experiment,
            values=values,
            images=found,
        )
        return loggers, sheet

    def _close(
        self, summary: TrainingSummary, loggers: list["Logger"], kept: Sequence[Picture]
    ) -> None:
        """Write the results; with them the run is finished."""
        from sip.tracking.loggers import join_curves, log_results

        shown = {
            "best_step": summary.best_step,
            "val_accuracy": summary.val_accuracy,
            "test_accuracy": summary.test_accuracy,
            **summary.metrics,
        }
        log_results(self.config.logger, loggers, shown, self.folder, kept)
        join_curves(self.folder)
        write_summary(self.folder, summary)

    def _train(
        self,
        augmentation: Augmentation,
        drawn: Sequence[Picture],
        parts: dict[Split, list[Sample]],
        folder: Path,
        loggers: Sequence["Logger"],
    ) -> Result:
        from sip.classifier.loading import Loading
        from sip.classifier.train import train as train_classifier

        return train_classifier(
            backbone=self.backbone,
            recipe=self.classifier,
            augmentation=augmentation,
            train_rows=[*parts["train"], *(_generated_row(picture) for picture in drawn)],
            val_rows=parts["val"],
            test_rows=parts["test"],
            class_names=self.dataset.class_names,
            seed=self.config.seed,
            run_folder=folder,
            trainer_kwargs=trainer_kwargs(self.config),
            loggers=loggers,
            store=self.config.paths.store,
            loading=Loading.of(self.config.runtime),
        )

    def _sift(
        self, pictures: list[Picture], parts: dict[Split, list[Sample]], stages: StageLog
    ) -> Sifted:
        """Return the drawn pictures as the filter leaves them; all are kept where there is none."""

        def control() -> "Control":
            from sip.classifier.control import PLAIN, Control
            from sip.jobs.control import checkpoint_of

            places = Path(self.config.paths.runs), Path(self.config.paths.store)
            checkpoint = checkpoint_of(
                self.recipe, *places, lambda to: self._train(PLAIN, [], parts, to, []), stages
            )
            runtime = Runtime.of(self.config.runtime)
            return Control(checkpoint, self.backbone, len(self.dataset.class_names), runtime)

        return sift(self.offline, pictures, self.dataset.class_names, stages, control)

    def _leaks(self, parts: dict[Split, list[Sample]]) -> dict[str, Any]:
        """Count and report what train shares with val and test, where `train.leaks` asks for it."""
        if not self.config.train.leaks:
            return {}
        found = leaks.find(parts, self.config.runtime.num_workers)
        for leak in found:
            say("leaks", leak.line())
        return {leak.part: {"exact": leak.exact, "near": leak.near} for leak in found}

    def _require(self) -> None:
        from sip.tracking.loggers import require_logger

        require_logger(self.config.logger)
        if self.offline:
            say_what_models_know(self.config)
            self.offline.require()
        self.classifier.check(self.backbone)
        self.backbone.require()
        if self.offline:  # what does not fit the backbone is said before anything is drawn
            network = self.backbone.create(2)
            self.augmentation.require(network)
            self.classifier.require(self.backbone, network)


def trainer_kwargs(config: DictConfig) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer; the device is `runtime.device`."""
    kwargs = OmegaConf.to_container(config.trainer, resolve=True)
    assert isinstance(kwargs, dict)
    accelerator = "gpu" if device(config.runtime.device).startswith("cuda") else "cpu"
    return {"accelerator": accelerator, **{str(key): value for key, value in kwargs.items()}}


def _refuse_unreadable(samples: list[Sample]) -> None:
    """Refuse pictures whose header could not be read, before any work.

    Raises:
        UserError: There are some; names the first ones, and what is wrong with the very first.
    """
    bad = [sample.path for sample in samples if sample.width == 0]
    if not bad:
        return
    why = ""
    try:
        read_rgb(bad[0], None)
    except ValueError as error:
        why = f"; the first: {str(error).removeprefix(f'{bad[0]}: ')}"
    raise UserError(
        f"dataset: expected pictures, {len(bad)} of {len(samples)} files cannot be read "
        f"({join_first(bad)}){why}; mend or remove them"
    )


def _generated_row(picture: Picture) -> TrainingImage:
    prompt = picture.prompt
    row = picture.row
    return TrainingImage(
        prompt.image_id, row["file"], prompt.label, prompt.sample_id, row["file_sha256"]
    )

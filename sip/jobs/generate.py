"""Generate a whole training set, on one device or many, without training on it.

The images are in the store. The folder `generate-<dataset>-<images>-<fingerprint>` under
`paths.runs` lists them: `images.parquet` with the provenance of each, `summary.json`,
`config.yaml`, `contact_sheet.png`, `rejected.png` if a filter rejected any, and
`quality.parquet` with each kept one's similarity to its label, caption and original. `sip.export`
makes a data set of what is kept; with `logger.log_artifacts=true` it is a W&B artifact too. A
filter that needs a classifier is applied only by `sip.train`.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from sip.config.build import build
from sip.config.provenance import choice, environment
from sip.core import progress
from sip.core.component import refuse
from sip.core.errors import UserError
from sip.core.files import check_folders, check_output, plain_disk_errors
from sip.core.hashing import fingerprint_of
from sip.core.interrupt import graceful, raise_if_stopped
from sip.core.progress import say
from sip.core.spill import Spilled, unique
from sip.core.spread import spread
from sip.core.stages import StageLog
from sip.core.text import counted, text_table
from sip.core.uri import place_of
from sip.dataset.base import Sample
from sip.dataset.reader import say_made_parts
from sip.dataset.remarks import say_remarks
from sip.device.launch import launched
from sip.device.settings import set_threads
from sip.executor.static import Static
from sip.filter.base import FilterCounts, Verdict
from sip.pipeline.backoff import Settled, settle
from sip.pipeline.filtering import joined, mark, verdicts
from sip.pipeline.offline import Offline
from sip.pipeline.plan import (
    NO_WEIGHTS,
    Plan,
    make_plan,
    missing_weights,
    nothing_downloaded,
    say_what_models_know,
    show_plan,
    without_device,
)
from sip.pipeline.planned import leave
from sip.pipeline.quality import MAX_IMAGES, NOTHING, Quality, measure
from sip.pipeline.stored import Candidates
from sip.pipeline.streaming import stream
from sip.prompts.base import Prompt
from sip.prompts.rows import check_format, write_rows
from sip.records.read import read_config
from sip.records.summary import GenerationSummary, StageCounts, no_sheet
from sip.records.write import (
    NUM_PAIRS,
    NUM_REJECTED,
    write_config,
    write_contact_sheet,
    write_images,
    write_rejected_sheet,
    write_summary,
)
from sip.store.repair import repair
from sip.store.stage import Store
from sip.weights.loaded import loaded_weights

CAPTIONING = {"captions", "scores"}  # stages


def generate(config: DictConfig) -> None:
    """Generate what the training part lacks; with `plan=true` only print what that would be.

    Raises:
        UserError: As `finish`.
    """
    if not config.plan:
        finish(config)
        return
    work = Generation(config)
    if config.prompts_out is not None:
        work.list_prompts()
    plan = work.plan()
    show_plan(plan, work.missing)
    leave(plan.work)


def finish(config: DictConfig, show: Callable[[str], object] = print) -> Path:
    """Generate what the training part lacks; return the folder of the run.

    Args:
        config: The whole configuration.
        show: As that of `Generation`.

    Raises:
        UserError: Something is missing or wrong, before any costly work; or more images failed
            than `images.max_failed`, after it.
    """
    is_damaged = config.retry == "damaged"
    if is_damaged and isinstance(build(config.executor), Static):
        fix = "run the command once with executor=local retry=damaged"
        raise refuse("retry", "null or failed with executor=static", config.retry, fix)
    work = Generation(config, show)
    if is_damaged:  # a store takes long to be read
        repair(Store(config.paths.store), config.runtime.num_workers)
    work.run()
    return work.folder


class Generation:
    """One generation from the training part of a data set.

    Args:
        config: The whole configuration.
        show: Takes the table of what was generated.
    """

    def __init__(self, config: DictConfig, show: Callable[[str], object] = print) -> None:
        self.config = config
        self.show = show
        check_folders(config.paths)
        self.dataset = build(config.dataset)
        self.no_device = without_device(config) if config.plan else ""
        self.offline = Offline(config)
        self.offline.check_without_training()
        if self.offline.filter is not None and "control" in self.offline.filter.reads:
            say("filter", "needs a classifier: sip.train applies it, here every image is kept")
            self.offline.filter = None
        if config.prompts_out is not None:
            check_format(Path(config.prompts_out), "prompts_out")
            check_output(Path(config.prompts_out), "prompts_out")
            if self.offline.verdict is not None:
                fix = "choose prompts=label_caption, or leave prompts_out out"
                raise refuse("prompts", "a list without a ladder for prompts_out", "a ladder", fix)
        set_threads(self.offline.runtime)
        say_what_models_know(config)
        if _makes_artifacts(config.logger):
            from sip.tracking.loggers import require_logger

            require_logger(config.logger)
        self.missing = None
        if config.plan:
            with nothing_downloaded():
                self.missing = missing_weights(self.offline, {})
        else:
            self.offline.require()
        if not config.plan or config.prompts_out is not None:
            self.offline.executor.check(self.offline.devices)
        self.recipe = {"dataset": self.dataset.recipe(), "offline": self.offline.recipe()}
        self.fingerprint = fingerprint_of(self.recipe)
        self.name = f"generate-{choice('dataset')}-{choice('images')}"
        self.folder = Path(config.paths.runs) / f"{self.name}-{self.fingerprint}"
        self.stages = StageLog()

    def samples(self) -> Sequence[Sample]:
        """Return the originals: the training part."""
        with self.stages.stage("dataset") as row:
            samples: Sequence[Sample] = self.dataset.samples("train")
            row["cached"] = len(samples)
            say_made_parts(self.dataset)
            say_remarks(self.dataset)
        return samples

    @property
    def is_first(self) -> bool:
        """Whether this process writes the folder of the run."""
        return progress.is_first and self.offline.executor.is_first

    def list_prompts(self) -> None:
        """Have the captions made, and write the prompts to `prompts_out`; no image is generated.

        Raises:
            MissingWeightsError: Weights of captioner or scorer are missing.
        """
        if self.missing is not None and CAPTIONING & {stage for stage, _ in self.missing.models}:
            raise self.missing
        offline = self.offline
        with graceful(), launched(offline.devices, offline.runtime.device) as device:
            offline.models.runtime = replace(offline.runtime, device=device)
            prompts, _ = offline.prompts(self.samples(), self.stages)
            self._write_prompts(prompts)

    def _write_prompts(self, prompts: Sequence[Prompt]) -> None:
        file = self.config.prompts_out
        if file is not None and self.is_first:
            num = write_rows(prompts, Path(file))
            say(
                "prompts",
                f"{counted(num, 'row')} in {file}; edit it, and use it with "
                f"prompts=table prompts.file={shlex.quote(str(file))}",
            )

    def plan(self) -> Plan:
        """Return what there is to do."""
        unmeasured = NO_WEIGHTS if self.missing else self.no_device
        return self._make_plan(self.samples(), unmeasured)

    def _make_plan(self, samples: Sequence[Sample], unmeasured: str = "") -> Plan:
        names = self.dataset.class_names
        if self.offline.executor.is_remote and not unmeasured:
            unmeasured = "the machines of the actors are not measured"
        num_processes = self.offline.num_processes
        return make_plan(self.offline, samples, num_processes, unmeasured, names)

    def run(self) -> None:
        """Generate the images with every process of the job; the first one writes the folder."""
        self._require_folder()
        if self.is_first:
            self._say_moved()
        offline = self.offline
        with graceful(), launched(offline.devices, offline.runtime.device) as device:
            offline.models.runtime = replace(offline.runtime, device=device)
            samples = self.samples()
            if self.is_first:
                plan = self._make_plan(samples)
                say("plan", plan.line())
                if plan.example:
                    say("prompts", f"such as {plan.example!r}")
                plan.check_space(self.offline.store.root)
            raise_if_stopped()
            stream(offline, samples)
            prompts, captions = self.offline.prompts(samples, self.stages)
            self._write_prompts(prompts)
            settled = settle(offline, prompts, self.dataset.class_names, self.stages)
            if self.is_first:
                offline.executor = offline.executor.by_itself()
                self._write(samples, settled, captions)
            elif progress.is_first:
                say("run", f"this worker is done; worker 0 writes {self.folder}")

    def _write(
        self, samples: Sequence[Sample], settled: Settled, captions: Mapping[str, Candidates]
    ) -> None:
        """Write the folder, and print the table.

        Raises:
            UserError: Too many images failed.
        """
        offline, prompts = self.offline, settled.prompts
        filtered: list[Verdict] | None = None
        if offline.filter is not None:
            images = settled.images(offline, captions)
            filtered = verdicts(offline, images, self.dataset.class_names, self.stages)
        judgements = joined(settled.verdicts, filtered)
        write_images(
            self.folder / "images.parquet",
            {"train": samples},
            mark(offline.images(prompts, captions), judgements),
            offline.store.root,
            offline.without_prompt(prompts, samples),
        )
        write_config(self.config, self.folder / "config.yaml")
        kept, rejected = self._judged(prompts, judgements)
        sheet = self._write_sheets(kept, rejected, captions)
        self._publish(kept, captions)
        quality = self._quality(kept, captions)
        summary = self._summary(samples, settled, filtered, kept, quality)
        write_summary(self.folder, summary)
        self.show(self._table(summary, sheet))
        offline.report_failures(settled.last, samples)

    def _judged(
        self, prompts: Sequence[Prompt], judgements: list[Verdict] | None
    ) -> tuple[Sequence[Prompt], Sequence[tuple[Prompt, Verdict]]]:
        """Return what was kept of all that did not fail, and what was rejected, with why."""
        stage = self.offline.stage("images")
        good = prompts
        if stage.num_failed:
            good = Spilled(one for one in prompts if not stage.has_failed(one.image_id))
        if judgements is None:
            return good, []
        pairs = Spilled(zip(good, judgements, strict=True))
        kept = Spilled(prompt for prompt, verdict in pairs if verdict.reason is None)
        return kept, Spilled(pair for pair in pairs if pair[1].reason is not None)

    def _write_sheets(
        self,
        kept: Sequence[Prompt],
        rejected: Sequence[tuple[Prompt, Verdict]],
        captions: Mapping[str, Candidates],
    ) -> Path | None:
        """Write a sheet of kept images, and one of rejected ones; return the first."""
        shown = spread(rejected, NUM_REJECTED)
        images = self.offline.images([prompt for prompt, _ in shown], captions)
        write_rejected_sheet(mark(images, [verdict for _, verdict in shown]), self.folder)
        first = list(self.offline.images(spread(kept, NUM_PAIRS), captions))
        return write_contact_sheet(first, self.folder)

    def _publish(self, kept: Sequence[Prompt], captions: Mapping[str, Candidates]) -> None:
        """Log the kept images as a W&B artifact if `logger.log_artifacts` is true."""
        logger, stage = self.config.logger, self.offline.stage("images").fingerprint
        if kept and _makes_artifacts(logger):
            from sip.tracking.artifacts import GeneratedSet, publish
            from sip.tracking.safely import Safely

            images = list(self.offline.images(kept, captions))
            generated = GeneratedSet(images, self.offline.recipe(), stage)
            Safely("wandb")(lambda: publish(generated, logger, self.folder, self.config.experiment))

    def _quality(self, kept: Sequence[Prompt], captions: Mapping[str, Candidates]) -> Quality:
        """Measure the kept ones, without a reference: only the training part was read."""
        if not self.config.metrics:
            return NOTHING
        chosen = list(self.offline.images(spread(kept, MAX_IMAGES), captions))
        class_names = self.dataset.class_names
        quality = measure(
            self.config, self.offline, chosen, [], class_names, self.stages, self.folder
        )
        quality.write(self.folder)
        return quality

    def _require_folder(self) -> None:
        with plain_disk_errors(self.folder, "paths.runs"):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ".writable").touch()
            (self.folder / ".writable").unlink(missing_ok=True)  # all processes of a job do this

    def _say_moved(self) -> None:
        """Say that the folder will list the images of another store than it does."""
        file = self.folder / "config.yaml"
        with suppress(UserError):
            before = read_config(file).get("paths", {}).get("store") if file.exists() else None
            now = self.offline.store.root
            if before and place_of(str(before)).absolute() != now.absolute():
                text = f"{self.folder} lists images in {before}; from now on those in {now}"
                say("run", f"{text}; another paths.runs keeps both lists")

    def _summary(
        self,
        samples: Sequence[Sample],
        settled: Settled,
        filtered: list[Verdict] | None,
        kept: Sequence[Prompt],
        quality: Quality,
    ) -> GenerationSummary:
        failures = self.offline.failures(settled.last, samples)
        stage = self.offline.stage("images")
        rows = Spilled(unique(prompt.image_id for prompt in settled.prompts))
        evaluations = stage.each(rows, ["unet_evaluations"])
        counts = None if filtered is None else FilterCounts.of(filtered)
        return GenerationSummary(
            name=self.name,
            fingerprint=self.fingerprint,
            dataset=choice("dataset"),
            images=choice("images"),
            num_real=sum(num > 0 for num in self.offline.num_images(samples).values()),
            num_generated=len(kept),
            filter=counts,
            ladder=settled.counts,
            failures=dict(failures),
            unet_evaluations=sum(row["unet_evaluations"] for row in evaluations),
            metrics=quality.metrics,
            quality=tuple(quality.rows),
            stages=tuple(StageCounts(**row) for row in self.stages.rows),
            images_dir=stage.path,
            **environment(),
            weights=loaded_weights(self.offline.with_weights()),
            recipe=self.recipe,
        )

    def _table(self, summary: GenerationSummary, sheet: Path | None) -> str:
        folder = self.offline.store.root / summary.images_dir
        (made,) = [row for row in summary.stages if row.stage == "images"]
        run = shlex.quote(str(self.folder))
        export = f"python -m sip.export run={run} format=image_folder output=FOLDER"
        failed = ", ".join(f"{num} {reason}" for reason, num in summary.failures.items())
        return text_table(
            {
                "images": f"{counted(summary.num_generated, 'image')} of "
                f"{counted(summary.num_real, 'original')}: {made.computed:,} generated now, "
                f"{made.cached:,} cached",
                "failed": failed or "none",
                **({"filter": summary.filter.line()} if summary.filter else {}),
                **({"accepted at noise rate": summary.ladder.line()} if summary.ladder else {}),
                "U-Net evaluations": f"{summary.unet_evaluations:,}",
                "seconds": ", ".join(f"{r.stage} {r.seconds:.1f}" for r in summary.stages),
                "images in": str(folder),
                "list and provenance": str(self.folder / "images.parquet"),
                "contact sheet": str(sheet) if sheet else no_sheet(summary.unet_evaluations),
                **({"as a data set": export} if summary.num_generated else {}),
            }
        )


def _makes_artifacts(logger: DictConfig) -> bool:
    return bool(logger.kind == "wandb" and logger.log_artifacts)

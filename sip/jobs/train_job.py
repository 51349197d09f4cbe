"""What a run is known by: its components, their recipes, and the folder that may hold it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sip.augmentation.offline.generated import NO_PROBABILITY
from sip.config.build import build
from sip.config.provenance import choice, command_line
from sip.config.sweep import swept
from sip.core import progress
from sip.core.component import refuse
from sip.core.errors import UserError
from sip.core.hashing import fingerprint_of
from sip.core.paths import SUMMARY
from sip.core.progress import say
from sip.dataset.base import Dataset
from sip.device.settings import Devices, Runtime
from sip.pipeline.components import Components
from sip.records.read import finished_folders, read_config, read_summary
from sip.records.summary import TrainingSummary, arm
from sip.records.varied import in_words
from sip.records.write import write_summary

if TYPE_CHECKING:
    from sip.augmentation.base import Augmentation
    from sip.backbone.base import Backbone
    from sip.classifier.recipe import Recipe
    from sip.pipeline.offline import Offline

NAMED = ("backbone", "augmentation", "seed")  # stand in a run's name by themselves
MAX_NAME = 60  # characters for the swept values in a run's name
OF_GENERATION = ("captions", "scores", "prompts", "images", "filter")  # groups


class TrainJob:
    """One arm with one seed: its components, and what it is known by.

    Args:
        config: The whole configuration.
        dataset: What `config.dataset` describes, if it is built already; built here if None.

    Attributes:
        components: Those of the generation; None if the arm generates nothing.
        names: "backbone" and "augmentation" -> name of the choice.
        swept: Key -> value, as typed, of what the sweep varies that this run is a job of.
        swept_words: The same in words, without backbone, augmentation and seed.
        name: Name of the run: choices, swept values and seed. Its identity is the fingerprint.
        fingerprint: Hash of everything that can change a result, ten hex digits.
        folder: Folder of the run.
    """

    def __init__(self, config: DictConfig, dataset: Dataset | None = None) -> None:
        if type(config.seed) is not int or config.seed < 0:
            raise refuse("seed", "a whole number >= 0", config.seed)
        if not isinstance(config.experiment, str | None):  # no summary would be read again
            fix = "put it into quotes of its own"
            raise refuse("experiment", "a name or null", config.experiment, fix)
        self.config = config
        self.devices = Devices.of(config.trainer)
        self.dataset: Dataset = build(config.dataset) if dataset is None else dataset
        self.augmentation: Augmentation = build(config.augmentation)
        self.backbone: Backbone = build(config.backbone)
        self.classifier: Recipe = build(config.classifier)
        generates = self.augmentation.offline.generates
        self.components = Components(config) if generates else None
        self.recipe: dict[str, Any] = {
            "seed": config.seed,
            "dataset": self.dataset.recipe(),
            "augmentation": self.augmentation.recipe(),
            "backbone": self.backbone.recipe(),
            "classifier": self.classifier.recipe(),
            "offline": self.components.recipe() if self.components else None,
        }
        self.fingerprint = fingerprint_of(self.recipe)
        self.dataset_name = choice("dataset")
        self.names = {"backbone": choice("backbone"), "augmentation": arm()}
        self.swept = swept()
        further = {key: value for key, value in self.swept.items() if key not in NAMED}
        values: Any = OmegaConf.to_container(config) if further else {}
        self.swept_words = in_words(further, values)
        self.name = "-".join([*self.names.values(), *named(self.swept_words), f"seed{config.seed}"])
        runs = Path(config.paths.runs)
        started = sorted(runs.glob(f"*-{self.fingerprint}"))  # under another name, by other sweeps
        self.folder = started[0] if started else runs / f"{self.name}-{self.fingerprint}"

    @cached_property
    def offline(self) -> "Offline | None":
        """The stages of the generation; None if the arm generates nothing."""
        if self.components is None:
            return None
        from sip.pipeline.offline import Offline

        return Offline(self.config)

    @property
    def reuses(self) -> bool:
        """Whether a finished run of this recipe is taken; failed images may succeed now."""
        return bool(self.config.train.reuse) and self.config.retry is None

    def cached(self) -> TrainingSummary | None:
        """Return the summary of the same run if it was finished before; log it if it was not.

        It is logged to the tracker of this command, unless it is there already.
        """
        summary = self.finished()
        logger = self.config.logger
        if summary is None or logger.kind == "csv" or not progress.is_first:
            return summary
        from sip.tracking.later import log_finished, place_of

        values = read_config(self.folder / "config.yaml")
        place = place_of(logger)
        if place in summary.logged:
            return summary
        named = {"run_id": self.fingerprint, "name": summary.name, "group": self.config.experiment}
        if log_finished(logger, self.folder, summary.numbers, **named, values=values):
            summary = replace(summary, logged=(*summary.logged, place))
            write_summary(self.folder, summary)
        return summary

    def finished(self) -> TrainingSummary | None:
        """Return the summary of the same run if it was finished before, under whatever name."""
        for folder in finished_folders(Path(self.config.paths.runs), self.fingerprint):
            summary = read_summary(folder / SUMMARY)
            assert isinstance(summary, TrainingSummary)
            self.folder = folder
            asked = summary.asked_by(self.config.experiment, self.swept)
            if asked != summary:
                write_summary(folder, asked)
            return asked
        return None

    def check(self) -> None:
        """Check what needs no weights and no images.

        Raises:
            UserError: The run cannot be carried out.
        """
        from sip.classifier.loading import Loading
        from sip.classifier.positions import check_share

        Runtime.of(self.config.runtime)
        Loading.of(self.config.runtime)
        self.classifier.check(self.backbone)
        self.augmentation.check()
        num_processes = self.devices.num_processes(self.config.runtime.device)
        check_share(self.classifier.batch_size, num_processes)
        if self.components is not None:
            self.components.check()
            if self.augmentation.offline.reads_probability and not (
                self.components.gives_probability
            ):
                raise UserError(NO_PROBABILITY)

    def say_ignored_settings(self) -> None:
        """Say which settings are about generation, if the arm generates nothing."""
        if self.components is not None or not progress.is_first:
            return
        given = [text.lstrip("+") for text in command_line()["overrides"]]
        ignored = [text for text in given if re.split(r"[./=@]", text)[0] in OF_GENERATION]
        if ignored:
            name = self.names["augmentation"]
            text = f"{name} generates nothing; without effect: {', '.join(ignored)}"
            say("augmentation", f"{text}; add augmentation=sip for SIP")
            Components(self.config)  # refuses wrong values all the same


def named(words: Sequence[str]) -> list[str]:
    """Return settings in words for the name of a run, such as "noise_rate_0.7".

    They have 60 characters at most, of the kinds that are safe in file names, shells and Hydra's
    overrides.
    """
    parts = [re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("._") for text in words]
    return ["-".join(parts)[:MAX_NAME].rstrip("-_.")] if parts else []

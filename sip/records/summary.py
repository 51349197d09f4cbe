"""The numbers of a finished run: typed, as `summary.json` holds them, and as a table."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from sip.config.provenance import choice
from sip.core.errors import UserError
from sip.core.hashing import fingerprint_of
from sip.core.machine import Machine
from sip.core.text import counted
from sip.core.uri import Place
from sip.filter.base import FilterCounts
from sip.metrics.base import MetricRow
from sip.pipeline.rungs import LadderCounts
from sip.weights.loaded import LoadedWeights

BROUGHT = {  # offline choice -> the filter that it chooses itself, if that has another name
    "gif_like": "guided",
    "da_fusion_like": "duplicate",
    "datadream_like": "duplicate",
}
BASE = "augmentation/base"  # group of the transform that all arms of a comparison share
TOP1 = {"test_accuracy": "test/top1", "val_accuracy": "val/top1"}  # field -> name of the metric
SHOWN = {  # metric -> its name in the table
    "test/top5": "top-5",
    "test/mean_per_class": "mean per class",
    "test/ece": "calibration error",
    "test/nll": "negative log-likelihood",
    "test/head": "head",
    "test/middle": "middle",
    "test/tail": "tail",
}


@dataclass(frozen=True, kw_only=True)
class StageCounts:
    """What one stage of a run did.

    Attributes:
        stage: Its name, such as "captions".
        cached, computed: Rows that were cached, and that were computed.
        seconds: Wall-clock time.
        kept, rejected: Images that the filter kept and rejected; None for other stages.
    """

    stage: str
    cached: int
    computed: int
    seconds: float
    kept: int | None = None
    rejected: int | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the summaries of all runs hold.

    Attributes:
        fingerprint: Hash of the recipe, ten hex digits.
        num_real, num_generated: Images to train on.
        filter: What the filter did; None without one.
        ladder: What a ladder of noise rates tried and accepted; None without one.
        unet_evaluations: U-Net forward passes for all generated images, cached and rejected ones
            included.
        metrics: Name -> value, shares in [0, 1].
        quality: The metrics of the generated images in full.
        command: The command line that made the run; None outside of Hydra.
        machine: What computed it; None for runs of older versions.
        commit: Commit of the code; None if it was not a checkout.
        weights: Stage, "images.lora" or "backbone" -> the weights that it loaded.
        recipe: Everything that can change a result.
    """

    kind: ClassVar[str]

    name: str
    fingerprint: str
    dataset: str
    num_real: int
    num_generated: int
    filter: FilterCounts | None = None
    ladder: LadderCounts | None = None
    unet_evaluations: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    quality: tuple[MetricRow, ...] = ()
    stages: tuple[StageCounts, ...]
    command: str | None
    versions: Mapping[str, str]
    platform: str
    machine: Machine | None = None
    commit: str | None
    weights: Mapping[str, LoadedWeights] = field(default_factory=dict)
    recipe: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of `summary.json`."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the summary of a JSON object; keys that it does not know are ignored.

        Raises:
            UserError: A key is missing, or its value is of another type.
        """
        from pydantic import ValidationError

        try:
            text = json.dumps(dict(values))
            summary: Self = _reader(cls).validate_json(text, strict=True)  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            # pydantic < 2.12 names the branch of a Mapping, such as `function-after[...]`, too
            key = ".".join(part for part in map(str, first["loc"]) if "[" not in part)
            raise UserError(f"{key}: {first['msg'].lower()}") from error
        return summary

    @property
    def generator(self) -> str:
        """Fingerprint of what generated the images: those of equal ids by it are one image."""
        offline = self.recipe.get("offline")
        return fingerprint_of(offline.get("images") if isinstance(offline, dict) else None)

    def seconds(self, *stages: str) -> float:
        """Return the seconds that the run spent in these stages."""
        return sum(row.seconds for row in self.stages if row.stage in stages)


@cache
def _reader(kind: type[Summary]) -> Any:
    """Return what reads a kind of summary: ten milliseconds to make, a tenth of one to use."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@dataclass(frozen=True, kw_only=True)
class GenerationSummary(Summary):
    """What `sip.generate` did.

    Attributes:
        images: Name of the generator's preset.
        failures: Reason -> images that could not be generated.
        images_dir: Folder of the images, relative to the store.
    """

    kind = "generate"

    images: str
    failures: Mapping[str, int]
    images_dir: str


@dataclass(frozen=True, kw_only=True)
class TrainingSummary(Summary):
    """What `sip.train` did.

    Attributes:
        experiments: Names of the experiments that asked for the run.
        swept: Experiment ("" for none) -> keys that its sweeps varied, as typed.
        shots: Training images per class; None for all.
        leaks: Split -> "exact" and "near" duplicates shared with the training part, and
            "exact_pretrain" and "near_pretrain" with what a generator saw, and "exact_stack" and
            "exact_adapter" with what a stack of one's own and an adapter list as learnt.
        num_val, num_test: Images.
        steps, epochs: Optimiser steps, and passes over the training images.
        best_step, best_epoch: Position of the checkpoint that validation chose.
        val_accuracy, test_accuracy: The metrics "val/top1" and "test/top1", in [0, 1].
        generation_seconds: Device time of the generated images, whichever run computed them.
        contact_sheet: File name; None if no generated image was kept.
        overrides, choices: What the command line set, and the choice of every group.
        remarks: What is odd about the data set (`sip.dataset.remarks`), a line each.
        unread: Facts of prompts that play no part in the images, as of `sip.images.base.Generator`.
        logged: Places of trackers that have the whole run.
    """

    kind = "train"

    experiments: tuple[str | None, ...]
    swept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    backbone: str
    augmentation: str
    seed: int
    shots: int | None
    leaks: Mapping[str, Mapping[str, int]]
    num_val: int
    num_test: int
    steps: int
    epochs: float
    best_step: int
    best_epoch: float
    val_accuracy: float
    test_accuracy: float
    generation_seconds: float
    contact_sheet: str | None
    overrides: tuple[str, ...]
    choices: Mapping[str, str]
    remarks: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    logged: tuple[str, ...] = ()

    @property
    def numbers(self) -> dict[str, float]:
        """The final numbers, by the names under which a tracker shows them."""
        names = ("best_step", "val_accuracy", "test_accuracy")
        return {name: getattr(self, name) for name in names} | dict(self.metrics)

    def asked_by(self, experiment: str | None, swept: Iterable[str]) -> Self:
        """Return the summary with an experiment that asks for the run, and the keys it sweeps."""
        experiments = dict.fromkeys([*self.experiments, experiment])
        by_sweeps = {**self.swept}
        if keys := dict.fromkeys([*by_sweeps.get(experiment or "", ()), *swept]):
            by_sweeps[experiment or ""] = tuple(keys)
        return replace(self, experiments=tuple(experiments), swept=by_sweeps)

    def evaluated(self, metrics: Mapping[str, float]) -> Self:
        """Return the summary with these metrics of val and test in place of the earlier ones.

        The two top-1 accuracies are fields of their own; metrics of generated images stay.
        """
        kept = {k: v for k, v in self.metrics.items() if not k.startswith(("val/", "test/"))}
        further = {k: v for k, v in metrics.items() if k not in TOP1.values()}
        return replace(
            self,
            metrics=kept | further,
            val_accuracy=metrics[TOP1["val_accuracy"]],
            test_accuracy=metrics[TOP1["test_accuracy"]],
        )

    @property
    def base(self) -> str:
        """Name of the base transform, with those of its settings that the command line set."""
        name, prefix = self.choices.get(BASE, "none"), f"{BASE.replace('/', '.')}."
        typed = [text.lstrip("+") for text in self.overrides]
        own = [text.removeprefix(prefix) for text in typed if text.startswith(prefix)]
        return f"{name} ({', '.join(own)})" if own else name

    @property
    def num_train(self) -> int:
        """Real and generated images."""
        return self.num_real + self.num_generated

    def rows(self, folder: Path, store: Place) -> dict[str, str]:
        """Return the rows of the table that a run ends with.

        Args:
            folder: Folder of the run.
            store: The store.
        """
        shots = f", {counted(self.shots, 'shot')} a class" if self.shots else ""
        filtered = {"filter": self.filter.line()} if self.filter else {}
        if self.ladder:
            filtered["accepted at noise rate"] = self.ladder.line()
        has_rejected = self.ladder is not None and self.ladder.has_rejected
        if has_rejected or (self.filter and self.filter.rejected):
            filtered["rejected"] = str(folder / "rejected.png")
        evaluations = self.unet_evaluations
        shown = [f"{t} {self.metrics[key]:.3f}" for key, t in SHOWN.items() if key in self.metrics]
        return {
            "arm": f"{self.backbone} + {self.augmentation}, seed {self.seed}",
            **({} if self.base == "none" else {"base transform": self.base}),
            "dataset": self.dataset + shots,
            "training images": f"{self.num_real} real + {self.num_generated} generated",
            "budget": f"{counted(self.steps, 'optimiser step')}, {self.epochs:.1f} passes over the "
            "training images",
            **filtered,
            "best step": f"{self.best_step} (after {self.best_epoch:.1f} passes), by validation: "
            f"{self.val_accuracy:.3f} on {counted(self.num_val, 'image')}",
            "test top-1": f"{self.test_accuracy:.3f} on {counted(self.num_test, 'image')}",
            "test, further": ", ".join(shown),
            **({"note": "; ".join(self.remarks)} if self.remarks else {}),
            "seconds": ", ".join(f"{row.stage} {row.seconds:.1f}" for row in self.stages),
            **({"U-Net evaluations": f"{evaluations:,}"} if evaluations else {}),
            "run": str(folder),
            "store": str(store) if self.num_generated else "not used",
            "contact sheet": str(folder / self.contact_sheet)
            if self.contact_sheet
            else no_sheet(evaluations),
        }


def no_sheet(evaluations: int) -> str:
    """Return why a run has no contact sheet, in words.

    Args:
        evaluations: U-Net forward passes for images, which were rejected then.
    """
    return f"none: {'no image was kept' if evaluations else 'nothing was generated'}"


def arm() -> str:
    """Return the name of the augmentation by its parts, such as "sip_cutmix"; "none" for none.

    The base transform, which all arms share, is not part of it. A filter is a part, unless the
    offline choice brings it along.
    """
    places = ("offline", "sample", "mix")
    offline, *others = [choice(f"augmentation/{place}") for place in places]
    filter_ = choice("filter")
    if offline == "none" or BROUGHT.get(offline) == filter_:
        filter_ = "none"
    parts = [offline, filter_, *others]
    return "_".join(dict.fromkeys(part for part in parts if part != "none")) or "none"

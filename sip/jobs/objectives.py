"""What a run returns to a search: metrics of validation and of generated images, never of test."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sip.core.errors import UserError, not_one_of
from sip.dataset.subsets import FREQUENCY_GROUPS
from sip.records.summary import TrainingSummary

VALIDATION = tuple(  # what a run measures on val, some of it if its classes allow it
    f"val/{name}"
    for name in (
        *("accuracy", "top1", "top5", "mean_per_class", "ece", "nll"),
        *FREQUENCY_GROUPS,
    )
)
LOWER_IS_BETTER = ("val/ece", "val/nll")  # of validation; metrics of generated images state it


class Objectives:
    """The metrics of `train.objectives`, checked against what the sweeper does with them.

    Args:
        config: The whole configuration.
        generates: Whether the arm generates images.

    Raises:
        UserError: There are none, or one is of test, or no metric, or of images that are not
            generated or not measured; or the sweeper expects another number of them, or goes the
            wrong way.
    """

    def __init__(self, config: DictConfig, generates: bool) -> None:
        given = config.train.objectives
        self.names = [given] if isinstance(given, str) else [str(name) for name in given or []]
        if not self.names:
            raise UserError("train.objectives: must be at least one metric, got none")
        for name in self.names:
            if not name.startswith(("val/", "generated/")):
                raise UserError(
                    f"train.objectives: must be metrics of val/ or generated/, got {name}; nothing "
                    "is chosen on test"
                )
            if name.startswith("val/") and name not in VALIDATION:
                raise not_one_of("train.objectives", VALIDATION, name)
            if name.startswith("generated/") and not (generates and config.metrics):
                raise UserError(
                    f"train.objectives: {name} is of generated images, and "
                    + ("metrics=[] measures none" if generates else "this arm generates none")
                )
        self.directions = _directions()
        if self.directions is not None and len(self.directions) != len(self.names):
            raise UserError(
                f"hydra.sweeper.direction: must be one for each of train.objectives "
                f"({', '.join(self.names)}), got {', '.join(self.directions)}"
            )
        self._check({name: name not in LOWER_IS_BETTER for name in self._of("val/")})

    def of(self, summary: TrainingSummary) -> float | tuple[float, ...]:
        """Return the values of a finished run: a number, or a tuple if there are several.

        Raises:
            UserError: The run has no such metric, or the sweeper goes the wrong way.
        """
        top1 = {"val/accuracy": summary.val_accuracy, "val/top1": summary.val_accuracy}
        known = {**summary.metrics, **top1}
        for name in self.names:
            if name not in known:
                there = sorted(key for key in known if key.startswith(("val/", "generated/")))
                raise UserError(
                    f"train.objectives: the run has no {name}; it has {', '.join(there)}"
                )
        better = {row.metric: row.higher_is_better for row in summary.quality}
        self._check({name: better[name] for name in self._of("generated/") if name in better})
        values = tuple(float(known[name]) for name in self.names)
        return values if len(values) > 1 else values[0]

    def _of(self, prefix: str) -> list[str]:
        return [name for name in self.names if name.startswith(prefix)]

    def _check(self, higher_is_better: Mapping[str, bool]) -> None:
        """Refuse a direction that makes a metric worse."""
        for name, direction in zip(self.names, self.directions or [], strict=False):
            right = "maximize" if higher_is_better.get(name, True) else "minimize"
            if name in higher_is_better and direction != right:
                raise UserError(
                    f"hydra.sweeper.direction: must {right} {name}, got {direction}; the "
                    f"directions are those of train.objectives ({', '.join(self.names)})"
                )


def _directions() -> list[str] | None:
    """Return the directions of the sweeper, in lower case; None if none is searching."""
    if not HydraConfig.initialized():
        return None
    job = HydraConfig.get()
    if job.mode != RunMode.MULTIRUN or "direction" not in job.sweeper:
        return None
    given: Any = job.sweeper.direction
    listed = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    return [str(getattr(item, "name", item)).lower() for item in listed]

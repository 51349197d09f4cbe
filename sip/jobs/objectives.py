"""What a run tells a search: metrics of validation and of the drawn set, never of test."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sip.core.errors import UserError
from sip.records.summary import TrainingSummary

LOWER_IS_BETTER = ("val/ece", "val/nll")  # of validation; drawn sets' metrics say it themselves


class Objectives:
    """The metrics of `train.objectives`, held against what the sweeper does with them.

    Args:
        config: The whole configuration.
        draws: Whether the arm draws pictures.

    Raises:
        UserError: They are none, of test, or of pictures that are not drawn or not measured; or
            the sweeper expects another number of them, or goes the wrong way.
    """

    def __init__(self, config: DictConfig, draws: bool) -> None:
        found = config.train.objectives
        self.names = [found] if isinstance(found, str) else [str(name) for name in found or []]
        if not self.names:
            raise UserError("train.objectives: expected at least one metric, came none")
        for name in self.names:
            if not name.startswith(("val/", "generated/")):
                raise UserError(
                    f"train.objectives: must be metrics of val/ or generated/, got {name}; nothing "
                    "is chosen on test"
                )
            if name.startswith("generated/") and not (draws and config.metrics):
                raise UserError(
                    f"train.objectives: {name} is of drawn pictures, and "
                    + ("metrics=[] measures none" if draws else "this arm draws none")
                )
        self.directions = _directions()
        if self.directions is not None and len(self.directions) != len(self.names):
            raise UserError(
                f"hydra.sweeper.direction: expected one for each of train.objectives "
                f"({', '.join(self.names)}), came {', '.join(self.directions)}"
            )
        self._check({name: name not in LOWER_IS_BETTER for name in self._of("val/")})

    def of(self, summary: TrainingSummary) -> float | tuple[float, ...]:
        """Return the values of a finished run: a number, or a tuple where there are several.

        Raises:
            UserError: The run has no such metric, or the sweeper goes the wrong way.
        """
        known = {**summary.metrics, "val/accuracy": summary.val_accuracy}
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

    def _of(self, room: str) -> list[str]:
        return [name for name in self.names if name.startswith(room)]

    def _check(self, higher_is_better: Mapping[str, bool]) -> None:
        """Refuse a direction that makes a metric worse."""
        for name, direction in zip(self.names, self.directions or [], strict=False):
            right = "maximize" if higher_is_better.get(name, True) else "minimize"
            if name in higher_is_better and direction != right:
                raise UserError(
                    f"hydra.sweeper.direction: {name} is to {right}, came {direction}; the "
                    f"directions are those of train.objectives ({', '.join(self.names)})"
                )


def _directions() -> list[str] | None:
    """Return the directions of the sweeper, in lower case; None where none is searching."""
    if not HydraConfig.initialized():
        return None
    job = HydraConfig.get()
    if job.mode != RunMode.MULTIRUN or "direction" not in job.sweeper:
        return None
    found: Any = job.sweeper.direction
    several = found if isinstance(found, Sequence) and not isinstance(found, str) else [found]
    return [str(getattr(one, "name", one)).lower() for one in several]

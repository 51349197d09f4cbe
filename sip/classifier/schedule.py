"""The learning rate after the warm-up: torch's schedulers, by their place in the training.

Cosine: Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983, without restarts. Step: as in ResNet's own
recipe (He et al., CVPR 2016).
"""

import math
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field

from sip.core.component import Component, component, refuse

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Between = Annotated[float, Field(gt=0, lt=1)]


class RateSchedule(Protocol):
    """The learning rate after the warm-up, which is the recipe's."""

    def recipe(self) -> dict[str, Any]:
        """Return everything that decides the learning rates."""

    def scheduler(self, optimizer: "Optimizer", steps: int) -> "LRScheduler":
        """Return what sets the learning rates of an optimiser, whose own is the highest.

        Args:
            steps: Steps that are left after the warm-up.
        """


@component
class ConstantRate(Component):
    """One learning rate for all steps."""

    def scheduler(self, optimizer: "Optimizer", steps: int) -> "LRScheduler":
        """Return torch's scheduler."""
        from torch.optim.lr_scheduler import ConstantLR

        return ConstantLR(optimizer, factor=1.0)


@component
class CosineRate(Component):
    """Half a cosine, from the highest learning rate to 0 after the last step."""

    def scheduler(self, optimizer: "Optimizer", steps: int) -> "LRScheduler":
        """Return torch's scheduler."""
        from torch.optim.lr_scheduler import CosineAnnealingLR

        return CosineAnnealingLR(optimizer, steps)


@component
class StepRate(Component):
    """A staircase.

    Args:
        milestones: Shares of the steps after the warm-up, rising; after each of them the learning
            rate is multiplied by `factor`.
    """

    milestones: list[Between]
    factor: Between

    def __post_init__(self) -> None:
        if self.milestones != sorted(set(self.milestones)):
            rule = "a rising list of shares of the training, such as [0.5,0.75]"
            raise refuse("milestones", rule, self.milestones)

    def scheduler(self, optimizer: "Optimizer", steps: int) -> "LRScheduler":
        """Return torch's scheduler."""
        from torch.optim.lr_scheduler import MultiStepLR

        # Rounded first: 0.07 * 100 is 7.000000000000001.
        places = [math.ceil(round(share * steps, 6)) for share in self.milestones]
        return MultiStepLR(optimizer, places, self.factor)

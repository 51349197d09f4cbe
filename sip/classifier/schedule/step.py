"""Down by a factor at milestones, as in ResNet's own recipe (He et al., CVPR 2016)."""

from collections.abc import Sequence

from sip.core.errors import UserError


class Step:
    """A staircase.

    Args:
        milestones: Parts of the steps after the warm-up, in (0, 1), rising; behind each one the
            learning rate is multiplied by `factor`.
        factor: In (0, 1).

    Raises:
        UserError: A value is out of its range.
    """

    def __init__(self, milestones: Sequence[float], factor: float) -> None:
        between = all(0 < milestone < 1 for milestone in milestones)
        if not between or list(milestones) != sorted(set(milestones)):
            raise UserError(
                "classifier.schedule.milestones: expected rising parts of the training between 0 "
                f"and 1, such as [0.5,0.75], got {list(milestones)}"
            )
        if not 0 < factor < 1:
            raise UserError(
                f"classifier.schedule.factor: expected a number between 0 and 1, got {factor}"
            )
        self.milestones, self.factor = list(milestones), factor

    def recipe(self) -> dict:
        """Return everything that decides the shares."""
        return {
            "class": "sip.classifier.schedule.step.Step",
            "version": 1,
            "milestones": self.milestones,
            "factor": self.factor,
        }

    def __call__(self, progress: float) -> float:
        """Return the share of the highest learning rate."""
        return self.factor ** sum(progress >= milestone for milestone in self.milestones)

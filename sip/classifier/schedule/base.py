"""What a schedule is: the share of the highest learning rate at a place of the training."""

from typing import Protocol


class Schedule(Protocol):
    """The learning rate after the warm-up, which is the recipe's."""

    def recipe(self) -> dict:
        """Return everything that decides the shares."""

    def __call__(self, progress: float) -> float:
        """Return the share of the highest learning rate, in [0, 1].

        Args:
            progress: Part of the steps after the warm-up that were taken, in [0, 1].
        """


def share(schedule: Schedule, step: int, steps: int, warmup_steps: int) -> float:
    """Return the share of the highest learning rate at a step: linear up, then the schedule."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return schedule((step - warmup_steps) / (steps - warmup_steps))

"""How a classifier is trained: one recipe and one budget of steps for all arms of a backbone."""

from dataclasses import asdict, dataclass

from sip.common.errors import UserError

OPTIMIZERS = ("sgd", "adamw")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Recipe:
    """Values of one training.

    Attributes:
        optimizer: "sgd" (Nesterov) or "adamw".
        lr: Highest learning rate; from 0 up to it over the warm-up, then a cosine down to 0.
        momentum: Of SGD; AdamW's first beta.
        weight_decay: Of matrices and kernels; norms and biases have none.
        steps: Optimiser steps, the same for all arms.
        batch_size: Pictures a step.
        warmup_steps: Of `steps`.
        label_smoothing: In [0, 1].
        val_every: Steps between validations; divides `steps`.
        precision: Lightning's name: "32-true", "bf16-mixed" or "16-mixed".
    """

    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    steps: int
    batch_size: int
    warmup_steps: int
    label_smoothing: float
    val_every: int
    precision: str

    def __post_init__(self) -> None:
        """Check what would fail late or change the budget in silence.

        Raises:
            UserError: A value is out of its range.
        """
        for name, value, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise UserError(f"classifier.{name}: expected one of {known}, got {value!r}")
        if self.steps < 1 or self.val_every < 1 or self.steps % self.val_every:
            raise UserError(
                f"classifier.steps: expected a multiple of classifier.val_every "
                f"({self.val_every}), so that the last step is validated, got {self.steps}"
            )
        if not 0 <= self.warmup_steps < self.steps:
            raise UserError(
                f"classifier.warmup_steps: expected 0 to {self.steps - 1} (less than "
                f"classifier.steps), got {self.warmup_steps}"
            )

    def recipe(self) -> dict:
        """Return everything that decides the training but the pictures and the network."""
        return {"class": "sip.classifier.recipe.Recipe", "version": 1, **asdict(self)}

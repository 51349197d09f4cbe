"""How a classifier is trained: one recipe and one budget of steps for all arms of a backbone."""

from dataclasses import asdict, dataclass, replace

from sip.common.errors import UserError

OPTIMIZERS = ("sgd", "adamw")
BUDGETS = ("steps", "epochs")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
NEUTRAL = {"budget": "steps", "epochs": None, "patience": None}


@dataclass(frozen=True)
class Recipe:
    """Values of one training.

    Attributes:
        optimizer: "sgd" (Nesterov) or "adamw".
        lr: Highest learning rate; from 0 up to it over the warm-up, then a cosine down to 0.
        momentum: Of SGD; AdamW's first beta.
        weight_decay: Of matrices and kernels; norms and biases have none.
        budget: "steps" (all arms take `steps` optimiser steps) or "epochs" (each arm goes `epochs`
            times through its own pictures: twice the pictures, twice the steps).
        steps: Optimiser steps, the same for all arms.
        epochs: Passes over the training pictures, for budget "epochs"; else None.
        batch_size: Pictures a step, of all devices together.
        warmup_steps: Of `steps`.
        label_smoothing: In [0, 1].
        val_every: Steps between validations; divides `steps`. With budget "epochs" it is one pass.
        patience: Validations without a better accuracy after which the training ends; None: never.
        precision: Lightning's name: "32-true", "bf16-mixed" or "16-mixed".
    """

    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    budget: str
    steps: int
    epochs: int | None
    batch_size: int
    warmup_steps: int
    label_smoothing: float
    val_every: int
    patience: int | None
    precision: str

    def __post_init__(self) -> None:
        """Check what would fail late or change the budget in silence.

        Raises:
            UserError: A value is out of its range.
        """
        for name, value, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("precision", self.precision, PRECISIONS),
            ("budget", self.budget, BUDGETS),
        ):
            if value not in known:
                raise UserError(f"classifier.{name}: expected one of {known}, got {value!r}")
        self._check_budget()
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

    def _check_budget(self) -> None:
        """Check how long the training may take.

        Raises:
            UserError: `epochs` is missing, or stands beside a budget of steps.
        """
        whole = type(self.epochs) is int and self.epochs >= 1
        if (self.budget == "epochs") != whole or (self.epochs is not None and not whole):
            raise UserError(
                "classifier.epochs: expected a number >= 1 with classifier.budget=epochs and null "
                f"with budget=steps, got {self.epochs} with {self.budget}"
            )
        if self.patience is not None and (type(self.patience) is not int or self.patience < 1):
            raise UserError(
                f"classifier.patience: expected null or validations >= 1, got {self.patience}"
            )

    def resolved(self, pass_length: int) -> "Recipe":
        """Return the recipe in steps: with budget "epochs", passes of so many pictures.

        The last batch of a pass is filled up from the next one; the warm-up keeps its share.
        """
        if self.budget == "steps":
            return self
        assert self.epochs is not None
        every = -(-pass_length // self.batch_size)
        steps = self.epochs * every
        warmup = min(round(self.warmup_steps / self.steps * steps), steps - 1)
        return replace(
            self, budget="steps", epochs=None, steps=steps, val_every=every, warmup_steps=warmup
        )

    def recipe(self) -> dict:
        """Return everything that decides the training but the pictures and the network."""
        values = asdict(self)
        for name, neutral in NEUTRAL.items():  # as it was before the option came
            if values[name] == neutral:
                del values[name]
        return {"class": "sip.classifier.recipe.Recipe", "version": 1, **values}

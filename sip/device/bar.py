"""The framework's own progress bar in a training by Lightning."""

from pytorch_lightning import Callback, LightningModule, Trainer

from sip.core.progress import Progress, progress


class TrainingBar(Callback):
    """A tick a step; a subclass says which values are shown.

    Attributes:
        name: The stage, in front of the bar.
        bar: There from the start of the training on.
    """

    name: str
    bar: Progress

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Open the bar, at the step that a training goes on from."""
        total, done = int(trainer.max_steps), trainer.global_step
        self.bar = progress(self.name, total, "step", initial=done)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        """Close the bar before the error is shown."""
        if hasattr(self, "bar"):
            self.bar.close()

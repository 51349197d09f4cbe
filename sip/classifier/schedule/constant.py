"""One learning rate for all steps after the warm-up."""


class Constant:
    """Always 1."""

    def recipe(self) -> dict:
        """Return everything that decides the shares."""
        return {"class": "sip.classifier.schedule.constant.Constant", "version": 1}

    def __call__(self, progress: float) -> float:
        """Return the share of the highest learning rate."""
        return 1.0

"""One learning rate for all steps after the warm-up."""

from sip.core.component import Component, component


@component
class Constant(Component):
    """Always 1."""

    def __call__(self, progress: float) -> float:
        """Return the share of the highest learning rate."""
        return 1.0

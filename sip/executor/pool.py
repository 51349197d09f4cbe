"""The actors of a stage, as the configuration describes them."""

from typing import Annotated

from pydantic import Field

from sip.core.component import component, refuse
from sip.core.ranges import Count

Cpus = Annotated[float, Field(gt=0)]
Gpus = Annotated[float, Field(ge=0)]


@component
class ActorPool:
    """The actors of a stage.

    Args:
        min_size: Actors that stay while the stage lasts.
        max_size: Actors while so many batches wait.
        num_cpus: CPUs of each, as Ray counts them.
        num_gpus: GPUs of each, such as 0.25; None: 1 if the device is a GPU, else 0.
    """

    min_size: Count
    max_size: Count
    num_cpus: Cpus
    num_gpus: Gpus | None

    def __post_init__(self) -> None:
        """Check the sizes against each other."""
        if self.max_size < self.min_size:
            rule = f"at least min_size, {self.min_size}"
            raise refuse("max_size", rule, self.max_size)

    def resources(self, uses_gpu: bool) -> dict[str, float]:
        """Return the options of an actor."""
        num_gpus = float(uses_gpu) if self.num_gpus is None else self.num_gpus
        return {"num_cpus": self.num_cpus, "num_gpus": num_gpus}

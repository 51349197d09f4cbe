"""A diffusion model as a generator: the settings, and the engine that they load."""

from typing import TYPE_CHECKING

from sip.core.component import component
from sip.device.settings import Runtime
from sip.images.settings import DiffusionSettings

if TYPE_CHECKING:
    from sip.images.engine import Engine


@component
class Diffusion(DiffusionSettings):
    """Base of the components that the engine runs; each says where the diffusion starts."""

    def load(self, runtime: Runtime) -> "Engine":
        """Return a new engine with the weights on the device.

        Raises:
            UserError: As `require`.
        """
        from sip.images.engine import Engine

        return Engine(self, runtime)

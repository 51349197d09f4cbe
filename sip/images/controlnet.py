"""A ControlNet as a generator: the settings, and the engine that they load."""

from typing import TYPE_CHECKING

from sip.core.component import component
from sip.device.settings import Runtime
from sip.images.control_settings import ControlSettings

if TYPE_CHECKING:
    from sip.images.control_engine import ControlEngine


@component
class ControlNet(ControlSettings):
    """Generates with what a ControlNet reads of the original."""

    def load(self, runtime: Runtime) -> "ControlEngine":
        """Return a new engine with the weights on the device.

        Raises:
            UserError: As `require`.
        """
        from sip.images.control_engine import ControlEngine

        return ControlEngine(self, runtime)

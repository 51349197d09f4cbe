"""Inpainting as a generator: the settings, and the engine that they load."""

from typing import TYPE_CHECKING

from sip.core.component import component
from sip.device.settings import Runtime
from sip.images.inpaint_settings import InpaintSettings

if TYPE_CHECKING:
    from sip.images.inpaint_engine import InpaintEngine


@component
class Inpaint(InpaintSettings):
    """Generates around what a mask keeps."""

    def load(self, runtime: Runtime) -> "InpaintEngine":
        """Return a new engine with the weights on the device.

        Raises:
            UserError: As `require`.
        """
        from sip.images.inpaint_engine import InpaintEngine

        return InpaintEngine(self, runtime)

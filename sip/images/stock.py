"""A pipeline of diffusers as a generator: the settings, and the module that they load."""

from typing import TYPE_CHECKING

from sip.core.component import component
from sip.device.settings import Runtime
from sip.images.pipelines import StockPipeline

if TYPE_CHECKING:
    from sip.images.pipeline_module import StockModule


@component
class Stock(StockPipeline):
    """Base of the components that call a pipeline; each says which, and with what."""

    def load(self, runtime: Runtime) -> "StockModule":
        """Return a new module with the pipeline on the device.

        Raises:
            UserError: As `require`.
        """
        from sip.images.pipeline_module import StockModule

        return StockModule(self, runtime)

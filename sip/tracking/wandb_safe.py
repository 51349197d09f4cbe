"""W&B may be out of reach, slow, or fail in the middle: the run goes on, and says so once.

Local files do not depend on it: `metrics.csv`, `summary.json` and all else of a run's folder are
written by other hands.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pytorch_lightning.loggers import WandbLogger

from sip.core.errors import UserError
from sip.core.progress import say

if TYPE_CHECKING:
    import wandb

Result = TypeVar("Result")
MAX_REASON = 200  # characters of a library's error that are passed on


class Safely:
    """Calls what may fail; after the first failure, nothing more.

    Attributes:
        failed: Whether something did.
    """

    def __init__(self) -> None:
        self.failed = False

    def __call__(self, call: Callable[[], Result]) -> Result | None:
        """Return what `call` returns; None where it fails, or something did before.

        Raises:
            UserError: `call` does: such as a damaged picture, which is no matter of W&B.
        """
        if self.failed:
            return None
        try:
            return call()
        except UserError:
            raise
        except Exception as error:  # of the network, of its service process, of its own checks
            self.failed = True
            reason = " ".join(str(error).split())[:MAX_REASON] or type(error).__name__
            say("wandb", f"{reason}; going on without it: the run's folder holds everything")
            return None


class SafeLogger(WandbLogger):
    """Lightning's logger for a W&B run that was started; what fails is said once.

    Args:
        run: The run.
        safely: Shared with what else is logged to it.
    """

    def __init__(self, run: "wandb.Run", safely: Safely) -> None:
        self.safely = safely
        super().__init__(experiment=run)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers."""
        self.safely(lambda: super(SafeLogger, self).log_metrics(metrics, step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log settings, which Lightning hands on where a module keeps some."""
        self.safely(lambda: super(SafeLogger, self).log_hyperparams(params, *args, **kwargs))

    def finalize(self, status: str) -> None:
        """End a fit or a test; the run itself is closed by `sip.tracking.loggers.log_results`."""
        self.safely(lambda: super(SafeLogger, self).finalize(status))

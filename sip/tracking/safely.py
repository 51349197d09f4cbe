"""Go on without a tracker that fails: it may be out of reach, slow, or fail in the middle.

The run's folder holds everything that is logged anyway.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pytorch_lightning.loggers import Logger

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.text import reason_of
from sip.pipeline.stored import StoredImage

Result = TypeVar("Result")
MAX_REASON = 200  # characters of a library's error that are passed on


class Safely:
    """Call what may fail; after the first failure, nothing more.

    Args:
        name: Name of the tracker, for the message.

    Attributes:
        failed: Whether a call failed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failed = False

    def __call__(self, call: Callable[[], Result]) -> Result | None:
        """Return what `call` returns; None if it fails, or an earlier call did.

        Raises:
            UserError: `call` raises it: a damaged image, for example, is no matter of a tracker.
        """
        if self.failed:
            return None
        try:
            return call()
        except UserError:
            raise
        except Exception as error:  # of the network, of its service process, of its own checks
            self.failed = True
            reason = reason_of(error)[:MAX_REASON]
            say(self.name, f"{reason}; going on without it: the run's folder holds everything")
            return None


class SafeLogging(Logger):
    """What a logger of Lightning's has before its own class, so that a failure is only reported.

    Attributes:
        safely: Shared with everything else that is logged to the same run.
    """

    safely: Safely

    def finish(
        self, summary: Mapping[str, Any], folder: Path, images: Sequence[StoredImage]
    ) -> None:
        """Log the final numbers and the sheets of the run folder, and close the run.

        Args:
            summary: Name -> number.
            folder: The run folder.
            images: Generated images, of which some may be shown.
        """
        raise NotImplementedError

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers."""
        self.safely(lambda: super(SafeLogging, self).log_metrics(metrics, step))  # type: ignore[safe-super, arg-type]

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log settings, which Lightning passes on if a module has any."""
        self.safely(lambda: super(SafeLogging, self).log_hyperparams(params, *args, **kwargs))  # type: ignore[safe-super]

    def finalize(self, status: str = "success") -> None:
        """End a fit or a test."""
        self.safely(lambda: super(SafeLogging, self).finalize(status))

"""Failures of a training that are no bugs, reported in one line with the remedy."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sip.core.errors import UserError
from sip.device.batch_size import is_out_of_memory

WORKER_DIED = re.compile(r"DataLoader worker \(pid.*?(killed by signal: [^.]*|exited unexpectedly)")
IN_WORKER = "in DataLoader worker process"  # torch hands an error on as a traceback in its text


@contextmanager
def plain_errors(batch_size: int) -> Iterator[None]:
    """Turn a known error of a training into one line.

    Args:
        batch_size: Images a step.

    Raises:
        UserError: A worker process was killed or could not read an image, or the device's memory
            is too small. Halving the batch, as generation does, would train another classifier.
    """
    try:
        with _said_once():
            yield
    except UserError as error:
        if IN_WORKER not in str(error):
            raise
        last = str(error).strip().splitlines()[-1]
        raise type(error)(last.partition(": ")[2]) from None
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if is_out_of_memory(error):
            raise UserError(
                f"classifier: a batch of {batch_size} images does not fit into the device's "
                "memory; use classifier.precision=bf16-mixed or a smaller classifier.batch_size "
                "(each is another training), or free the device and start again: the training "
                "goes on from its last checkpoint"
            ) from error
        if died := WORKER_DIED.search(str(error)):
            raise UserError(
                f"classifier: a process that reads images was lost ({died[1]}), often for lack "
                "of memory; start again: the training goes on from its last checkpoint; "
                "runtime.loader_workers=0 reads without such processes"
            ) from error
        raise


@contextmanager
def _said_once() -> Iterator[None]:
    """Print no tracebacks of a lost process where Python ignores errors; the loader raises it too.

    It is ignored if the signal comes while another process is started. What libraries do then is
    cut short, and they fail after it.
    """
    before, is_lost = sys.unraisablehook, False

    def hook(ignored: "sys.UnraisableHookArgs") -> None:
        nonlocal is_lost
        is_lost = is_lost or WORKER_DIED.search(str(ignored.exc_value)) is not None
        if not is_lost:
            before(ignored)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before

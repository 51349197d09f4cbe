"""Train the parts of a stack, one after the other or in two processes that share the cores."""

import json
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from typing import Any

import torch

from sip.core.errors import UserError
from sip.core.files import disk_error, write_atomically
from sip.core.interrupt import Stopped, forward, graceful, stop_requested
from sip.core.progress import say
from sip.stack.fit import forget
from sip.stack.parts import MAKERS, Task
from sip.stack.work import OutOfTimeError

START = "spawn"  # how processes begin; a forked one would have a device's state half


def threads() -> int:
    """Return the number of cores that this process may use, or OMP_NUM_THREADS."""
    return torch.get_num_threads()


def make_chain(chain: tuple[str, ...], task: Task, num_threads: int | None) -> None:
    """Train the parts of one chain in turn, until the time limit.

    Args:
        chain: Names of `MAKERS`.
        task: What they are trained on.
        num_threads: torch's; None leaves them.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    with task.work.fast(), suppress(OutOfTimeError):
        for part in chain:
            if task.work.is_late:
                return
            report = MAKERS[part](task)
            text = json.dumps(report)
            write_atomically(task.work.folder / f"{part}.report.json", text + "\n")
            forget(part, task.work)
            say(part, text)


def _child(chain: tuple[str, ...], task: Task, num_threads: int) -> None:
    """Train a chain in a process of its own; exit code 1 with one line for a user error."""
    try:
        with graceful():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the first process passes it on
            threading.Thread(target=_stop_with_parent, daemon=True).start()
            make_chain(chain, task, num_threads)
    except Stopped:
        raise SystemExit(0) from None
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else disk_error(error)
        if reason is None:
            raise
        say(chain[0], f"error: {reason}")
        raise SystemExit(1) from None


def _stop_with_parent() -> None:
    """Ask this process to stop once the one that started it is gone, killed without a word."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if not stop_requested():
        os.kill(os.getpid(), signal.SIGTERM)


def make_side_by_side(chains: list[tuple[str, ...]], task: Task) -> None:
    """Train each chain in a process of its own; they share the cores.

    Raises:
        UserError: One of them failed and printed why; the others have finished.
    """
    context: Any = multiprocessing.get_context(START)
    each = max(1, threads() // len(chains))
    children = {
        chain[0]: context.Process(target=_child, args=(chain, task, each)) for chain in chains
    }
    for child in children.values():
        child.start()
    tell = _teller([child.pid for child in children.values()])
    forward.append(tell)
    try:
        for child in children.values():
            child.join()
    finally:
        forward.remove(tell)
        for child in children.values():
            if child.is_alive():
                child.terminate()
    failed = [name for name, child in children.items() if child.exitcode]
    if failed:
        raise UserError(
            f"{', '.join(failed)}: the process failed, see above; the same command goes on from "
            "the last checkpoints"
        )


def _teller(pids: list[int]) -> Any:
    def tell(number: int) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    return tell

"""The Ray cluster: that of RAY_ADDRESS, or one of this machine, which ends with the process."""

import os
import threading
from concurrent.futures import Future
from typing import Any

from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.interrupt import reclaim

QUIET = {  # of a cluster of this machine
    "RAY_USAGE_STATS_ENABLED": "0",  # sends nothing
    "RAY_worker_niceness": "0",  # else a busy machine starves the actors
}
SHARED_ENVIRONMENT = ("SIP_TRUSTED", "OMP_NUM_THREADS")  # of the driver, for actors elsewhere


def load() -> Any:
    """Import Ray.

    Raises:
        UserError: It is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)  # Ray reads them on import
    try:
        import ray
    except ImportError:
        raise UserError(
            f"executor=ray: must have the package ray, got none; {install_extras('ray')}"
        ) from None
    return ray


def connected() -> Any:
    """Return Ray, connected to the cluster of RAY_ADDRESS, or to one that is started here.

    Raises:
        UserError: The cluster does not answer.
    """
    ray = load()
    if ray.is_initialized():
        return ray
    address, options = os.environ.get("RAY_ADDRESS"), dict[str, Any](log_to_driver=False)
    variables = {name: os.environ[name] for name in SHARED_ENVIRONMENT if name in os.environ}
    if address:
        if variables:
            options["runtime_env"] = {"env_vars": variables}
    else:
        address = "local"
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _start(ray, address=address, configure_logging=False, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"executor=ray: must reach a cluster at {address}, got {reason}; check RAY_ADDRESS"
        ) from error
    reclaim()  # Ray takes SIGTERM
    return ray


def _start(ray: Any, **options: Any) -> None:
    """Start Ray from a thread that lasts: the kernel ends a cluster with the thread it began in."""
    if threading.current_thread() is threading.main_thread():
        ray.init(**options)
        return
    started: Future[None] = Future()

    def start() -> None:
        try:
            ray.init(**options)
        except BaseException as error:
            started.set_exception(error)
        else:
            started.set_result(None)
            threading.Event().wait()

    threading.Thread(target=start, name="ray", daemon=True).start()
    started.result()

"""The samplers, by the name that the configuration uses."""

from typing import Any

from diffusers import DDIMScheduler

from sip.common.errors import UserError

SCHEDULERS: dict[str, Any] = {"ddim": DDIMScheduler}


def scheduler_class(name: str) -> Any:
    """Return diffusers' class of that name.

    Raises:
        UserError: There is none; lists the known ones.
    """
    if name not in SCHEDULERS:
        raise UserError(f"images.scheduler: expected one of {', '.join(SCHEDULERS)}, came {name!r}")
    return SCHEDULERS[name]

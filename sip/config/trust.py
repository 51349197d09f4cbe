"""The user's own packages whose classes a configuration may name, next to `build.TRUSTED`.

A configuration can come from somebody else, so it cannot say itself whom to trust, and no key of
it does. The person at the keyboard does, in the environment: `SIP_TRUSTED=my_captioner,my_data`.
Hydra lets a configuration set the environment too (`hydra.job.env_set`): that is refused.
"""

import os
import re
import sys

from hydra.core.hydra_config import HydraConfig

from sip.core.errors import UserError

VARIABLE = "SIP_TRUSTED"
NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")


def own_prefixes() -> tuple[str, ...]:
    """Return the prefixes, each with its dot at the end, below which own classes lie.

    Raises:
        UserError: A name is none of a package or module, or is of Python itself: `os` would open
            `os.system` to every configuration. Or a configuration sets the variable.
    """
    if HydraConfig.initialized() and VARIABLE in HydraConfig.get().job.env_set:
        raise UserError(
            f"hydra.job.env_set: expected no {VARIABLE}: a configuration cannot say whom to trust; "
            "set it in the environment"
        )
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    names = [name for name in names if name]
    for name in names:
        if not NAME.fullmatch(name):
            raise UserError(
                f"{VARIABLE}: expected names of your packages with commas between them, such as "
                f"my_captioner,my_data, came {name!r}"
            )
        if name.partition(".")[0] in sys.stdlib_module_names:
            raise UserError(
                f"{VARIABLE}: expected packages of your own, came {name!r}, which is Python's; "
                "put the class into a module of yours"
            )
    return tuple(f"{name}." for name in names)

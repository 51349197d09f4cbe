"""What a configuration of somebody else may contain: one rule, checked before anything runs.

Hydra imports and calls what a configuration names: as a `_target_`, as a logging handler, as the
set-up of a launcher. So, in a folder of YAML files that the command line adds:

- of Hydra's own part only the mode, the parameters of a sweep and numbers of the launcher are set.
  The person at the keyboard adds the rest: `hydra/launcher=joblib`;
- `${...}` reads keys, and of the environment only what `ENVIRONMENT` lists.

And every `_target_` of the composed configuration lies below a trusted prefix, in the module of a
plug-in that the user installed (`sip.config.plugins`), or in a package of the user's own,
`SIP_TRUSTED=my_captioner,my_data`, which no configuration can set.
"""

import os
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from sip.config.plugins import plugins
from sip.core.errors import UntrustedError, UserError

STAGES = "augmentation backbone captions classifier dataset filter images metrics prompts scores"
TRUSTED = (
    *(f"sip.{stage}." for stage in STAGES.split()),
    *("sip.adapt.method.", "sip.executor."),
    *("torch.optim.", "torchvision.transforms.", "pytorch_lightning.loggers."),
)
VARIABLE = "SIP_TRUSTED"
OWN_CODE = f"code of your own: name its package in the environment, {VARIABLE}=my_package"
NAME = re.compile(r"(?!__)[^\W\d]\w*(\.(?!__)[^\W\d]\w*)*")
HEADER = re.compile(r"\s*#\s*@package\s+(\S+)")
ENVIRONMENT = r"HOME|USER|TMPDIR|SCRATCH|CUDA_\w+|OMP_\w+|SLURM_(?!JWT)\w+"
READABLE = re.compile(rf"\$\{{([\w.]+|oc\.select:[\w.]+(,[\w.]*)?|oc\.env:({ENVIRONMENT}))\}}")
PARAMS = "hydra.sweeper.params"
OF_HYDRA = f"set nothing of Hydra's own but hydra.mode, {PARAMS} and numbers of hydra.launcher"
READ = (
    "read only keys and HOME, USER, TMPDIR, SCRATCH, CUDA_*, OMP_* and SLURM_* of the environment"
)
REMEDY = "fix or delete it; what you want yourself, give on the command line"


def is_trusted(target: Any) -> bool:
    """Return whether a `_target_` lies below a trusted prefix; it need not exist."""
    is_name = isinstance(target, str) and NAME.fullmatch(target)
    if not is_name or target.startswith((*TRUSTED, *own_prefixes())):
        return bool(is_name)
    return any(target.startswith(f"{plugin.module}.") for plugin in plugins())


def own_prefixes() -> tuple[str, ...]:
    """Return the prefixes, each with its dot at the end, of the user's own packages."""
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        if not NAME.fullmatch(name) or name.partition(".")[0] in sys.stdlib_module_names:
            raise UntrustedError(
                f"{VARIABLE}: must be names of your own packages with commas between them, got "
                f"{name!r}; for example {VARIABLE}=my_captioner,my_data"
            )
    return tuple(f"{name}." for name in names)


def check_targets(config: Any) -> None:
    """Refuse a configuration, in plain types and not resolved, that names an untrusted class."""
    for path, value in _leaves(config, ()):
        if "_target_" in path and not is_trusted(value) and "${" not in str(value):
            got = f"{'.'.join(path)}={value}"
            raise UntrustedError(
                f"{got}: must be below {', '.join(TRUSTED)}; {OWN_CODE}{_trusted_now()}"
            )


def _trusted_now() -> str:
    """Return what the environment trusts, and which of it is not there; "" if it is not set."""
    names = [prefix.removesuffix(".") for prefix in own_prefixes()]
    gone = [name for name in names if find_spec(name.partition(".")[0]) is None]
    absent = f", of which Python finds no {', '.join(gone)}" if gone else ""
    return f" (it names {', '.join(names)}{absent})" if names else ""


def check_folder(folder: Path) -> None:
    """Refuse a configuration folder if a file in it breaks the rule, or is no YAML mapping."""
    for path in sorted(folder.rglob("*")):
        rules = []
        if path.is_symlink() and path.is_dir():
            rules = [("a link", "be a folder")]
        elif path.suffix == ".yaml":
            rules = list(_broken(path.read_text(errors="replace")))
        if path.relative_to(folder).parts[0] == "hydra":
            rules = [("a file in hydra/", OF_HYDRA)]
        for got, rule in rules:
            raise UserError(f"{path}: must {rule}, got {' '.join(got.split())[:200]}; {REMEDY}")


def _broken(text: str) -> Iterator[tuple[str, str]]:
    """Yield (what a YAML text holds, what it must be) for each part that breaks the rule."""
    try:
        values = yaml.safe_load(text) or {}
        defaults = str(values.pop("defaults", ""))
        leaves = list(_leaves(values, ()))
    except (yaml.YAMLError, AttributeError, RecursionError, TypeError, ValueError) as error:
        yield str(error), "be a YAML mapping"
        return
    headers = [match[1] for line in text.splitlines() if (match := HEADER.match(line))]
    for written in (*headers, defaults):
        if ("hydra" in written and written != PARAMS) or "${" in written:
            yield written, OF_HYDRA
    for path, value in leaves:
        got = f"{'.'.join(path)}={value}"
        if "hydra" in path[0] and not _is_harmless(path, value):
            yield got, OF_HYDRA
        if "${" in READABLE.sub("", str(value)):
            yield got, READ


def _is_harmless(path: tuple[str, ...], value: Any) -> bool:
    """Return whether any configuration may set this key of Hydra's own part."""
    if path[:3] == ("hydra", "sweeper", "params"):
        return len(path) > 3 and "hydra" not in "".join(path[3:])
    is_number = isinstance(value, int | float)
    return path == ("hydra", "mode") or (path[:2] == ("hydra", "launcher") and is_number)


def _leaves(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value that is no container, with its keys from the top."""
    if not isinstance(node, dict | list):
        yield path, node
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from _leaves(value, (*path, str(key)))

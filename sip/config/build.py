"""From configuration to objects: the only place that instantiates, and the list of what it may.

A configuration can come from somebody else. Hydra would call whatever its `_target_` names,
`os.system` included; here only classes below the trusted prefixes are built, and they must be
defined there, not merely within reach (`sip.config.build.importlib` is not). No functions: some of
ours write files, and some of timm's read pickles. The user adds packages of their own in the
environment (`sip.config.trust`), which no configuration can.
"""

import importlib
import inspect
import re
import types
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sip.config.trust import VARIABLE, own_prefixes
from sip.core.errors import UserError

ROOMS = (
    *("augmentation", "backbone", "captions", "classifier", "dataset"),
    *("filter", "images", "metrics", "prompts", "scores"),
)
TRUSTED = (
    *(f"sip.{room}." for room in ROOMS),
    "torch.optim.",
    "torchvision.transforms.",
    "pytorch_lightning.loggers.",
)
OWN_CODE = f"Code of your own: name its package in the environment, {VARIABLE}=my_package"
HYDRA_KEYS = {"_target_", "_args_", "_convert_", "_partial_", "_recursive_"}
DOTTED_PATH = re.compile(r"[A-Za-z]\w*(\.(?!__)\w+)+")
CALLED = re.compile(r"target '([^']+)'")  # in a message of Hydra's
OF_VALUES = (TypeError, ValueError, KeyError, AttributeError, ArithmeticError)


def build(config: Any, **kwargs: Any) -> Any:
    """Build what a configuration node describes, its nested nodes first.

    Args:
        config: A node with `_target_`, or lists and dicts of such nodes; None builds None.
        kwargs: Further arguments of the outermost target, passed as they are.

    Raises:
        UserError: A `_target_` is not trusted or not there, an argument is unknown or left out, or
            a constructor refuses its values.
    """
    plain: Any = config
    if OmegaConf.is_config(config):
        plain = OmegaConf.to_container(config, resolve=True)
    if plain is None:
        return None
    for node in _nodes(plain):
        target = _resolve(node["_target_"])
        _check_arguments(node, target, kwargs if node is plain else {})
    try:
        if not kwargs:
            return instantiate(plain, _convert_="all")
        # Through a partial, since instantiate would copy kwargs and take dataclasses for configs.
        built = instantiate(plain, _convert_="all", _partial_=True)
    except InstantiationException as error:
        raise _cause(error) from error
    return partial(built, **kwargs) if plain.get("_partial_") else built(**kwargs)


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes with a `_target_`, at any depth.

    Raises:
        UserError: A text holds an interpolation that a second look would resolve.
    """
    if isinstance(config, str) and "${" in config:
        raise UserError(f"{config!r}: '${{' cannot stand in a value; write it without the braces")
    if isinstance(config, dict):
        if "_target_" in config:
            yield config
        config = list(config.values())
    for value in config if isinstance(config, list | tuple) else []:
        if isinstance(value, str | dict | list | tuple):
            yield from _nodes(value)


def _resolve(target: Any) -> Any:
    """Return the class that a `_target_` names; nothing untrusted is imported.

    Raises:
        UserError: It is not trusted, or not there.
    """
    if not is_trusted(target):
        raise _untrusted(target)
    found, rest = _import(target)
    for name in rest:
        if not hasattr(found, name):
            near = get_close_matches(name, dir(found), n=1)
            hint = f"did you mean {near[0]}?" if near else "check the spelling"
            raise UserError(f"_target_ {target}: {found.__name__} has no {name}; {hint}")
        found = getattr(found, name)
        if not isinstance(found, type) or not is_trusted(f"{found.__module__}.{found.__name__}"):
            raise _untrusted(target)
    if not rest:
        raise UserError(f"_target_ {target}: expected a class, came a module")
    return found


def _import(target: str) -> tuple[types.ModuleType, list[str]]:
    """Import the longest part of a trusted path that is a module; return it and the rest."""
    names = target.split(".")
    try:
        module = importlib.import_module(names[0])
    except ModuleNotFoundError as error:
        raise UserError(
            f"_target_ {target}: {error}; install it, or put its folder into PYTHONPATH"
        ) from error
    for position in range(1, len(names)):
        name = ".".join(names[: position + 1])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:  # the module is there, something that it imports is not
                raise UserError(f"_target_ {target}: {error}; install it") from error
            return module, names[position:]
    return module, []


def is_trusted(target: Any) -> bool:
    """Return whether a `_target_` lies below a trusted prefix; it need not be there."""
    prefixes = (*TRUSTED, *own_prefixes())
    return bool(
        isinstance(target, str) and DOTTED_PATH.fullmatch(target) and target.startswith(prefixes)
    )


def _untrusted(target: Any) -> UserError:
    return UserError(
        f"_target_ {' '.join(str(target).split())}: expected a class defined below one of "
        f"{', '.join(TRUSTED)} (sip.config.build.TRUSTED); nothing was called. {OWN_CODE}"
    )


def _check_arguments(node: dict[str, Any], target: Any, further: dict[str, Any]) -> None:
    """Compare a node's keys with the arguments that its target takes.

    Raises:
        UserError: One is unknown, or one is left out.
    """
    try:
        parameters = inspect.signature(target).parameters.values()
    except ValueError:  # some builtin classes do not tell
        return
    given = (set(node) | set(further)) - HYDRA_KEYS
    kinds = {parameter.kind for parameter in parameters}
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = sorted(map(str, given - {p.name for p in named}))
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        known = ", ".join(p.name for p in named) or "none"
        raise UserError(f"{node['_target_']}: unknown {', '.join(unknown)}; it takes: {known}")
    needed = {p.name for p in named if p.default is p.empty}
    if (missing := sorted(needed - given)) and not {"_partial_", "_args_"} & set(node):
        raise UserError(f"{node['_target_']}: needs a value for {', '.join(missing)}")


def _cause(error: InstantiationException) -> Exception:
    """Return the user's mistake within an error of Hydra's, or else that error."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return cause
    if not isinstance(cause, OF_VALUES):
        return error
    called = CALLED.search(str(error))
    said = " ".join(str(cause).split())
    return UserError(
        f"{called[1] if called else 'configuration'}: its values do not fit "
        f"({type(cause).__name__}: {said}); give each the type and range that its YAML states"
    )

"""Build objects from a configuration, and only from trusted classes.

A configuration can come from somebody else. Hydra would call whatever its `_target_` names,
`os.system` included; here only classes below the trusted prefixes are built, and they must be
defined there, not only imported there (`sip.config.build.importlib` is not). Functions are refused:
some of SIP's write files, and some of timm's read pickles. Users add their own packages in the
environment, which no configuration can. What is trusted: `sip.config.guard`.
"""

import importlib
import inspect
import re
import types
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from sip.config.guard import OWN_CODE, TRUSTED, is_trusted
from sip.core.errors import UntrustedError, UserError, ValueRefusedError
from sip.core.text import reason_of

TARGET = "_target_"
OF_VALUES = (TypeError, ValueError, KeyError, AttributeError, ArithmeticError)


def build(config: Any, **kwargs: Any) -> Any:
    """Build what a configuration node describes, its nested nodes first.

    Args:
        config: A node with `_target_`, or lists and dicts of such nodes; None builds None.
        kwargs: Further arguments of the outermost target, passed as they are.

    Raises:
        UserError: A `_target_` is not trusted or does not exist, an argument is unknown or missing,
            or a value breaks its rule: the message names the key as the user types it.
    """
    plain, place = config, ""
    if OmegaConf.is_config(config):
        plain = _resolved(config)
        place = config._get_full_key("")
    nodes = list(_nodes(plain))
    targets = {id(node): target_class(node[TARGET]) for node in nodes}
    for node in nodes:  # all of them, before anything is built
        _check_arguments(node, targets[id(node)], kwargs if node is plain else {})
    try:
        return _build(plain, place, kwargs, targets)
    except ValueRefusedError as error:
        key = _typed(config, error.key)
        raise ValueRefusedError(key, error.rule, error.value, error.fix) from None


def _resolved(config: Any) -> Any:
    """Return a node in plain types, with what its values refer to.

    Raises:
        UserError: A value refers to nothing, such as the first entry of an empty list.
    """
    try:
        return OmegaConf.to_container(config, resolve=True)
    except InterpolationResolutionError as error:
        place, _, name = str(error.full_key).rpartition(".")
        node = OmegaConf.select(config._get_root(), place) if place else config._get_root()
        raw = OmegaConf.to_container(node, resolve=False)[name]  # type: ignore[index, call-overload]
        raise UserError(
            f"{error.full_key}: must be what {raw} gives, got nothing; fix the value that it reads"
        ) from error


def _build(node: Any, place: str, further: dict[str, Any], targets: dict[int, Any]) -> Any:
    """Build a node and what it contains.

    Args:
        node: In plain types.
        place: Its key in the whole configuration.
        further: More arguments of its target.
        targets: id of a node -> its target.
    """
    if isinstance(node, list):
        return [_build(item, f"{place}.{n}", {}, targets) for n, item in enumerate(node)]
    if isinstance(node, str) and "${" in node:  # of a foreign file, or escaped
        raise UserError(
            f"{place}: must be a value without '${{', got {node!r}; write what it means"
        )
    if not isinstance(node, dict):
        return node
    values = {
        key: _build(value, _below(place, key), {}, targets)
        for key, value in node.items()
        if key != TARGET
    }
    if TARGET not in node:
        return values
    target = targets[id(node)]
    try:
        return target(**values, **further)
    except ValueRefusedError as error:
        raise error.below(place) from None
    except OF_VALUES as error:
        reason = reason_of(error)
        name = f"{target.__module__}.{target.__name__}"
        raise UserError(
            f"{place or name}: must be values that {name} takes, got {type(error).__name__}: "
            f"{reason}; give each the type and range that its YAML states"
        ) from error


def _typed(config: Any, key: str) -> str:
    """Return the key to type for another value: `mixing.p` if a value is `${mixing.p}`.

    Values that a profile gives are set at the key that reads them.
    """
    place, _, name = key.rpartition(".")
    node = OmegaConf.select(config._get_root(), place) if OmegaConf.is_config(config) else None
    if not OmegaConf.is_dict(node):
        return key
    raw = OmegaConf.to_container(node, resolve=False)[name]  # type: ignore[index, call-overload]
    other = re.fullmatch(r"\$\{(\w+(?:\.\w+)+)\}", str(raw))
    return other[1] if other and not other[1].startswith("profile.") else key


def _below(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes with a `_target_`, at any depth."""
    if isinstance(config, dict):
        if TARGET in config:
            yield config
        config = list(config.values())
    for value in config if isinstance(config, list) else []:
        yield from _nodes(value)


def target_class(target: Any) -> Any:
    """Return the class that a `_target_` names; nothing untrusted is imported.

    Raises:
        UserError: It is not trusted, or does not exist.
    """
    if not is_trusted(target):
        raise _untrusted(target)
    value, rest = _import(target)
    for name in rest:
        if not hasattr(value, name):
            near = get_close_matches(name, dir(value), n=1)
            hint = f"did you mean {near[0]}?" if near else "check the spelling"
            raise UserError(f"_target_ {target}: {value.__name__} has no {name}; {hint}")
        value = getattr(value, name)
        if not isinstance(value, type) or not is_trusted(f"{value.__module__}.{value.__name__}"):
            raise _untrusted(target)
    if not rest:
        raise UserError(f"_target_ {target}: must be a class, got a module")
    return value


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
            if error.name != name:  # the module exists, but not what it imports
                raise UserError(f"_target_ {target}: {error}; install it") from error
            return module, names[position:]
    return module, []


def _untrusted(target: Any) -> UserError:
    return UntrustedError(
        f"_target_ {' '.join(str(target).split())}: must be a class defined below one of "
        f"{', '.join(TRUSTED)} (sip.config.guard.TRUSTED); nothing was called; {OWN_CODE}"
    )


def _check_arguments(node: dict[str, Any], target: Any, further: dict[str, Any]) -> None:
    """Compare a node's keys with the arguments that its target takes.

    Raises:
        UserError: One is unknown, or one is missing.
    """
    try:
        parameters = inspect.signature(target).parameters.values()
    except ValueError:  # some builtin classes have no signature
        return
    given = (set(node) | set(further)) - {TARGET}
    kinds = {parameter.kind for parameter in parameters}
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = sorted(map(str, given - {p.name for p in named}))
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        known = ", ".join(p.name for p in named) or "none"
        raise UserError(f"{node[TARGET]}: unknown {', '.join(unknown)}; it takes: {known}")
    needed = {p.name for p in named if p.default is p.empty}
    if missing := sorted(needed - given):
        raise UserError(f"{node[TARGET]}: needs a value for {', '.join(missing)}")

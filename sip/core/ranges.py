"""Ranges that fields of components declare, and the words in which a message states them."""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MinLen
from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]  # a share that is not nothing
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Dtype = Literal["float32", "bfloat16", "float16"]
Pair = Annotated[tuple[float, float], Field(strict=False)]  # YAML knows lists only

NAMES = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    dict: "a mapping",
}


def rule_of(declared: Any) -> str:
    """Return what the value of a field must be, from its declaration.

    Args:
        declared: A pydantic `FieldInfo`.
    """
    return declared.description or _rule(declared.annotation, declared.metadata)


def _rule(kind: Any, metadata: Any = ()) -> str:
    """Return the rule of a type with its constraints."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        described = [m.description for m in args[1:] if getattr(m, "description", None)]
        inner = [c for m in args[1:] for c in getattr(m, "metadata", [m])]
        return described[0] if described else _rule(args[0], [*metadata, *inner])
    if origin is Literal:
        known = [str(value) for value in args]
        return f"one of {', '.join(known)}" if len(known) > 1 else known[0]
    if origin in (Union, types.UnionType):
        rules = [_rule(arg, metadata if arg is not type(None) else ()) for arg in args]
        return " or ".join(rules)
    if origin is tuple and args[-1:] != (...,):
        return f"a list of {len(args)}: {_rule(args[0], metadata)} each"
    if origin in (list, tuple) or str(origin).endswith("Sequence'>"):
        return f"a list, {_rule(args[0])} each{_length(metadata)}"
    name = NAMES.get(kind, NAMES.get(origin, getattr(kind, "__name__", str(kind))))
    return _bounded(name, metadata)


def _bounded(name: str, metadata: Any) -> str:
    """Return a rule with its bounds, as an interval if it has two."""
    low: tuple[str, str, Any] | None = None
    high: tuple[str, str, Any] | None = None
    for mark in metadata:
        if isinstance(mark, Interval):
            return _bounded(name, list(mark))
        if isinstance(mark, Ge):
            low = ("[", ">=", mark.ge)
        elif isinstance(mark, Gt):
            low = ("(", ">", mark.gt)
        elif isinstance(mark, Le):
            high = ("]", "<=", mark.le)
        elif isinstance(mark, Lt):
            high = (")", "<", mark.lt)
    whole = "a whole number " if name == NAMES[int] else ""
    if low and high:
        return f"{whole}in {low[0]}{low[2]:g}, {high[2]:g}{high[0]}"
    if low or high:
        sign, bound = (low or high)[1:]  # type: ignore[index]
        return f"{whole or 'a number '}{sign} {bound:g}"
    return name


def _length(metadata: Any) -> str:
    """Return how many values a list must have, if that is declared."""
    for mark in metadata:
        if isinstance(mark, MinLen | Len):
            return f", at least {mark.min_length}"
    return ""

"""Templates with named fields, such as "a photo of a {label}"."""

from collections.abc import Sequence
from string import Formatter

from sip.core.component import refuse


def cut(
    key: str, template: str, known: Sequence[str], needed: Sequence[str] = ()
) -> list[tuple[str, str | None]]:
    """Return a template as (plain text, name of the field after it or None).

    A checked template is filled by `template.format(label=...)`; braces in the values stay text.

    Args:
        key: Name of the configured value, for the message.
        template: Text; braces that are no field are doubled.
        known: Fields that it may have.
        needed: Fields that it must have.

    Raises:
        ValueRefusedError: It is no such template.
    """
    rule = f"a template with no field but {_braced(known)}"
    if needed:
        rule = f"a template with {_braced(needed)}, and no field but {_braced(known)}"
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise refuse(key, rule, template, str(error)) from error
    named = [part for part in parsed if part[1] is not None]
    if any(name not in known or spec or conversion for _, name, spec, conversion in named):
        raise refuse(key, rule, template)
    if not set(needed) <= {name for _, name, _, _ in named}:
        raise refuse(key, rule, template)
    return [(text, name) for text, name, _, _ in parsed]


def _braced(names: Sequence[str]) -> str:
    return " and ".join(f"{{{name}}}" for name in names)

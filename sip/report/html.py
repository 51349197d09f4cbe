"""Building HTML: every text is escaped, unless it was built here."""

import base64
import hashlib
import html
import json
from typing import Any

VOID = {"img", "meta", "br"}
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """Return an element.

    Args:
        name: Of the element.
        children: Texts, which are escaped, or `Html`; None and "" leave nothing.
        attributes: Without a trailing underscore (`class_`), with dashes for other underscores;
            True stands alone, None and False are left out.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(f" {key}" if value is True else f' {key}="{escape(value)}"')
    opened = f"<{name}{''.join(written)}>"
    if name in VOID:
        return Html(opened)
    return Html(f"{opened}{join(*children)}</{name}>")


def join(*children: Any) -> Html:
    """Return the children behind each other, texts escaped."""
    shown = [child for child in children if child is not None]
    return Html("".join(c if isinstance(c, Html) else escape(c) for c in shown))


def escape(value: Any) -> str:
    """Return a value as text that is safe between tags and in quoted attributes."""
    return html.escape(str(value).replace("\0", "\ufffd"), quote=True)


def script_json(identity: str, value: Any) -> Html:
    """Return a block of data for the script; no text in it can end the block."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, written in UNSAFE.items():
        text = text.replace(character, written)
    return Html(f'<script type="application/json" id="{escape(identity)}">{text}</script>')


def csp_hash(text: str) -> str:
    """Return the source expression that allows exactly this inline script or style."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

"""Class names that an adapted generator reads under another word.

The prompt that is stored keeps the readable name; only the text encoder gets the other one.
"""

import re
from collections.abc import Mapping

from sip.prompts.base import Span


def encoded_as(
    spans: tuple[Span, ...], class_name: str, names: Mapping[str, str]
) -> tuple[Span, ...]:
    """Return a prompt as the text encoder reads it.

    Args:
        spans: The prompt.
        class_name: Its class, which is replaced where it first stands as a word of its own.
        names: Class name -> what is read in its place; a class without one keeps its name.
    """
    if class_name not in names:
        return spans
    word = re.compile(rf"(?<!\w){re.escape(class_name)}(?!\w)", re.IGNORECASE)
    for number, span in enumerate(spans):
        if match := word.search(span.text):
            start, end = match.span()
            text = span.text[:start] + names[class_name] + span.text[end:]
            return (*spans[:number], Span(text, span.weight), *spans[number + 1 :])
    return spans

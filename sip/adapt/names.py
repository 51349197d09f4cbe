"""New words for class names, as textual inversion teaches them to the text encoder."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

NOT_IN_WORDS = re.compile(r"[^a-z0-9]+")


def placeholders(class_names: Sequence[str], tokenizers: Sequence[Any]) -> Mapping[str, str]:
    """Return class name -> a word in angle brackets that no tokenizer has.

    Args:
        class_names: In words.
        tokenizers: The model's.
    """
    taken = {word for tokenizer in tokenizers for word in tokenizer.get_vocab()}
    found: dict[str, str] = {}
    for name in class_names:
        short = NOT_IN_WORDS.sub("-", name.lower()).strip("-") or "class"
        word, number = f"<{short}>", 1
        while word in taken:
            number += 1
            word = f"<{short}-{number}>"
        taken.add(word)
        found[name] = word
    return found

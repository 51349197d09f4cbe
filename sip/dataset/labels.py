"""What labels mean, the same for all readers: values of tables, class names, words for prompts."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field

from sip.core.errors import UserError
from sip.core.text import join_first


def text_of(value: Any) -> str:
    """Return a key or value of a YAML file, or a label of a table, as the text it stands for.

    `yes` and `no` are booleans in YAML, and 0 a number: they become "true", "false" and "0".

    Raises:
        ValueError: It is a list, a mapping, or a number that is not whole.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).strip()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    raise ValueError(f"must be text or a whole number, got {value!r}")


def _texts(given: Any) -> Any:
    """Return a mapping with its keys and values as text.

    Raises:
        ValueError: A value is empty or no text.
    """
    if not isinstance(given, Mapping):
        return given
    words = {text_of(key): text_of(value) for key, value in given.items()}
    if any(isinstance(value, bool) or value is None for value in given.values()):
        raise ValueError("true, false and null are not words")
    if not all(words.values()):
        raise ValueError("a class has no words")
    return words


# A field that maps a class name of the source to the words that stand for it in a prompt.
PromptNames = Annotated[
    dict[str, str],
    BeforeValidator(_texts),
    Field(description="a mapping of class names to words, such as {n02085620: chihuahua dog}"),
]


def prompt_words(names: Sequence[str], prompt_names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the classes in words that fit a prompt: mapped, or with blanks for underscores.

    Args:
        names: Of the source, by label.
        prompt_names: As `PromptNames`; a key may also be what YAML reads of a name: "true" for a
            class `yes`.

    Raises:
        UserError: The mapping names a class that the data set does not have, a class has no words,
            or a prompt cannot tell two classes apart.
    """
    mapped = {_class_of(key, names): words for key, words in prompt_names.items()}
    words = [mapped.get(name, " ".join(name.replace("_", " ").split())) for name in names]
    seen: dict[str, str] = {}
    for name, text in zip(names, words, strict=True):
        if not text:
            raise UserError(
                f"dataset: each class must have a word for its prompt, got {name!r}; rename it, or "
                f"give it words with dataset.prompt_names={{{name}: ...}}"
            )
        look = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
        if look in seen:
            raise UserError(
                f"dataset: classes must differ in words, got {seen[look]!r} and {name!r}, which "
                f"are both {text!r} in a prompt; merge them, or tell them apart with "
                f"dataset.prompt_names={{{name}: ...}}"
            )
        seen[look] = name
    return tuple(words)


def _class_of(key: str, names: Sequence[str]) -> str:
    """Return the class that a key of `prompt_names` stands for.

    Raises:
        UserError: There is none, or more than one.
    """
    if key in names:
        return key
    same = [name for name in names if _as_yaml_reads(name) == key]
    if len(same) != 1:
        raise UserError(
            f"dataset.prompt_names: must name classes of the data set, got {key}; the classes are "
            f"{join_first(names, 20)}"
        )
    return same[0]


def _as_yaml_reads(name: str) -> str:
    """Return the text of a name that was written without quotes into a YAML file."""
    try:
        return text_of(yaml.safe_load(name))
    except (yaml.YAMLError, ValueError):
        return name

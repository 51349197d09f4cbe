"""What labels mean, the same for all readers: values of tables, class names, words for prompts."""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field

from sip.config.words import for_shell
from sip.core.errors import UserError
from sip.core.text import CONTROL, join_first, reason_of
from sip.dataset.base import Split

PLAIN_KEY = re.compile(r"\w([\w .-]*\w)?")  # of a YAML mapping
WHOLE = re.compile(r"\d+")
WITHOUT_FRACTION = re.compile(r"(\d+)\.0*")  # a whole number of a column that had a gap once
NO_LABEL = ("nan", "<na>", "n/a", "#n/a", "-1", "-1.0")  # how tables write a missing one
NUMBERED = re.compile(r"\d+[\s,;:]+\S")
PART_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
# What stands next to the name of a part and is no class: seg_train, test_images, val2017.
NO_NAMES = {
    *("set", "split", "part", "folder", "data", "dataset", "seg", "images", "image", "imgs", "img"),
    *("photos", "pictures", "samples", "classes"),
}


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
    raise ValueError(f"{value!r} is neither text nor a whole number")


def _texts(given: Any) -> Any:
    """Return a mapping with its keys and values as text.

    Raises:
        ValueError: A value is empty or no text.
    """
    if isinstance(given, str) and given.startswith("{"):  # keys that Hydra cannot read
        try:
            given = yaml.load(given, yaml.BaseLoader)  # noqa: S506, only makes text: "null", "1.5"
        except yaml.YAMLError as error:
            raise ValueError("it is no YAML") from error
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
        names: Class names of the source, by label.
        prompt_names: As `PromptNames`; a key may also be what YAML reads of a name ("true" for a
            class `yes`), or the name with blanks for underscores.

    Raises:
        UserError: The mapping names a class that the data set does not have, a class has no words,
            or a prompt cannot tell two classes apart.
    """
    names = composed(names)
    mapped = _by_class(prompt_names, names)
    words = [mapped.get(name, _blank(name)) for name in names]
    seen: dict[str, str] = {}
    for name, text in zip(names, words, strict=True):
        if not _look(text) or CONTROL.search(text):
            raise UserError(
                f"dataset: each class must have words for its prompt, got {name!r}; rename it, or "
                f"give it words with {naming({name: '...'})}"
            )
        look = _look(text)
        if look in seen:
            raise UserError(
                f"dataset: classes must differ in words, got {seen[look]!r} and {name!r}, which "
                f"are both {text!r} in a prompt; merge them, or tell them apart with "
                f"{naming({name: '...'})}"
            )
        seen[look] = name
    return tuple(words)


def _blank(name: str) -> str:
    """Return a class name with blanks for underscores."""
    return " ".join(name.replace("_", " ").split())


def _look(text: str) -> str:
    """Return what is seen of a text: without capitals, wide forms and marks of no width."""
    seen = [c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf"]
    return " ".join("".join(seen).casefold().split())


def naming(words: Mapping[str, str]) -> str:
    """Return the override that gives classes their words, as one types it into a shell.

    Names of other signs than letters, digits and " .-" are written as the text of a YAML mapping.
    """
    if all(PLAIN_KEY.fullmatch(name) for name in words):
        pairs = (f"{name}: {json.dumps(text, ensure_ascii=False)}" for name, text in words.items())
        return for_shell(f"dataset.prompt_names={{{', '.join(pairs)}}}")
    mapping = yaml.safe_dump(dict(words), default_flow_style=True, allow_unicode=True)
    text = json.dumps(" ".join(mapping.split()), ensure_ascii=False)
    return for_shell(f"dataset.prompt_names={text}")


def composed(names: Sequence[str]) -> list[str]:
    """Return class names in Unicode's composed form NFC; macOS decomposes them.

    Raises:
        UserError: Two names look the same but differ in code points.
    """
    first: dict[str, str] = {}
    for name in names:
        known = first.setdefault(unicodedata.normalize("NFC", name), name)
        if known != name:
            raise UserError(
                f"dataset: class names must differ, got {name!r} twice, as {ascii(known)} and "
                f"{ascii(name)}, which differ only in Unicode composition; merge the two"
            )
    return [unicodedata.normalize("NFC", name) for name in names]


def _by_class(prompt_names: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return class -> words, of a mapping whose keys may be written otherwise.

    Raises:
        UserError: A key stands for no class, or for more than one.
    """
    known, written = set(names), defaultdict[str, set[str]](set)
    if not known.issuperset(prompt_names):
        for name in names:
            for text in (_as_yaml_reads(name), _blank(name)):
                written[text].add(name)
    mapped = {}
    for key, words in prompt_names.items():
        same = {key} if key in known else written.get(key, set())
        if len(same) != 1:
            raise UserError(
                f"dataset.prompt_names: must name classes of the data set, got {key}; the classes "
                f"are {join_first(names, 20)}"
            )
        mapped[min(same)] = words
    return mapped


def _as_yaml_reads(name: str) -> str:
    """Return the text of a name that was written without quotes into a YAML file."""
    try:
        return text_of(yaml.safe_load(name))
    except (yaml.YAMLError, ValueError):
        return name


def is_missing(value: Any) -> bool:
    """Return whether a label of a table is none: null, NaN, -1, blank, or one of these as text."""
    if isinstance(value, str):
        return not value.strip() or value.strip().casefold() in NO_LABEL
    return value is None or value != value or value == -1


def label_of(value: Any) -> str:
    """Return a label of a table as text; whole numbers are the same in any type.

    Raises:
        ValueError: As `text_of`.
    """
    text = text_of(value)
    match = WITHOUT_FRACTION.fullmatch(text)
    return match[1] if match else text


def number_of(value: Any) -> int | None:
    """Return the whole number that a label is: 3, 3.0 or "3"; None for a name or no label.

    Raises:
        ValueError: As `text_of`.
    """
    if is_missing(value):
        return None
    text = label_of(value)
    return int(text) if WHOLE.fullmatch(text) else None


class ClassNames:
    """Names of numbered classes, as files, shards and parts state them."""

    def __init__(self) -> None:
        self._stated: dict[int, tuple[str, str]] = {}  # number -> name, where

    def add(self, number: int, name: str, where: str) -> None:
        """Add what one place states.

        Raises:
            UserError: Another place states another name for the number.
        """
        known, first = self._stated.setdefault(number, (name, where))
        if known != name:
            raise UserError(
                f"{where}: class {number} must be {known!r}, as {first} states, got {name!r}; give "
                "each class one number in all files"
            )

    def names(self, num: int, source: str) -> list[str]:
        """Return the names of the classes 0 .. num - 1.

        Raises:
            UserError: A number has no name; `source` says how to give it one.
        """
        looked = range(min(num, len(self._stated) + 5))  # a single wrong number may be huge
        if unnamed := [str(number) for number in looked if number not in self._stated]:
            raise UserError(
                f"dataset.classes: must name each of {num} classes, got no name for "
                f"{join_first(unnamed, 5)}; {source}"
            )
        return [self._stated[number][0] for number in range(num)]

    def agreed(self, names: list[str], where: str) -> list[str]:
        """Return the names that one place lists for all numbers; they may be other words.

        Raises:
            UserError: It lists a name that was stated, under another number.
        """
        listed = {name: number for number, name in enumerate(names)}
        for number, (name, first) in self._stated.items():
            if listed.get(name, number) != number:
                raise UserError(
                    f"{where}: class {number} must be {name!r}, as {first} states, got {name!r} as "
                    f"class {listed[name]}; give each class one number in all files"
                )
        return names


def read_names(file: Path) -> list[str]:
    """Return the class names of a text file, one a line in UTF-8; line 1 is class 0.

    Raises:
        UserError: It cannot be read, or a line is empty, numbered or there twice.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: must be text in UTF-8, got another file ({reason_of(error)}); save it so"
        ) from error
    names = [text_of(line) for line in lines]
    bad = [f"line {n} is empty" for n, name in enumerate(names, 1) if not name]
    seen: dict[str, int] = {}
    for n, name in enumerate(names, 1):
        if name and seen.setdefault(name, n) != n:
            bad.append(f"line {n} is the same as line {seen[name]}")
    if names and all(NUMBERED.match(name) for name in names):
        bad.append(f"numbers in front of the names, such as {names[0]!r}")
    if bad:
        raise UserError(
            f"{file}: must have one class name in each line, got {join_first(bad, 5)}; the first "
            "line is class 0, and so on"
        )
    return names


def sorted_classes(labels: Iterable[str]) -> list[str]:
    """Return the classes of a column of labels, by number if all are whole numbers.

    Raises:
        UserError: Two are the same number.
    """
    classes = sorted(set(labels))
    if not all(map(WHOLE.fullmatch, classes)):
        return classes
    classes = sorted(classes, key=int)
    for one, two in pairwise(classes):
        if int(one) == int(two):
            raise UserError(
                f"dataset: labels that are numbers must be written in one way, got {one!r} and "
                f"{two!r}; fix the labels"
            )
    return classes


def part_of(name: str) -> Split | None:
    """Return the part that a name stands for, such as "train" for `seg_train` or `TrainingSet`.

    None for other names: a class may be called "train station".
    """
    words = [word for word in re.split(r"[^a-z]+", name.casefold()) if word]
    words = [part for word in words for part in _with_suffix(word)]
    parts = {PART_NAMES[word] for word in words if word in PART_NAMES}
    others = [word for word in words if word not in PART_NAMES and word not in NO_NAMES]
    return parts.pop() if len(parts) == 1 and not others else None


def _with_suffix(word: str) -> tuple[str, ...]:
    """Divide "trainset" into "train" and "set"; other words stay as they are."""
    for name in PART_NAMES:
        if word.startswith(name) and word[len(name) :] in NO_NAMES:
            return name, word[len(name) :]
    return (word,)

"""Text for people: counts, durations, sizes, and escapes for Markdown, LaTeX and terminals."""

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

NUM_NAMED = 3
MAX_RULE = 100  # characters of a line above a table; a long note goes beyond it
as_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes one for each call
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
}
MARKDOWN = {"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "[": "\\[", "]": "\\]"}
TAG = re.compile(r"<(?=\S)")  # start of a possible HTML tag
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")  # terminals obey some; LaTeX reads none
ABSOLUTE = re.compile(r"(file://|/|~|[A-Za-z]:[\\/]|\\\\)")  # start of an absolute path
OBJECT = re.compile(r"\s*<[\w.]+( object)? at 0x[0-9a-fA-F]+>")  # of Python's default repr
PATH_IN_TEXT = re.compile(r"(?:(?<=[\s=\[({,'\"])|^)(?:file://|~?/|[A-Za-z]:[\\/])[^\s,'\"\])}]*")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Format a count with its noun, e.g. "1 run", "2,000 runs".

    Args:
        plural: Plural of the noun, if an "s" at the end is not enough.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def join_first(names: Sequence[object], most: int = NUM_NAMED) -> str:
    """Join the first `most` names with commas; an ellipsis stands for the rest."""
    more = ", ..." if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def format_duration(seconds: float) -> str:
    """Format a time, e.g. "3 h 20 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def format_bytes(num_bytes: float) -> str:
    """Format a number of bytes, e.g. "1.4 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def format_space(needed: float, free: float, of: str) -> str:
    """Format the bytes needed with those that are free, of which object stores tell nothing."""
    return format_bytes(needed) + ("" if free == math.inf else of.format(format_bytes(free)))


def text_table(rows: Mapping[str, str]) -> str:
    """Format names and values as two columns between rules."""
    width = max(map(len, rows))
    rule = "-" * min(width + 2 + max(map(len, rows.values())), MAX_RULE)
    return "\n".join([rule, *(f"{key:<{width}}  {value}" for key, value in rows.items()), rule])


def escape_markdown(text: str) -> str:
    """Escape a text for one line of Markdown or a terminal: no markup, links or HTML."""
    return TAG.sub("&lt;", _escape(text, MARKDOWN))


def escape_latex(text: str) -> str:
    """Escape a text for one line of LaTeX: no commands."""
    return _escape(text, LATEX)


def one_line(text: str) -> str:
    """Return a text as one line, blanks kept, without the control codes of a terminal."""
    return CONTROL.sub("", text.replace("\n", " ").replace("\r", " "))


def reason_of(error: BaseException) -> str:
    """Return what an error says, in one line without Python's object addresses.

    The name of its class, if it says nothing.
    """
    return " ".join(OBJECT.sub("", str(error)).split()) or type(error).__name__


def without_paths(text: str) -> str:
    """Cut absolute paths in a text down to their last part: folder names are private.

    URLs stay as they are.
    """
    return PATH_IN_TEXT.sub(lambda match: _last_part(match[0]), text)


def command_without_paths(command: str) -> str:
    """Cut absolute paths in a command line as `without_paths` does, those with blanks too."""
    return shlex.join(map(_word_without_paths, shlex.split(command)))


def _word_without_paths(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        return _last_part(word) if ABSOLUTE.match(word) else word
    return f"{key}={_last_part(value) if ABSOLUTE.match(value) else without_paths(value)}"


def values_without_paths(value: Any) -> Any:
    """Cut absolute paths in JSON-like values down to their last part, at any depth."""
    if isinstance(value, dict):
        return {key: values_without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [values_without_paths(item) for item in value]
    return _last_part(value) if isinstance(value, str) and ABSOLUTE.match(value) else value


def key_of(override: str) -> str:
    """Return the key of an override, such as "seed" of "++seed=1"."""
    return override.partition("=")[0].lstrip("+~")


def _escape(text: str, table: dict[str, str]) -> str:
    line = " ".join(CONTROL.sub("", text).split())
    return "".join(table.get(character, character) for character in line)


def _last_part(path: str) -> str:
    return PurePath(path.replace("\\", "/")).name

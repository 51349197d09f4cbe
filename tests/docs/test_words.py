"""The project's words: what the left column of the style guide bans is nowhere written."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import ROOT

# Banned, and what to write.
BANNED = {
    "pictures?": "image",
    "(re)?draw(s|n|ing|ings)?|(re)?drew": "generate; plot, for a figure",
    "came": "got",
    "mend(s|ed|ing)?": "fix",
    "anew": "again",
    "besides?": "next to",
    "rooms?": "stage",
    "others": "other ...",
    "alone": "only",
}
BEFORE, AFTER = r"(?<![A-Za-z])", r"(?![A-Za-z])"
WORD = re.compile(f"{BEFORE}({'|'.join(BANNED)}){AFTER}", re.IGNORECASE)
SUFFIXES = {".py", ".yaml", ".md", ".sh", ".css", ".toml", ".yml"}
PLACES = ("sip", "conf", "docs", "tests", "experiments", "README.md", "CONTRIBUTING.md", "Makefile")
# Where a word means something else: file or folder -> regular expression of what may stay.
ALLOWED: dict[str, str] = {}


RESULTS = re.compile(  # written by a program when it was run, and kept as they were
    r"experiments/.*/(table|combinations|diversity|faults|\w+_cpu)\.md|(stack|miniature)/README\.md"
)


def files() -> Iterator[Path]:
    """Yield the project's own texts, without results."""
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if RESULTS.search(file.as_posix()) is None and (
                file.suffix in SUFFIXES or file == path
            ):
                yield file


def offences(file: Path) -> list[str]:
    """Return the lines of a file with a banned word, as `path:number: word`."""
    name = file.relative_to(ROOT).as_posix()
    allowed = [pattern for place, pattern in ALLOWED.items() if name.startswith(place)]
    lines = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        for pattern in allowed:
            line = re.sub(pattern, "", line)
        lines += [f"{name}:{number}: {match[1]}" for match in WORD.finditer(line)]
    return lines


def test_banned_words() -> None:
    assert [line for file in files() for line in offences(file)] == []

"""The project's words: what the left column of the style guide bans is not written."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import ROOT

# Banned everywhere, and what to write.
BANNED = {
    "pictures?": "image",
    "(re)?draw(s|n|ing|ings)?|(re)?drew": "generate; plot, for a figure",
    "came": "got",
    "mend(s|ed|ing)?": "fix",
    "anew": "again",
    "besides?": "next to",
    "rooms?": "stage",
    "rivals?": "baseline",
}
# Banned in texts for readers; in code they are plain English, and names of variables.
IN_TEXTS = {"others": "other ...", "alone": "only"}
TEXTS = ("docs", "conf", "experiments", "README.md", "CONTRIBUTING.md", "Makefile")
BEFORE, AFTER = r"(?<![A-Za-z])", r"(?![A-Za-z])"
SUFFIXES = {".py", ".yaml", ".md", ".sh", ".css"}
PLACES = (*TEXTS, "sip", "tests")
# File or folder -> regular expression of what may stay there, and why.
ALLOWED = {
    "": r"(make|making|leaves?|leaving) room|ImageDraw(\.Draw)?|data\.draw",  # Pillow, Hypothesis
    "tests/core": r"draw_text",
    "sip/core": r"draw_text|Draw one line of text|Draw the pairs",  # letters and cells of a sheet
    "sip/dataset/digits.py": r"drawn once with a fixed seed",  # random numbers
    "sip/dataset/labels.py": r"pictures",  # a folder's name that users have
    "sip/metrics/confusion.py": r"_draw",  # a figure
    "sip/prompts/alia_like.py": r"beside",  # a preposition in captions
    "sip/stack": r"draw_text|a picture|Rows to draw batches from",  # sheets; captions; randomness
    "sip/tables": r"(?i)_?draw(n|s)?(_\w+)?",  # figures, and the bootstrap's random draws
    "tests/stack": r"a picture|draws random numbers",  # captions; randomness
    "tests/store/test_model.py": r"data\.draw",  # of hypothesis
    "tests/tables": r"(?i)_?draw(s)?(_\w+)?",  # figures and random draws
    "tests/docs/test_words.py": r".*",
}
# Place -> number of words that are still to be replaced; none may be added.
PENDING: dict[str, int] = {}


def files() -> Iterator[Path]:
    """Yield the project's own texts."""
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.suffix in SUFFIXES or file == path:
                yield file


def offences(file: Path) -> list[str]:
    """Return the lines of a file with a banned word, as `path:number: word`."""
    name = file.relative_to(ROOT).as_posix()
    allowed = [pattern for place, pattern in ALLOWED.items() if name.startswith(place)]
    words = [*BANNED, *(IN_TEXTS if name.startswith(TEXTS) else ())]
    word = re.compile(f"{BEFORE}({'|'.join(words)}){AFTER}", re.IGNORECASE)
    found = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        for pattern in allowed:
            line = re.sub(pattern, "", line)
        found += [f"{name}:{number}: {match[1]}" for match in word.finditer(line)]
    return found


def place_of(name: str) -> str:
    """Return the folder of a file, two deep: "tests/images"."""
    return "/".join(name.split("/")[:2])


def test_banned_words() -> None:
    found = [line for file in files() for line in offences(file)]
    counts = Counter(place_of(line.split(":")[0]) for line in found)
    new = [line for line in found if counts[place := place_of(line.split(":")[0])]
           > PENDING.get(place, 0)]  # fmt: skip
    assert new == []


def test_a_banned_word_is_found(tmp_path: Path) -> None:
    file = ROOT / "docs" / "index.md"
    assert offences(file) == []
    word = re.compile(f"{BEFORE}({'|'.join(BANNED)}){AFTER}", re.IGNORECASE)
    for text in ("a drawn picture", "num_drawn", "Rooms", "it came", "mended", "beside"):
        assert word.search(text), text
    assert not word.search("withdraw, outcame, bedroom, pictured")


def test_an_argument_is_named_in_its_description() -> None:
    fragment = re.compile(r"^\s+\w+(, \w+)*: (Of|That) (?!any|several)", re.MULTILINE)
    files = sorted((ROOT / "sip").rglob("*.py"))
    assert [file.name for file in files if fragment.search(file.read_text())] == []
    assert fragment.search("\n    folder: Of the run.")

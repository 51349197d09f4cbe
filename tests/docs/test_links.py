"""Links and paths in the texts lead to files of the repository, also without the built site."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, FENCE, PAGES, ROOT, hook

TEXTS = [
    *(ROOT / name for name in ("CHANGELOG.md",)),
    *PAGES,
    *sorted((ROOT / "experiments").rglob("*.md")),
    *sorted((ROOT / "sip").rglob("*.md")),
    *sorted(DOCS.rglob("*.ipynb")),
]
LINK = re.compile(r"\[[^\]]*\]\((?P<to>[^)\s#]*)(?:#(?P<anchor>[^)\s]*))?\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
PATH = re.compile(r"`((?:sip|conf|tests|docs|experiments)/[\w./-]*)`")

EXAMPLES = {  # files that a reader writes, and a folder of the wheel
    *("sip/captions/brightness.py", "conf/captions/brightness.yaml", "sip/conf"),
    "tests/captions/test_brightness.py",
}


def text_of(file: Path) -> str:
    """Return the Markdown of a page or a notebook, without its code blocks."""
    text = file.read_text()
    if file.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return FENCE.sub("", text)


def slug(heading: str) -> str:
    """Return a heading's anchor, as GitHub and mkdocs make it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain).strip())


def anchors(file: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    return set(map(slug, HEADING.findall(text_of(file))))


def broken(file: Path, text: str) -> Iterator[str]:
    """Yield the relative links of a text that lead nowhere."""
    for match in LINK.finditer(text):
        if ":" in match["to"]:
            continue
        target = (file.parent / match["to"]).resolve() if match["to"] else file
        is_there = target.exists() and target.is_relative_to(ROOT)
        if not is_there or (match["anchor"] and match["anchor"] not in anchors(target)):
            yield match[0]


def test_links_lead_to_files_and_headings() -> None:
    found = {file.relative_to(ROOT): list(broken(file, text_of(file))) for file in TEXTS}
    assert {name: links for name, links in found.items() if links} == {}


def test_a_dead_link_is_found() -> None:
    text = "[a](install.md#extras) [b](configuration/images.md) [c](install.md#nothing) [d](/etc)"
    assert len(list(broken(DOCS / "index.md", text))) == 3


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_paths_exist(file: Path) -> None:
    named = set(PATH.findall(text_of(file))) - EXAMPLES
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_page_on_architecture_has_every_package() -> None:
    text = text_of(DOCS / "architecture.md")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    folders = {path.parent.name for path in (ROOT / "sip").glob("*/__init__.py")}
    assert named - {path.name for path in (ROOT / "sip").iterdir()} == set()
    assert folders <= named


def test_links_on_the_site() -> None:
    rewritten = hook("links").links_to_pages
    text = "[o](../conf/images) [e](../experiments/claims.md#x) [c](../sip/miniature/README.md)"
    assert rewritten(text, "results.md") == (
        "[o](configuration/images.md) [e](experiments/claims.md#x) c (`sip/miniature/README.md`)"
    )
    text = "[a](../../docs/scale.md) [n](../../docs/notebooks/read_a_run.ipynb) [t](table.md)"
    assert rewritten(text, "experiments/gpu/README.md") == (
        "[a](../../scale.md) [n](../../notebooks/read_a_run.md) [t](table.md)"
    )
    assert rewritten("[d](docs/index.md) [l](LICENSE)", "contributing.md") == (
        "[d](index.md) l (`LICENSE`)"
    )


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("git@git.example:a/b.git", "https://git.example/a/b"),
        ("https://user:secret@git.example/a/b.git", "https://git.example/a/b"),
        ("/srv/b", None),
        ("", None),
    ],
)
def test_the_source_code_is_linked_without_a_key(address: str, page: str | None) -> None:
    assert hook("links").web_address(address) == page

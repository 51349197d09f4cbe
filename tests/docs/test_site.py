"""The documentation builds strictly without network, and no page asks another host for anything."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlparse

import pytest

from tests.docs.pages import ROOT, hook
from tests.report import chromium

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None,
    reason="mkdocs-material is not installed: pip install -e '.[docs]'",
)
PLAIN_LINKS = {"canonical", "prev", "next", "author", "license", "alternate"}  # not fetched
FETCHED = ("src", "srcset", "poster", "data", "background")
CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Fetches(HTMLParser):
    """Collects what a browser fetches for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.classes |= set(values.get("class", "").split())
        self.urls += [values[key] for key in FETCHED if key in values]
        if tag == "link" and not set(values.get("rel", "").split()) <= PLAIN_LINKS:
            self.urls.append(values.get("href", ""))
        self.urls += css_urls(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.get_starttag_text() == "<style>":
            self.urls += css_urls(data)


def css_urls(text: str) -> list[str]:
    """Return what a style sheet fetches."""
    return [first or second for first, second in CSS_URL.findall(text)]


def is_elsewhere(url: str) -> bool:
    """Return whether a browser would ask another host for it."""
    parsed = urlparse(url)
    return bool(parsed.netloc) or parsed.scheme not in ("", "data")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the pages, built as `make docs` does, with every way out closed."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[str, Fetches]]:
    """Yield every page's place and what it fetches."""
    for file in sorted(site.rglob("*.html")):
        found = Fetches()
        found.feed(file.read_text())
        yield file.relative_to(site).as_posix(), found


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    read = 0
    for name, page in pages(site):
        assert [url for url in page.urls if is_elsewhere(url)] == [], name
        assert "mermaid" not in page.classes  # the theme would get a library for it
        read += len(page.urls)
    assert read > 100
    for file in site.rglob("*.css"):
        assert [url for url in css_urls(file.read_text()) if is_elsewhere(url)] == [], file


def test_the_check_sees_what_it_should() -> None:
    page = Fetches()
    page.feed(
        '<link rel=stylesheet href="https://a.example/x.css"><img src="//b.example/y.png">'
        "<style>@import 'https://c.example/z.css';</style><link rel=next href=https://d.example>"
        '<script src="x.js"></script><a href="https://e.example">e</a><img src="data:image/png,x">'
    )
    hosts = [urlparse(url).netloc for url in page.urls if is_elsewhere(url)]
    assert hosts == ["a.example", "b.example", "c.example"]


def test_all_pages_are_there(site: Path) -> None:
    groups = hook("conf_pages").groups()
    assert {"dataset", "captions", "prompts", "images", "augmentation", "sweep"} <= set(groups)
    for name in [
        *(f"configuration/{group}" for group in groups),
        "notebooks/read_a_run",
        "notebooks/ten_images",
    ]:
        assert (site / f"{name}.html").is_file(), name
    assert (site / "notebooks" / "read_a_run.ipynb").is_file()
    assert not list(site.rglob("*.py"))
    start = (site / "index.html").read_text()
    assert all(f'href="configuration/{group}.html"' in start for group in groups)
    images = (site / "configuration" / "images.html").read_text()
    assert "ddim | euler" in images  # the YAML's comment
    assert "Part of the trajectory that is guided, [low, high]" in images  # the docstring


@pytest.mark.skipif(chromium.find() is None, reason="there is no Chromium")
def test_pages_in_a_browser_on_a_phone(site: Path, tmp_path: Path) -> None:
    browser = chromium.Browser(tmp_path / "profile")
    try:
        for name in ("index", "configuration/images", "extend/captioner"):
            browser.open(site / f"{name}.html", 390)
            assert browser.run("document.documentElement.scrollWidth") <= 390, name
            assert len(browser.requests) > 3
            assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    finally:
        browser.close()

"""The studio in a browser: all three tabs, keys and phones; no other host is asked for anything.

Needs Chromium (Debian: `apt-get install chromium`).
"""

import csv
import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from sip.core.errors import UserError
from sip.filter.review import read_review
from sip.studio.page import launch
from sip.studio.settings import Settings
from tests.api.conftest import digit
from tests.report.chromium import Browser, find

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find() is None, reason="there is no Chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),  # Gradio's server leaves sockets and loops open
]
TIMEOUT = 60.0  # s


@pytest.fixture
def studio(settings: Settings, folders: list[Path]) -> Iterator[Any]:
    """A studio with runs of its own, on a port that is free."""
    own = Settings(settings.profile, settings.store, folders[0].parent, settings.overrides)
    blocks = launch(own, "127.0.0.1", None, open_browser=False, wait=False)
    yield blocks
    blocks.close()
    del blocks
    gc.collect()  # here, where its warnings are ignored


class Page:
    """A browser, driven as a person does.

    Args:
        browser: Shows the studio.
    """

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def wait(self, expression: str) -> Any:
        """Return what an expression gives as soon as it is true."""
        end = time.monotonic() + TIMEOUT
        while not (value := self.browser.run(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.1)
        return value

    def click(self, selector: str, text: str = "") -> None:
        """Click the middle of the visible element with a text."""
        element = f"[...document.querySelectorAll({selector!r})].find((e) => e.offsetParent"
        element += f" !== null && e.textContent.includes({text!r}))"
        self.wait(f"{element} !== undefined")
        self.browser.run(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.browser.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"({element}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.browser(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left",
                clickCount=1,
            )  # fmt: skip

    def tab(self, name: str) -> None:
        self.click("button[role=tab]", name)

    def choose(self, dropdown: str, number: int) -> None:
        """Choose an option of a dropdown by its place."""
        num = "document.querySelectorAll('ul[role=listbox] li').length"
        end = time.monotonic() + TIMEOUT
        while self.browser.run(num) <= number:  # an update of the list may close it
            assert time.monotonic() < end, f"never open: {dropdown}"
            self.browser.run("document.activeElement.blur()")
            self.click(f"{dropdown} input")
            time.sleep(0.5)
        self.click(f"ul[role=listbox] li:nth-child({number + 1})")

    def upload(self, selector: str, file: Path) -> None:
        root = self.browser("DOM.getDocument")["root"]["nodeId"]
        node = self.browser("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.browser("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def press(self, key: str) -> None:
        self.browser.run("document.activeElement.blur()")
        self.browser.press(key, ord(key.upper()))

    def fits(self) -> bool:
        """Return whether nothing is wider than the window."""
        return bool(self.browser.run("document.documentElement.scrollWidth <= window.innerWidth"))


def figures(place: str) -> str:
    return f"document.querySelectorAll('{place} figure img').length"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_visit_to_all_three_tabs(
    width: int, studio: Any, folders: list[Path], tmp_path: Path
) -> None:
    digit(13).save(tmp_path / "three.png")
    browser = Browser(tmp_path / "profile")
    try:
        page = Page(browser)
        browser.open(studio.local_url, width)
        page.wait("document.querySelector('#try-generate') !== null")
        try_it(page, tmp_path / "three.png")
        review(page, folders)
        compare(page, folders)
        hosts = {urlparse(url).netloc for url in browser.requests if url.startswith("http")}
        assert hosts == {urlparse(studio.local_url).netloc}
    finally:
        browser.close()


def try_it(page: Page, file: Path) -> None:
    page.upload("#try-image input[type=file]", file)
    page.wait("document.querySelector('#try-image img') !== null")
    page.click("#try-generate", "Generate")
    error = "document.querySelector('#try-error').innerText"
    page.wait(f"{error}.includes('label: must be the class in words')")
    page.click("#try-label textarea, #try-label input")
    page.browser("Input.insertText", text="three")
    page.click("#try-generate", "Generate")
    page.wait(f"{figures('#try-images')} === 2")
    page.wait(f"{error}.trim() === ''")
    assert page.browser.run("document.querySelectorAll('#try-candidates tbody tr').length") > 1
    page.choose("#try-layout", 2)
    page.click("#try-generate", "Generate")
    page.wait(f"{figures('#try-images')} === 6")
    page.click("button", "Copy as command or YAML")
    command = "(document.querySelector('#try-command textarea')?.value ?? '')"
    page.wait(f"{command}.startsWith('python -m sip.generate ')")
    assert "prompts=table" in page.browser.run(command) and page.fits()


def review(page: Page, folders: list[Path]) -> None:
    page.tab("Review")
    page.choose("#review-run", 0)
    page.wait(f"{figures('#review-pair')} === 2")
    counts = "document.querySelector('#review-counts').innerText"
    for key, num in (("A", 0), ("r", 1), ("u", 0), ("r", 1)):  # one with Caps Lock
        page.press(key)
        page.wait(f"{counts}.includes('1 accepted, {num} rejected')")
    for _ in range(3):  # faster than the answers
        page.press("a")
    page.wait(f"{counts}.includes('4 accepted, 1 rejected')")
    found = [folder for folder in folders if (folder / "review.csv").exists()]
    assert len(found) == 1
    decisions = list(read_review(found[0] / "review.csv").values())
    assert decisions == ["accept", "reject", "accept", "accept", "accept"]
    page.click("#review-cut", "Reject undecided")  # without a threshold
    page.wait("document.body.innerText.includes('threshold: must be a number, got none')")
    assert page.fits()


def compare(page: Page, folders: list[Path]) -> None:
    page.tab("Compare")
    page.choose("#compare-runs", 0)
    page.choose("#compare-runs", 1)
    page.browser.press("Escape", 27)
    page.click("#compare-start", "Start")
    page.wait(f"{figures('#compare-trial')} === 3")
    shown = page.browser.run("document.querySelector('#compare-trial').innerHTML")
    assert not [folder.name for folder in folders if folder.name in shown]
    for number, key in enumerate("1212"):
        page.press(key)
        page.wait(f"document.querySelector('#compare-trial').innerText.includes('{5 - number} to')")
    with (folders[0].parent / "comparisons.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sides = [row["left_run"] == row["chosen_run"] for row in rows]
    assert sides == [True, False, True, False]
    page.click("button", "Table of the answers")
    page.wait("document.querySelectorAll('#compare-table tbody tr').length === 1")
    assert page.fits()
    page.tab("Side by side")
    page.wait(f"{figures('#compare-rows')} === 18")
    assert page.fits()


def test_a_port_that_is_taken_is_one_line(studio: Any, settings: Settings) -> None:
    port = urlparse(studio.local_url).port
    with pytest.raises(UserError, match=f"^port: must be free on 127.0.0.1, got {port}, which"):
        launch(settings, "127.0.0.1", port, open_browser=False, wait=False)


def test_no_file_of_the_machine_is_served(studio: Any, folders: list[Path]) -> None:
    import requests

    file = folders[0] / "summary.json"
    for path in (file, Path("/etc/hostname")):
        answer = requests.get(f"{studio.local_url}gradio_api/file={path}", timeout=20)
        assert answer.status_code in (403, 404)

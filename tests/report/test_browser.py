"""The page in a browser: no error, no request; filter, click and keys work; phones are wide enough.

Needs Chromium (Debian: `apt-get install chromium`).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.chromium import Browser, find
from tests.report.conftest import write_page
from tests.report.made_up import CAPTION, HARM, SEED, make_run

pytestmark = pytest.mark.skipif(
    find() is None, reason="needs Chromium; on Debian: apt-get install chromium"
)
PHONE = 390  # px


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def choose(browser: Browser, select: str, value: str) -> None:
    browser.run(
        f"{{ const s = document.getElementById('{select}'); s.value = {value!r};"
        "s.dispatchEvent(new Event('change')) }"
    )


def names(browser: Browser) -> list[str]:
    return browser.run("[...document.querySelectorAll('#cards b')].map((b) => b.textContent)")


def test_it_opens_without_error_and_asks_for_nothing(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    browser.run("new Promise((done) => setTimeout(done, 200))")
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]
    assert browser.run("document.title") == "trial · SIP report"
    assert len(names(browser)) == 10
    assert browser.run("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert browser.run("document.querySelectorAll('.plot .mean').length") == 3
    assert browser.run("document.querySelectorAll('.plot .seed').length") == 9
    assert browser.run("document.querySelector('.plot .mean').getBoundingClientRect().width") > 5
    assert browser.run("document.querySelectorAll('#strip button').length") == 3


def test_filters_and_views_work(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    choose(browser, "by-class", "dog")
    assert names(browser) == ["dog"] * 3
    choose(browser, "by-class", HARM)
    assert names(browser) == [HARM] * 3
    choose(browser, "by-class", "")
    browser.run("document.querySelector('[data-view=\"left out\"]').click()")
    assert browser.run("[...document.querySelectorAll('.badge')].map((b) => b.textContent)") == [
        "failed: black", "rejected: similarity",
    ]  # fmt: skip
    choose(browser, "by-status", "rejected")
    assert len(names(browser)) == 1
    choose(browser, "by-status", "")
    browser.run("document.querySelector('[data-view=worst]').click()")
    numbers = "[...document.querySelectorAll('#cards .words span')].map((s) => s.textContent)"
    assert browser.run(numbers) == ["0.20", "0.21", "0.22"]
    assert browser.errors == []


def test_filters_with_nothing_to_choose_are_hidden(browser: Browser, tmp_path: Path) -> None:
    make_run(tmp_path, "sip", 0)
    browser.open(write_page(tmp_path), 1280)
    visible = "[...document.querySelectorAll('.tools label')].filter((l) => l.offsetParent)"
    assert browser.run(f"{visible}.map((l) => l.querySelector('select').id)") == [
        "by-class", "by-status", "order",
    ]  # fmt: skip


def test_a_click_shows_all_of_a_image_and_keys_go_on(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    choose(browser, "by-class", HARM)
    browser.run("document.querySelector('#cards button').focus()")
    browser.press("Enter", 13)
    told = browser.run("document.getElementById('viewer').innerText")
    for words in (HARM, CAPTION, "1.50", "0.90", "a cow", "−0.100", "(kept)", str(SEED + 1), "4.50",
                  "sip_cutmix2", "original 001", "resnet50 + sip"):  # fmt: skip
        assert words in told
    browser.press("ArrowRight", 39)
    assert str(SEED + 7) in browser.run("document.getElementById('viewer').innerText")
    browser.press("ArrowLeft", 37)
    assert str(SEED + 1) in browser.run("document.getElementById('viewer').innerText")
    browser.press("Escape", 27)
    assert browser.run("document.getElementById('viewer').open") is False
    assert browser.run("document.activeElement.className") == "card"  # the focus is back
    browser.run("document.querySelector('#strip button').click()")
    assert browser.run("document.getElementById('viewer').open") is True
    assert browser.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, page: Path, scheme: str
) -> None:
    browser.open(page, PHONE, 844, scheme)
    assert browser.run("document.documentElement.scrollWidth") == PHONE
    browser.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert browser.run("document.documentElement.scrollWidth") == PHONE
    browser.run("document.querySelector('#cards button').click()")
    assert browser.run("viewer.scrollWidth <= viewer.clientWidth")
    assert browser.run("parseFloat(getComputedStyle(document.body).fontSize)") >= 16
    buttons = "[...document.querySelectorAll('.views button, select, #close')]"
    heights = f"{buttons}.filter((b) => b.offsetParent).map((b) => b.offsetHeight)"
    assert min(browser.run(heights)) >= 40  # for fingers
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(250, 248, 244)", "dark": "rgb(21, 23, 27)"}[scheme]
    browser.run("document.getElementById('theme').click()")
    assert browser.run("getComputedStyle(document.body).backgroundColor") != paper
    assert browser.errors == []


def test_a_page_without_images_has_no_error_either(browser: Browser, tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0)
    browser.open(write_page(tmp_path), PHONE)
    browser.run("document.getElementById('theme').click()")
    assert browser.errors == []
    assert browser.run("document.querySelector('tbody th').textContent") == "none"

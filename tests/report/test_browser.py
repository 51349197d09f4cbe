"""The page in a browser: no error, no request; filter, click and keys work; phones are wide enough.

Needs Chromium (Debian: `apt-get install chromium`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.chromium import Browser, find
from tests.report.conftest import write_page
from tests.report.made_up import CAPTION, HARM, SEED, make_run, make_sweep

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
    assert names(browser) == [HARM, f"dog to {HARM}", HARM]
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
    text = browser.run("document.getElementById('viewer').innerText")
    for words in (HARM, CAPTION, "1.50", "0.90", "a cow", "−0.100", "(kept)", str(SEED + 1), "4.50",
                  "sip_cutmix2", "original 001", "resnet50 + sip"):  # fmt: skip
        assert words in text
    browser.press("ArrowRight", 39)
    text = browser.run("document.getElementById('viewer').innerText")
    for words in (str(SEED + 7), f"dog to {HARM}", f"0.75 {HARM}, 0.25 dog"):
        assert words in text
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
    assert browser.run("document.querySelector('tbody th').textContent") == "none (reference)"


# Elements wider than their box. Phones hide heads of tables; long names end in an ellipsis.
TOO_WIDE = """[...document.querySelectorAll('body, body *')].filter((e) =>
  e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1 && e.getClientRects().length
  && getComputedStyle(e).display !== 'inline' && !e.closest('svg')
  && getComputedStyle(e).textOverflow !== 'ellipsis')
  .map((e) => `${e.tagName}.${e.className} ${e.scrollWidth} > ${e.clientWidth} ${e.innerText}`)"""
OUTSIDE = """[...document.querySelectorAll('.plot circle')].filter((c) => {
  const box = c.getBoundingClientRect(), plot = c.closest('svg').getBoundingClientRect();
  return box.width < 4 || box.left < plot.left - 1 || box.right > plot.right + 1 }).length"""


@pytest.fixture(scope="module")
def sweep_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a noise rate x guidance sweep with one run that diverged."""
    root = tmp_path_factory.mktemp("sweep")
    runs = make_sweep(root)
    summary = sorted(runs.iterdir())[-1] / "summary.json"
    summary.write_text(
        re.sub(r'"test_accuracy": [\d.]+', '"test_accuracy": NaN', summary.read_text())
    )
    return write_page(root, "experiment=nxg")


@pytest.mark.parametrize("width", [1280, PHONE])
@pytest.mark.parametrize("which", ["page", "sweep_page"])
def test_nothing_is_wider_than_its_box_and_all_seeds_are_seen(
    browser: Browser, request: pytest.FixtureRequest, which: str, width: int
) -> None:
    browser.open(request.getfixturevalue(which), width)
    browser.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert browser.run(TOO_WIDE) == []
    assert browser.run("document.documentElement.scrollWidth") == width
    num_seeds = {"page": 9, "sweep_page": 11}[which]  # one of twelve diverged
    assert browser.run("document.querySelectorAll('.plot .seed').length") == num_seeds
    assert browser.run(OUTSIDE) == 0
    plots = "[...document.querySelectorAll('tbody .plot')].map((p) => p.clientWidth)"
    assert min(browser.run(plots)) > 250


def test_a_sweep_is_readable(browser: Browser, sweep_page: Path) -> None:
    browser.open(sweep_page, 1280)
    heads = "[...document.querySelectorAll('.results tbody th')]"
    rows = browser.run(f"{heads}.map((t) => t.innerText)")
    assert rows == [
        "noise rate 0.3, guidance constant 7.5 (reference)",
        "noise rate 0.3, guidance quadratic",
        "noise rate 0.7, guidance constant 7.5",
        "noise rate 0.7, guidance quadratic",
    ]
    assert "class" not in " ".join(rows) and "sip." not in " ".join(rows)
    callouts = browser.run("[...document.querySelectorAll('.callout')].map((c) => c.innerText)")
    assert "augmentation=none" in callouts[0] and "seed=0,1,2" in callouts[0]
    assert "DIVERGED" in callouts[1].upper() and "seed 2" in callouts[1]
    charts = "document.querySelectorAll('#curves .chart').length"
    assert browser.run(charts) == 4
    assert browser.run("document.querySelectorAll('#curves polyline').length") == 4 * 2 * 3 + 3 * 2
    counts = "[...document.querySelectorAll('.confusion')[0].querySelectorAll('tbody td')]"
    cells = browser.run(f"{counts}.map((c) => Number(c.innerText))")
    assert len(cells) == 9 and sum(cells) == 36 and cells[0] + cells[4] + cells[8] == 27
    assert cells[1] > 0 and cells[3] == 0  # rows are true classes
    weights = browser.run(f"{heads}.map((t) => getComputedStyle(t).fontWeight)")
    assert {*weights} == {"500"}  # bold is for significant differences
    assert browser.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Browser, sweep_page: Path, scheme: str) -> None:
    browser.open(sweep_page, 1280, scheme=scheme)
    pairs = browser.run(CONTRAST)
    assert len(pairs) > 100
    for text, ink, paper in pairs:
        assert contrast(ink, paper) >= 3.5, (text, ink, paper)


CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const behind = (e) => { for (; e; e = e.parentElement) {
    const colour = rgba(getComputedStyle(e).backgroundColor);
    if (colour[3] === 255) return colour; }
    return [255, 255, 255, 255]; };
  return [...document.querySelectorAll('main *, header *')].filter((e) => e.getClientRects().length
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .map((e) => [e.textContent.slice(0, 40), rgba(getComputedStyle(e).color), behind(e)]);
})()"""


def contrast(one: list[int], other: list[int]) -> float:
    """Return the contrast of two colours as WCAG 2 defines it, 1 to 21."""
    luminance = []
    for colour in (one, other):
        linear = [(c / 255 + 0.055) / 1.055 for c in colour[:3]]
        red, green, blue = [c**2.4 for c in linear]
        luminance.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(luminance) + 0.05) / (min(luminance) + 0.05)

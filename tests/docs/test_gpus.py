"""The table of GPUs agrees with what the heads of the YAMLs say of each model's memory."""

import re

import pytest

from sip.config.options import read_choice
from tests.docs.pages import ROOT, hook

conf_pages = hook("conf_pages")
CONF = ROOT / "conf" / "images"
REST = 2.0  # GB next to the weights
INT8 = 0.55  # of their 16 bits: all but the autoencoder, convolutions and embeddings, and scales


def weights() -> dict[str, float]:
    """Return the GB of weights of each model that has a head."""
    found = {}
    for file in CONF.glob("*.yaml"):
        facts = conf_pages.facts_of(read_choice(file, "images").header)
        if facts:
            found[file.stem] = float(facts["GPU memory"].partition(" GB")[0])
    return found


def licences() -> dict[str, str]:
    """Return the licence of each model that has a head, without that of an adapter."""
    heads = {file.stem: read_choice(file, "images").header for file in CONF.glob("*.yaml")}
    facts = {name: conf_pages.facts_of(head) for name, head in heads.items()}
    return {n: re.split("[;,]", f["Licence"])[0] for n, f in facts.items() if f}


def rows() -> list[tuple[float, list[str], list[str], list[str]]]:
    """Return the GB of each GPU, and the models in its three cells."""
    page = (ROOT / "docs" / "costs.md").read_text()
    section = page.partition("## Which model for my GPU")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (\d+) GB \|(.*)\|(.*)\|(.*)\|$", section, re.MULTILINE)
    return [
        (float(size), *(re.findall(r"`(\w+)`", cell) for cell in cells)) for size, *cells in lines
    ]


def seconds() -> dict[str, float]:
    """Return the seconds of an image by each model, of the table above."""
    page = (ROOT / "docs" / "costs.md").read_text()
    return {n: float(s) for n, s in re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \|$", page, re.M)}


def test_a_gpu_starts_with_a_fast_model_that_fits_and_may_be_used_commercially() -> None:
    taken: set[str] = set()
    for _, first, whole, _ in rows():
        taken |= set(whole)
        for name in first:
            assert name in taken and seconds()[name] < 3
            assert not re.search("non-commercial|page", licences()[name])


def test_each_scorer_is_listed_with_the_licence_of_its_head() -> None:
    page = (ROOT / "docs" / "captions.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| [\d.]+ B \| (.*) \|$", page, re.MULTILINE))
    for file in (ROOT / "conf" / "scores").glob("*.yaml"):
        head = read_choice(file, "scores").header
        stated = re.search(r"Licence: ([\w.-]*\w)", head)
        assert file.stem in listed or file.stem == "clip"
        assert stated is None or listed[file.stem].startswith(stated[1])


@pytest.mark.parametrize("column", [2, 3])
def test_each_model_is_listed_at_the_smallest_gpu_that_takes_it(column: int) -> None:
    part = INT8 if column == 3 else 1.0
    sizes = [row[0] for row in rows()]
    assert sizes == [8, 12, 16, 24, 48, 80]
    placed = {name: row[0] for row in rows() for name in row[column]}
    fitting = {
        name: next(size for size in sizes if gigabytes * part + REST <= size)
        for name, gigabytes in weights().items()
    }
    if column == 2:
        assert placed == fitting
    else:  # those for which it makes a difference; editors are not quantised
        whole = {name: row[0] for row in rows() for name in row[2]}
        helped = {name for name in fitting if fitting[name] < whole[name]}
        assert placed == {n: fitting[n] for n in helped if not n.startswith("edit")}


def test_each_model_is_listed_under_its_licence() -> None:
    page = (ROOT / "docs" / "costs.md").read_text()
    table = page.partition("| licence of the weights |")[2].partition("\n\n")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    listed = {n: line[0] for line in lines for n in re.findall(r"`(\w+)`", line[2])}
    assert listed == licences()

"""The pages on the configuration say what conf and the docstrings say, all of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, hook

CONF = ROOT / "conf"
conf_pages, source_docs, yaml_options = map(hook, ("conf_pages", "source_docs", "yaml_options"))
FILES = sorted(file for file in CONF.rglob("*.yaml") if file.parent.parent.name != "hydra")

MADE_UP = """\
# @package room
# What it is,
# in two lines.
defaults:
  - other
  - _self_
  - override /captions@_global_.captions: blip
  - override hydra/help: toy
  - metrics: [one, two]

_target_: sip.room.Thing
plain: 5  # a number >= 1
text: "a # in it"   # and one behind
empty:    # nothing
flow: [0, {a: 1}]   # part of it
long: >-
  words that
  go on
rows:   # two
  - one
  - "{label}, or so"
block:   # of two
  inner: ${profile.size}   # px
  other: null
names:   # words
  a1: one
  a2: two
  a3: three
  a4: four
  a5: five
  a6: six
  a7: seven
  a8: eight
"""


def test_comments_defaults_and_choices_of_a_yaml(tmp_path: Path) -> None:
    (tmp_path / "thing.yaml").write_text(MADE_UP)
    choice = yaml_options.read_choice(tmp_path / "thing.yaml")
    assert choice.header == "What it is, in two lines."
    assert (choice.package, choice.target) == ("room", "sip.room.Thing")
    assert choice.chooses == ["as `other`", "`captions=blip`", "`metrics=[one, two]`"]
    assert [(one.name, one.default, one.comment) for one in choice.options] == [
        ("plain", "5", "a number >= 1"),
        ("text", '"a # in it"', "and one behind"),
        ("empty", "null", "nothing"),
        ("flow", "[0, {a: 1}]", "part of it"),
        ("long", "words that go on", ""),
        ("rows", "[one, '{label}, or so']", "two"),
        ("block", "", "of two"),
        ("block.inner", "${profile.size}", "px"),
        ("block.other", "null", ""),
        ("names", "{... 8 entries}", "words"),
    ]


def test_groups_of_a_choice_are_named_as_one_types_them() -> None:
    arm = yaml_options.read_choice(CONF / "augmentation" / "sip_cutmix.yaml", "augmentation")
    assert arm.chooses[0] == "`augmentation/offline=sip`"
    offline = CONF / "augmentation" / "offline" / "gif_like.yaml"
    assert yaml_options.read_choice(offline, "augmentation/offline").chooses == [
        "`augmentation/offline/mixing=default`",
        "`augmentation/offline/drawing=gif_like`",
        "`prompts=gif_like`",
        "`filter=guided`",
    ]


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return dotted key -> value."""
    found = {}
    for key, value in values.items():
        inner = isinstance(value, dict) and value
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CONF).as_posix())
def test_no_option_is_left_out_and_every_default_is_the_files(file: Path) -> None:
    values = yaml.safe_load(file.read_text()) or {}
    for key in ("defaults", "_target_", "hydra"):
        values.pop(key, None)
    said = {one.name: one.default for one in yaml_options.read_choice(file).options}
    for name, written in said.items():
        value = select(values, name)
        if "entries}" in written:
            assert written == f"{{... {len(value)} entries}}"
        elif isinstance(value, str) and len(value) > 60:  # folded: no more YAML, the text itself
            assert written.split() == value.split()
        elif written:
            assert yaml.safe_load(written) == value, name
    for name in flat(values):
        above = [name.rsplit(".", num)[0] for num in range(name.count(".") + 1)]
        assert any(said.get(part) for part in above), f"{name} is left out"


def select(values: Any, name: str) -> Any:
    """Return the value of a dotted key."""
    for key in name.split("."):
        values = values[key]
    return values


def test_every_group_choice_and_option_is_on_its_page() -> None:
    pages = conf_pages.pages()
    for file in FILES:
        place = file.parent.relative_to(CONF).as_posix()
        choice = yaml_options.read_choice(file)
        page = pages["index" if place == "." else place.partition("/")[0]]
        if place != ".":
            assert f"`{choice.name}` {{ #{place.replace('/', '-')}-{choice.name} }}" in page
        if choice.package == "_global_":
            assert choice.text.strip() in page
            continue
        prefix = "" if place == "." else f"{choice.package or place.replace('/', '.')}."
        for option in choice.options:
            assert f"| `{prefix}{option.name}` |" in page, f"{file}: {option.name}"


def test_every_group_says_what_it_is_and_how_it_is_chosen() -> None:
    rows = [line.split(" | ") for line in conf_pages.main_page().splitlines() if "](" in line[:40]]
    assert len(rows) == len(conf_pages.groups())
    assert all(len(row[2]) > 10 for row in rows)
    assert "Chosen by `+sweep=NAME`." in conf_pages.group_page("sweep")
    assert "Chosen by `table=NAME`." in conf_pages.group_page("table")
    assert "Chosen by `captions=NAME`, by default `blip`." in conf_pages.group_page("captions")


def test_a_further_choice_of_a_class_says_what_differs() -> None:
    page = conf_pages.group_page("captions")
    beam = page.partition("#captions-blip_beam }")[2].partition("\n## ")[0]
    assert "as [`blip`](#captions-blip)" in beam
    assert "| `captions.sampling` | `beam` |" in beam and "captions.min_tokens" not in beam


@pytest.mark.parametrize(
    ("target", "argument", "file"),
    [
        ("sip.images.txt2img.Txt2Img", "guidance_interval", "images/settings"),  # two classes below
        ("sip.images.diffusemix_like.DiffuseMixLike", "num_steps", "images/settings"),  # "As in"
        ("sip.images.diffusemix_like.DiffuseMixLike", "fractal_weight", "images/diffusemix_like"),
        ("sip.dataset.stanford_dogs.StanfordDogs", "how_to_get", "dataset/listed"),
        ("sip.prompts.label_caption.LabelCaption", "caption_weight", "prompts/label_caption"),
        ("sip.classifier.recipe.Recipe", "layer_decay", "classifier/recipe"),  # a dataclass
    ],
)
def test_arguments_are_explained_as_the_docstrings_do(
    target: str, argument: str, file: str
) -> None:
    said = source_docs.source_of(target).arguments[argument]
    written = " ".join((ROOT / "sip" / f"{file}.py").read_text().split())
    assert f"{argument}: {said}" in written
    assert not said.startswith(("As in", "See")) and said.endswith(".")

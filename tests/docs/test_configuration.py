"""The pages on the configuration say what conf and the docstrings say, all of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sip.config.options import LOADER, read_choice
from tests.docs.pages import ROOT, hook

CONF = ROOT / "conf"
conf_pages, source_docs = map(hook, ("conf_pages", "source_docs"))
FILES = sorted(file for file in CONF.rglob("*.yaml") if "hydra" not in file.parts)
CHOICES = [file for file in FILES if file.parent.name != "_base"]

MADE_UP = """\
# @package stage
# What it is,
# in two lines.
defaults:
  - _self_
  - override /captions@_global_.captions: blip
  - override hydra/help: toy
  - metrics: [one, two]

_target_: sip.stage.Thing
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


PRESET = """\
defaults: [thing, _self_, {override captions: blip_beam}]

empty: 5
flow:
  part: 2   # of one
names: {a1: one}   # fewer
new: 1
"""


def test_comments_defaults_and_choices_of_a_yaml(tmp_path: Path) -> None:
    (tmp_path / "thing.yaml").write_text(MADE_UP)
    choice = read_choice(tmp_path / "thing.yaml")
    assert choice.header == "What it is, in two lines."
    assert (choice.package, choice.target) == ("stage", "sip.stage.Thing")
    assert choice.base is None
    assert choice.chooses == ["`captions=blip`", "`metrics=[one, two]`"]
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


def test_a_preset_has_the_options_of_its_base_with_its_own_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "thing.yaml").write_text(MADE_UP)
    (tmp_path / "preset.yaml").write_text(PRESET)
    (tmp_path / "further.yaml").write_text("defaults: [preset, _self_]\nplain: 6\n")
    preset = read_choice(tmp_path / "preset.yaml")
    further = read_choice(tmp_path / "further.yaml")
    assert (preset.package, preset.target, preset.base) == ("stage", "sip.stage.Thing", "thing")
    assert preset.chooses == ["`captions=blip_beam`", "`metrics=[one, two]`"]
    options = [(one.name, one.default, one.comment, one.base) for one in preset.options]
    assert options[:4] == [
        ("plain", "5", "a number >= 1", "thing"),
        ("text", '"a # in it"', "and one behind", "thing"),
        ("empty", "5", "nothing", ""),
        ("flow", "", "part of it", "thing"),
    ]
    assert options[-3:] == [
        ("names", "{a1: one}", "fewer", ""),
        ("flow.part", "2", "of one", ""),
        ("new", "1", "", ""),
    ]
    assert [one.name for one in preset.own()] == ["empty", "names", "flow.part", "new"]
    bases = {one.name: one.base for one in further.options}
    assert (bases["plain"], bases["empty"], bases["text"]) == ("", "preset", "thing")


def test_groups_of_a_choice_are_named_as_one_types_them() -> None:
    arm = read_choice(CONF / "augmentation" / "sip_cutmix.yaml", "augmentation")
    assert arm.chooses == [
        "`augmentation/offline=sip`",
        "`augmentation/base=none`",
        "`augmentation/sample=none`",
        "`augmentation/mix=cutmix`",
    ]
    offline = CONF / "augmentation" / "offline" / "gif_like.yaml"
    assert read_choice(offline, "augmentation/offline").chooses == [
        "`augmentation/offline/mixing=default`",
        "`augmentation/offline/generation=gif_like`",
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


def test_no_option_is_left_out_and_every_default_is_the_files() -> None:
    for file in FILES:
        values = yaml.load(file.read_text(), LOADER) or {}
        for key in ("defaults", "_target_", "hydra"):
            values.pop(key, None)
        said = {one.name: one.default for one in read_choice(file).own()}
        for name, written in said.items():
            value = select(values, name)
            if "entries}" in written:
                assert written == f"{{... {len(value)} entries}}"
            elif isinstance(value, str) and len(value) > 60:  # folded: the text itself
                assert written.split() == value.split()
            elif written:
                assert yaml.safe_load(written) == value, f"{file}: {name}"
        for name in flat(values):
            above = [name.rsplit(".", num)[0] for num in range(name.count(".") + 1)]
            assert any(said.get(part) for part in above), f"{file}: {name} is left out"


def select(values: Any, name: str) -> Any:
    """Return the value of a dotted key."""
    if name in values:  # a sweep's keys have dots
        return values[name]
    for key in name.split("."):
        values = values[key]
    return values


def test_every_group_choice_and_option_is_on_its_page() -> None:
    pages = conf_pages.pages()
    for file in CHOICES:
        place = file.parent.relative_to(CONF).as_posix()
        choice = read_choice(file)
        page = pages["index" if place == "." else place.partition("/")[0]]
        if place != ".":
            assert f"`{choice.name}` {{ #{place.replace('/', '-')}-{choice.name} }}" in page
        if conf_pages.is_whole(choice):
            assert choice.text.strip() in page
            continue
        prefix = "" if place == "." else f"{choice.package or place.replace('/', '.')}."
        for option in choice.options:
            row = f"| `{prefix}{option.name}` |"
            written = "" if option.base else f" {conf_pages.code(option.default)} |"
            assert row + written in page, f"{file}: {option.name}"


def test_every_group_says_what_it_is_and_how_it_is_chosen() -> None:
    rows = [line.split(" | ") for line in conf_pages.main_page().splitlines() if "](" in line[:40]]
    assert len(rows) == len(conf_pages.groups())
    assert all(len(row[2]) > 10 for row in rows)
    assert "Chosen by `+sweep=NAME`." in conf_pages.group_page("sweep")
    assert "Chosen by `table=NAME`." in conf_pages.group_page("table")
    assert "Chosen by `captions=NAME`, by default `blip`." in conf_pages.group_page("captions")


def part_of(page: str, anchor: str) -> str:
    """Return what a page says of one choice."""
    return page.partition(f"#{anchor} }}")[2].partition("\n## ")[0]


def test_a_further_choice_of_a_class_says_what_differs() -> None:
    page = conf_pages.group_page("captions")
    beam = part_of(page, "captions-blip_beam")
    assert "as [`blip`](#captions-blip)" in beam
    assert "| `captions.sampling` | `beam` |" in beam and "captions.min_tokens" not in beam
    gpu = part_of(conf_pages.group_page("runtime"), "runtime-gpu")
    assert gpu.startswith("\n\nFor a GPU") and "As [`default`](#runtime-default)." in gpu
    assert "| `runtime.device` | `cuda` | auto \\| cpu \\| cuda |" in gpu  # the base's comment
    assert "runtime.tf32" not in gpu


def test_a_preset_with_a_class_of_its_own_lists_what_it_inherits() -> None:
    page = conf_pages.group_page("images")
    preset = part_of(page, "images-diffusemix_like")
    num_steps = next(line for line in preset.splitlines() if "`images.num_steps`" in line)
    assert num_steps.startswith("| `images.num_steps` | `${profile.diffusion.num_steps}` |")
    assert num_steps.endswith("as [`img2img`](#images-img2img) |")
    own = next(line for line in preset.splitlines() if "`images.fractal_weight`" in line)
    assert "img2img" not in own


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


def test_models_are_in_a_table_made_of_their_headers() -> None:
    rows = conf_pages.models_table("images").splitlines()[2:]
    names = {row.split("`")[1] for row in rows}
    assert {"sd15", "sdxl", "sd35_medium", "flux_dev", "z_image_turbo", "qwen_image"} <= names
    (row,) = (row for row in rows if "`flux_dev`" in row)
    assert "| flux-1-dev-non-commercial-license | 16.9 billion, 4.8 of them T5's | 34 GB of" in row
    assert rows == [line for line in conf_pages.group_page("images").splitlines() if line in rows]
    for file in (CONF / "images").glob("*.yaml"):
        has_model = "\nmodel: " in file.read_text() and file.stem not in ("img2img", "auto")
        assert has_model == (file.stem in names), f"{file.stem}: state {conf_pages.FACTS}"
    with pytest.raises(ValueError, match="must state Source, Licence"):
        conf_pages.facts_of("A model. Source: a page. Licence: MIT.")

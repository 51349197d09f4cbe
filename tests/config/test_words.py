"""Words of other libraries get commands that work here; keys that exist are never refused."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import OmegaConf

from sip.config.command import Command
from sip.config.words import MEANINGS, by_meaning, near_names, no_such, with_value
from sip.core.errors import UserError
from sip.core.paths import conf_folder
from tests.composing import composed, initialized

WORDS = [word for words in MEANINGS for word in words.split()]
COMMANDS = {template for meanings in MEANINGS.values() for template in meanings}
CHOICES = {"augmentation": "sip", "logger": "csv", "classifier/schedule": "step"}  # for groups
TOPS = "prompts images classifier backbone dataset runtime trainer profile paths seed augmentation"


@pytest.fixture(scope="module", autouse=True)
def conf() -> Iterator[None]:
    with initialized():
        yield


def command(*arguments: str, name: str = "config") -> Command:
    return Command(conf_folder(), name, list(arguments))


def together() -> list[dict[str, str]]:
    """Return key -> value of all commands, in as few configurations as they fit into."""
    configurations: list[dict[str, str]] = []
    for template in sorted(COMMANDS):
        pairs = dict(part.split("=", 1) for part in template.split(" "))
        pairs = {key: value.replace("{}", CHOICES.get(key, "7")) for key, value in pairs.items()}
        for values in configurations:
            if all(values.get(key, value) == value for key, value in pairs.items()):
                values |= pairs
                break
        else:
            configurations.append(pairs)
    return configurations


@pytest.mark.parametrize("values", together(), ids=lambda values: next(iter(values)))
def test_every_command_composes_and_sets_its_keys(values: dict[str, str]) -> None:
    overrides = [f"{key}={value}" for key, value in values.items()]
    command(*overrides).check()
    config = composed(*overrides)
    groups = {"+exp", *command().groups}
    for key, value in values.items():
        assert key in groups or str(OmegaConf.select(config, key)).lower() == value


def test_no_word_is_a_key_or_twice_in_the_table() -> None:
    assert len({re.sub("[-_]", "", word) for word in WORDS}) == len(WORDS)
    tops = {*composed()} - {"seed", "backbone"}
    assert not tops & set(WORDS)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("guidance_scale=7.5", "prompts/guidance=constant prompts.guidance.scale=7.5"),
        ("images.guidance-scale=7.5", "prompts/guidance=constant prompts.guidance.scale=7.5"),
        ("+CFG=3", "prompts/guidance=constant prompts.guidance.scale=3"),
        ("strength=0.3,0.7", "prompts.noise_rate=0.3,0.7"),
        ("classifier.learning_rate=0.1", "classifier.lr=0.1"),
        ("trainer.max_epochs=90", "classifier.budget=epochs classifier.epochs=90"),
        ("data_dir=/my data", "dataset=image_folder 'dataset.root=/my data'"),
        ("data_dir=/cats, dogs", "dataset=image_folder \"dataset.root='/cats, dogs'\""),
        (
            "steps=9",
            "classifier.steps=9 (of the optimiser) or images.num_steps=9 (of the diffusion",
        ),
        ("accelerator=gpu", "runtime.device=cuda"),
    ],
    ids=str,
)
def test_a_word_of_other_libraries_is_answered(typed: str, answer: str) -> None:
    with pytest.raises(UserError) as error:
        command(typed).check()
    assert str(error.value).startswith(f"{typed}: no such key; write {answer}")


def test_options_as_in_argparse_are_answered() -> None:
    with pytest.raises(UserError, match=r"^--lr=0.1: no such option; .*: classifier.lr=0.1$"):
        command("--lr=0.1").check()
    with pytest.raises(UserError, match=r"^--lrr: no such option; .*: key=value$"):
        command("--lrr", "0.1").check()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (
            "dataset.root=My Holiday Photos seed=1",
            "Holiday: must be key=value; a value with spaces needs quotes around the whole: "
            "'dataset.root=My Holiday Photos'",
        ),
        (
            "dataset.prompt_names={cat: tabby cat}",
            "tabby: must be key=value; a value with spaces needs quotes around the whole: "
            "'dataset.prompt_names={cat: tabby cat}'",
        ),
        ("sip seed=1", "sip: must be key=value; write dataset=image_folder dataset.root=sip"),
        ("no-such seed=1", "no-such: must be key=value; write key=value"),
    ],
)
def test_a_value_that_the_shell_cut_is_named(words: str, answer: str) -> None:
    with pytest.raises(UserError) as error:
        command(*words.split()).check()
    assert str(error.value) == answer
    words = answer.partition("whole: ")[2] or "seed=1"
    (argument,) = shlex.split(words)
    composed("dataset=image_folder", Command.for_hydra(argument))  # what it suggests is accepted


def test_programs_answer_only_with_what_they_have() -> None:
    with pytest.raises(UserError, match="^lr=0.1: no such key; --help lists the groups"):
        command("lr=0.1", name="tables").check()
    with pytest.raises(UserError, match="no such key; write runtime.device=0"):
        command("device=0", name="stack").check()
    with pytest.raises(UserError, match="no such key; write classifier.lr=1"):
        command("lr=1", name="doctor").check()
    assert by_meaning("lr", "1", {"images"}) == by_meaning("what", "1", set(TOPS.split())) == ""


def explained(*overrides: str) -> str:
    """Return what is said of an error that only composing finds."""
    typed = command(*overrides)
    typed.check()
    with pytest.raises(Exception) as error:  # noqa: PT011, kinds of Hydra's
        composed(*overrides)
    return typed.explain(error.value)


def test_a_group_with_dots_is_answered() -> None:
    with pytest.raises(UserError, match="^prompts.guidance=none: .*; write prompts/guidance=none$"):
        command("prompts.guidance=none").check()


@pytest.mark.parametrize(
    ("overrides", "answer"),
    [
        (
            ["prompts.guidance.scale=7.5"],
            "the choice of prompts/guidance in use has no key scale; write "
            "prompts/guidance=constant prompts.guidance.scale=7.5 (or constant_3, constant_5, ",
        ),
        (
            ["augmentation=sip", "images=img2img", "images.choose=nearest"],
            "images=img2img has no key choose; write augmentation=retrieved images.choose=nearest",
        ),
        (
            ["dataset.val_fraction=0.3"],
            "the choice of dataset in use has no key val_fraction; write dataset=",
        ),
        (
            ["backbone=efficientnet_b0"],
            "any other model of timm: backbone=timm backbone.name=efficientnet_b0",
        ),
        (["images=my/model"], "another checkpoint: profile.diffusion.model=my/model"),
        (["augmentation=SIP"], "augmentation=SIP: no such choice; did you mean sip?; there are "),
    ],
)
def test_a_key_of_another_choice_is_answered(overrides: list[str], answer: str) -> None:
    assert answer in explained(*overrides)


@pytest.mark.parametrize(
    ("override", "end"),
    [
        ("metrics=a,b", "; add -m, or write 'metrics=[a,b]' for one list"),
        ("augmentation=sip,none", "; add -m"),
        ("train.reuse=true,false", "; add -m"),
    ],
)
def test_a_list_is_advised_only_for_keys_that_take_one(override: str, end: str) -> None:
    hydras = Exception(f"Ambiguous value for argument '{override}'\n1. ...")
    whole = f"{override}: several values are a sweep, a job for each{end}"
    assert command(override).explain(hydras) == whole


def keys_of(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from keys_of(value, f"{prefix}{key}.")


@pytest.mark.parametrize("name", ["config", "doctor", "stack", "tables", "benchmark"])
def test_no_key_that_is_there_is_refused(name: str) -> None:
    config = OmegaConf.to_container(composed(name=name), resolve=False)
    keys = [key for key in keys_of(config) if "_target_" not in key]
    assert len(keys) > 10
    command(*(f"{key}={{a: 1}}" for key in keys), name=name).check()


@pytest.mark.parametrize(
    "override", ["~metrics", "dataset@x=digits", "images.lora.model=x", "dataset.prompt_names.a=b"]
)
def test_what_only_hydra_can_judge_is_left_to_it(override: str) -> None:
    command("dataset=image_folder", override).check()


def test_near_names_and_quotes() -> None:
    assert no_such("choice", "BLIP", ["blip", "vit"]) == "no such choice; did you mean blip?"
    assert with_value("a={} b=1", "x y") == "'a=x y' b=1"
    assert with_value("a={}", "") == "a=..."
    assert with_value("a={}", "/\u00fc, b") == "\"a='/\u00fc, b'\""


def test_near_names_are_a_family_or_a_like_word_and_no_other() -> None:
    choices = ["blip", "qwen3_vl_2b", "qwen2_5_vl_7b"]
    assert near_names("qwen", choices) == ["qwen2_5_vl_7b", "qwen3_vl_2b"]
    assert near_names("Blip", choices) == ["blip"]
    assert near_names("qw", choices) == []
    keys = ["profile.classifier.probe", "prompts.noise_rate"]
    assert near_names("noise_rat", keys) == ["prompts.noise_rate"]
    assert near_names("progress", keys) == []

"""The meaning of labels: words for prompts, on the real command line and in YAML files."""

import ast
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sip.config.command import OPEN, Command
from sip.core.errors import UserError
from sip.dataset import labels
from sip.dataset.labels import (
    ClassNames,
    _texts,
    naming,
    part_of,
    prompt_words,
    sorted_classes,
    text_of,
)
from sip.jobs.evaluate_dataset import match_classes
from tests.commands import ROOT, run_module
from tests.dataset.trees import source, write_image


def fill(root: Path, *names: str) -> Path:
    """Write two images for each class."""
    for label, name in enumerate(names):
        for i in range(2):
            write_image(root / name / f"{i}.png", 10 * label + i)
    return root


def words_of(root: Path, tmp_path: Path, *overrides: str) -> Any:
    """Return the class names that the data set of a command line has."""
    arguments = ["dataset=image_folder", *overrides, "--cfg", "job", "--package", "dataset"]
    job = run_module("sip.generate", arguments, tmp_path / "job")
    assert job.returncode == 0, job.stderr
    names = yaml.safe_load(job.stdout)["prompt_names"]
    return source("image_folder", root, prompt_names=names).class_names


@pytest.mark.parametrize(
    ("folders", "override", "words"),
    [
        (("cat", "n02"), '={n02: "chihuahua dog"}', ("cat", "chihuahua dog")),
        (("cat", "n02"), '={"n02": "chihuahua dog"}', ("cat", "chihuahua dog")),
        (("cat", "n02"), ".n02=chihuahua", ("cat", "chihuahua")),
        (("no", "yes"), "={yes: brain}", ("no", "brain")),
        (("0", "1"), "={0: zero, 1: 'number 1'}", ("zero", "number 1")),
        (("0", "1"), ".1=one", ("0", "one")),
        (("null", "1.5"), "={null: nothing, 1.5: half}", ("half", "nothing")),
    ],
)
def test_words_of_the_command_line(
    folders: tuple[str, ...], override: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    root = fill(tmp_path / "images", *folders)
    assert words_of(root, tmp_path, f"dataset.prompt_names{override}") == words


ODD = ["null", "NULL", "true", "yes", "nan", "1e5", "1.5", "0001", "~", "1:30", "2020-01-01", "#1"]


@pytest.mark.parametrize("name", ["a b", "St. Bernard", "\u00c4pfel", 'it\'s, so: "x"', "0", *ODD])
@pytest.mark.parametrize("words", ["Gro\u00dfe \u00c4pfel", 'dog\'s "bone", and: more', "..."])
def test_suggested_words_can_be_pasted(name: str, words: str) -> None:
    (argument,) = shlex.split(naming({name: words, "other": "another"}))
    override = OverridesParser.create().parse_override(Command.for_hydra(argument))
    node = OmegaConf.create({"names": override.value()})
    read = _texts(OmegaConf.to_container(node)["names"])
    assert prompt_words([name, "other"], read) == (words, "another")


@pytest.mark.parametrize("name", ["null", "1.5", "0001", "class_1", "\u00c4pfel"])
def test_a_mapping_need_not_be_quoted(name: str) -> None:
    argument = f"dataset.prompt_names={{{name.replace('_', ' ')}: tabby cat}}"
    override = OverridesParser.create().parse_override(Command.for_hydra(argument))
    assert prompt_words([name, "other"], _texts(override.value())) == ("tabby cat", "other")


def test_every_mapping_with_keys_of_the_user_is_open() -> None:
    names = {
        item.target.id
        for file in (ROOT / "sip").rglob("*.py")
        for kind in ast.walk(ast.parse(file.read_text()))
        if isinstance(kind, ast.ClassDef) and kind.decorator_list
        for item in kind.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        if ast.unparse(item.annotation).startswith(("dict[str", "PromptNames"))
        and any(ast.unparse(mark) == "component" for mark in kind.decorator_list)
    }
    of_a_sweeper = {"params", "control"}
    assert {"prompt_names", "arguments"} <= names <= {*OPEN, *of_a_sweeper}


def test_yaml_may_read_a_class_name_as_another_type(tmp_path: Path) -> None:
    root = fill(tmp_path, "yes", "no", "007")
    text = "{yes: tumour, no: healthy, 007: 7}"
    read = source("image_folder", root, prompt_names=yaml.safe_load(text))
    assert read.class_names == ("7", "healthy", "tumour")


@pytest.mark.parametrize("words", ["", "  ", True, None, [1], 0.5])
def test_what_is_no_word_is_refused(words: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="prompt_names: must be a mapping of class names to words"):
        source("image_folder", tmp_path, prompt_names={"cat": words})


@pytest.mark.parametrize(
    ("names", "mapping", "message"),
    [
        (["_", "cat"], {}, "each class must have words for its prompt, got '_'"),
        (["a\0", "cat"], {}, "must have words for its prompt, got"),
        (["cat", "Cat"], {}, "must differ in words, got 'cat' and 'Cat'"),
        (["a  b", "a_b"], {}, "must differ in words, got 'a  b' and 'a_b'"),
        (["caf\u00e9", "cafe\u0301"], {}, "differ only in Unicode composition"),
        (["cat", "cat\u200b"], {}, "must differ in words, got 'cat' and"),
        (["\u200b", "cat"], {}, "must have words for its prompt, got"),
        (["yes", "no"], {"yes": "brain", "no": "brain"}, "both 'brain' in a prompt"),
        (["x", "cat"], {"x": "Cat"}, "must differ in words, got 'x' and 'cat'"),
        (["cat"], {"cow": "x"}, "must name classes of the data set, got cow; the classes are cat"),
        (["yes", "on"], {"true": "x"}, "must name classes of the data set, got true"),
    ],
)
def test_words_that_say_nothing_or_the_same(
    names: list[str], mapping: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prompt_words(names, mapping)


def test_values_as_text() -> None:
    values = ["cat ", 3, 3.0, True, False, None, "cafe\u0301"]
    expected = ["cat", "3", "3", "true", "false", "null", "caf\u00e9"]
    assert [text_of(value) for value in values] == expected
    for value in ([1], {}, 0.5, float("nan")):
        with pytest.raises(ValueError, match="is neither text nor a whole number"):
            text_of(value)


@pytest.mark.parametrize(
    ("names", "part"),
    [
        ("train Train TRAINING seg_train train_images trainset TrainImages train2017", "train"),
        ("val valid Validation dev val_images validset seg-val", "val"),
        ("test testing Test-Set test_data seg_test", "test"),
        ("train_station bullet_train test_tube valley trainer contest cat tested set 1", None),
        ("train_val", None),
    ],
)
def test_names_of_parts(names: str, part: str | None) -> None:
    assert {name: part_of(name) for name in names.split()} == dict.fromkeys(names.split(), part)


def test_classes_that_are_numbers_are_in_their_order() -> None:
    assert sorted_classes(["10", "9", "10", "0"]) == ["0", "9", "10"]
    assert sorted_classes(["10", "9", "a"]) == ["10", "9", "a"]


def test_many_classes_are_matched_in_linear_time() -> None:
    names = [f"class {number}" for number in range(20_000)]
    stated = ClassNames()
    for number, name in enumerate(names):
        stated.add(number, name, "a.json")
    before = time.process_time()
    assert stated.agreed(names, "classes.txt") == names
    assert match_classes(names[::-1], names) == list(range(20_000))[::-1]
    assert time.process_time() - before < 2  # 9 s if each name is looked for in a list


def test_each_class_name_is_read_as_yaml_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read = labels._as_yaml_reads
    monkeypatch.setattr(labels, "_as_yaml_reads", lambda one: asked.append(one) or read(one))
    names = [f"great_dane_{number}" for number in range(20)]
    words = prompt_words(names, {name.replace("_", " "): f"dog {name}" for name in names})
    assert words == tuple(f"dog {name}" for name in names) and asked == names
    assert prompt_words(names, {name: f"dog {name}" for name in names}) == words
    assert asked == names  # they are written as they are

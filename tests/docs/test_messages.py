"""Commands and settings in messages, --help and YAML files are those of the command line."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sip.core.files import read_yaml
from tests.docs.command_line import understand
from tests.docs.pages import ROOT, commands
from tests.docs.test_commands import CONF, check, check_all

SETTING = re.compile(r"(?<![\w./{}=+'\"-])\+?[a-z_]+(?:[./][a-z_]+)*=[^\s;,'\")]+")
FORMS = {"key=value"}  # says what a setting looks like
GAPS = {  # a message's command with gaps, and what fills them
    "python -m sip.evaluate runs={}": ["runs"],
    "python -m sip.export format=onnx run={} output=model.onnx": ["runs/a"],
    "python -m sip.export run={} format=image_folder output=FOLDER": ["runs/a"],
    "python -m sip.stack.build {} size={}": ["profile=own dataset.root=images", "tiny"],
}


def messages() -> Iterator[tuple[Path, str]]:
    """Yield (file, text) of each text of the package with a space, docstrings left out.

    Those of `sip.api` are about arguments of Python.
    """
    for file in sorted(set((ROOT / "sip").rglob("*.py")) - set((ROOT / "sip" / "api").iterdir())):
        tree = ast.parse(file.read_text())
        bodies = [getattr(node, "body", None) for node in ast.walk(tree)]
        firsts = [body[0] for body in bodies if isinstance(body, list) and body]
        skipped = {id(first.value) for first in firsts if isinstance(first, ast.Expr)}
        joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        skipped |= {id(value) for node in joined for value in node.values}
        for node in ast.walk(tree):
            if id(node) not in skipped and " " in (text := text_of(node)):
                yield file, text


def text_of(node: ast.AST) -> str:
    """Return the text of a literal, with {} for what is filled in; "" for another node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) or "{}" for value in node.values)
    return ""


def help_commands() -> list[str]:
    """Return the examples of all texts of --help."""
    texts = [read_yaml(file)["template"] for file in sorted((CONF / "hydra" / "help").glob("*"))]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    examples = [line for line in lines if line.startswith("python -m ") and "...the" not in line]
    examples = [line for line in examples if " [" not in line]
    return [re.split(r"\s{2,}", line)[0] for line in examples]


def test_settings_in_messages_are_keys() -> None:
    found = {
        (file.relative_to(ROOT).as_posix(), word.rstrip(".:"))
        for file, text in messages()
        for word in SETTING.findall(text)
    }
    assert len(found) > 100
    wrong = []
    for place, word in sorted(found):
        try:
            if word not in FORMS:
                check(word)
        except AssertionError as error:
            wrong.append(f"{place}: {error}")
    assert wrong == []


def test_commands_in_messages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    advised = {
        f"python -m {module} {shlex.join(words)}"
        for _, text in messages()
        for module, words in commands(text.replace("`", ""))
        if any("=" in word for word in words)
    }
    with_gaps = {line for line in advised if "{}" in line.replace("'{}'", "{}")}
    for line in sorted(advised):
        plain = line.replace("'", "")
        fillings = iter(GAPS.get(plain, []))
        filled = re.sub(r"\{\}", lambda _: next(fillings), plain)  # noqa: B023
        understand(filled.split()[2], filled.split()[3:], monkeypatch)
    assert {line.replace("'", "") for line in with_gaps} == GAPS.keys()


@pytest.mark.parametrize("line", help_commands())
def test_examples_of_help_are_read(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, module, *words = shlex.split(line)
    understand(module, words, monkeypatch)


def test_commands_in_yaml_files_fit_the_configuration() -> None:
    read = 0
    for file in sorted(CONF.rglob("*.yaml")):
        for module, words in commands(file.read_text().replace("'", "")):
            check_all(module, words)
            read += len(words)
    assert read > 100

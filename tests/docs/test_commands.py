"""Commands in the documentation name programs, groups, choices and keys that there are."""

import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
import yaml

from sip.config.options import read_choice
from tests.docs.pages import PAGES, ROOT, blocks, commands

CONF = ROOT / "conf"
TEXTS = [*PAGES, *sorted((ROOT / "experiments").rglob("README.md"))]
OPEN = ("null", "{}", "[]")  # values below which any key may be added


@cache
def known_keys() -> dict[str, str]:
    """Return every dotted key of conf with a default."""
    keys = {}
    for file in CONF.rglob("*.yaml"):
        place = file.parent.relative_to(CONF).as_posix()
        choice = read_choice(file)
        prefix = "" if place == "." else f"{choice.package or place.replace('/', '.')}."
        prefix = "" if choice.package == "_global_" else prefix
        keys |= {f"{prefix}{option.name}": option.default for option in choice.options}
    return keys


@cache
def own_choices() -> frozenset[str]:
    """Return "group/choice" of the YAMLs that the recipes, and the page on installing, add."""
    titles = [
        re.fullmatch(r"(?:my_conf|.+/conf)/(.+)\.yaml", block.title or "")
        for page in PAGES
        for block in blocks(page)
    ]
    return frozenset(match[1] for match in titles if match)


def check_all(module: str, words: Iterable[str]) -> None:
    """Hold the settings of a command against conf."""
    for word in words:
        is_image = module == "sip.predict" and word.startswith("images=")  # not a choice there
        if "=" in word and not word.startswith("-") and not is_image:
            check(word)


def check(word: str) -> None:
    """Hold one `name=value` against conf."""
    name, _, value = word.partition("=")
    name = name.lstrip("+~").partition("@")[0]
    if name.startswith(("hydra.", "hydra/")) or not re.fullmatch(r"[\w./]+", name):
        return
    if (CONF / name).is_dir():
        for choice in value.strip("[]").split(","):
            known = (CONF / name / f"{choice}.yaml").is_file()
            placeholder = not re.fullmatch(r"\w+", choice) or choice.isupper()
            allowed = known or placeholder or f"{name}/{choice}" in own_choices()
            assert allowed or choice in ("null", ""), f"{word}: no such choice"
        return
    above = [name.rsplit(".", num)[0] for num in range(name.count(".") + 1)]
    keys = known_keys()
    assert any(part in keys and (part == name or keys[part] in OPEN) for part in above) or any(
        key.startswith(f"{name}.") for key in keys
    ), f"{word}: no such key"


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_fit_the_configuration(page: Path) -> None:
    for module, words in commands(page.read_text()):
        assert importlib.util.find_spec(module) is not None, f"no program {module}"
        check_all(module, words)


def test_a_wrong_command_is_found() -> None:
    ((_, words),) = commands("`python -m sip.train dataset=digits prompts.noise_rat=0.3`, or so")
    assert words == ["dataset=digits", "prompts.noise_rat=0.3"]
    for word in ("prompts.noise_rat=0.3", "dataset=digit", "figure=costs", "noise_rate=1"):
        with pytest.raises(AssertionError, match="no such"):
            check(word)
    check("prompts.noise_rate=0.3,0.5")


def test_help_names_every_target_of_the_makefile() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert targets is not None
    explained = re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE)
    assert sorted(targets[1].split()) == sorted(explained)
    written = re.findall(r"\bmake ([a-z-]+)\b", (ROOT / "CONTRIBUTING.md").read_text())
    assert set(written) <= set(explained)


def test_the_citation_names_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = cited["preferred-citation"]
    assert cited["cff-version"] == "1.2.0" and cited["license"] == "Apache-2.0"
    assert paper["url"].endswith("2302.02070") and len(paper["authors"]) == 9
    assert cited["version"] in (ROOT / "sip" / "__init__.py").read_text()
    assert f"## {cited['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_hooks_call_what_is_installed() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert {hook["language"] for repo in hooks for hook in repo["hooks"]} == {"system"}

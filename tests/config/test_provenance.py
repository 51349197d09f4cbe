"""What is recorded of a command line, and the commands that are made from it."""

import pytest

from sip.config.provenance import Recorded, recorded

PARTS = Recorded(
    ["SIP_TRUSTED=my_captioner,own.data"],
    ["--config-name", "mine", "--config-dir", "my conf", "hydra.searchpath=[other]"],
    ["captions=mine", "+exp=a", "prompts.template='a {label}, b'"],
)


@pytest.mark.parametrize(
    "parts",
    [
        PARTS,
        Recorded([], [], ["seed=1"]),
        Recorded(["SIP_TRUSTED=a"], [], []),
        Recorded([], ["--config-dir", "x"], []),
        Recorded([], ["hydra.searchpath=[a]"], ["dataset.root=x y", "seed=1"]),
    ],
)
def test_a_line_has_the_parts_that_it_was_made_of(parts: Recorded) -> None:
    assert Recorded.of(parts.line("train", parts.overrides)) == parts


def test_another_command_sees_the_same_configurations() -> None:
    line = PARTS.line("generate", ["-m", "seed=0,1"])
    options = "--config-name mine --config-dir 'my conf' 'hydra.searchpath=[other]'"
    assert line == (
        f"SIP_TRUSTED=my_captioner,own.data python -m sip.generate {options} -m seed=0,1"
    )
    assert Recorded.of(None) == Recorded([], [], [])


def test_outside_of_a_job_there_are_the_packages_of_ones_own_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIP_OPTIONS", "--config-dir x")
    monkeypatch.setenv("SIP_TRUSTED", "")
    assert recorded() == Recorded([])
    monkeypatch.setenv("SIP_TRUSTED", "mine")
    assert recorded() == Recorded(["SIP_TRUSTED=mine"])

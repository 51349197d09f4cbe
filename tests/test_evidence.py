"""The script behind `make evidence` names what exists."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sip.core.paths import conf_folder

SCRIPT = Path(__file__).parents[1] / "experiments" / "evidence.sh"
TEXT = SCRIPT.read_text()


@pytest.mark.parametrize("group", ["sweep", "table", "figure"])
def test_every_choice_is_there(group: str) -> None:
    named = set(re.findall(rf"[ +]{group}=(\w+)", TEXT))
    there = {file.stem for file in (conf_folder() / group).glob("*.yaml")}
    assert named and named <= there


def test_every_experiment_has_its_steps_and_the_other_way_round() -> None:
    (listed,) = re.findall(r'^EXPERIMENTS=\$\{EXPERIMENTS:-"([^"]+)"\}', TEXT, re.MULTILINE)
    functions = set(re.findall(r"^(\w+)\(\) \{", TEXT, re.MULTILINE))
    asked_for = {"cifar10"}  # runs if it is named: it needs a data set and a trained stack
    assert functions - set(listed.split()) == {"sweep", "table", "report"} | asked_for
    assert set(listed.split()) <= functions


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_failed_step_is_named_and_the_next_begins(tmp_path: Path) -> None:
    fake = tmp_path / "python"  # notes what it is started with; tables fail
    fake.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n[ "$2" != sip.tables ]\n')
    fake.chmod(0o755)
    variables = {"PYTHON": str(fake), "EXPERIMENTS": "cost number_and_shots"}
    variables["PATH"] = "/usr/bin:/bin"
    done = subprocess.run(["bash", SCRIPT], env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    failed = "cost/table cost/cost number_and_shots/per_sample number_and_shots/per_sample"
    failed += " number_and_shots/shots number_and_shots/shots"
    assert done.stderr == f"evidence: failed: {failed}; the messages are above\n"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "experiment=cost" in calls[0] and "hydra.launcher.n_jobs=2" in calls[4]
    modules = [line.split()[1].removeprefix("sip.") for line in calls]
    both = ["train", "tables", "tables", "report"]
    assert modules == [*both, *both[:3], *both[:3], "report", "report"]

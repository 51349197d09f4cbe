"""Sweeps: every preset composes, what is ahead is said, failed jobs are named at the end."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from sip.config import failures
from sip.config.provenance import command_line
from sip.core.paths import conf_folder
from sip.dataset.digits import Digits
from sip.jobs.sweeps import best_settings, count_cached, list_jobs, yield_to_command_line
from sip.jobs.train_job import TrainJob
from tests.commands import run_module
from tests.records.made_up import training_summary, write_run

SWEEPS = sorted(file.stem for file in (conf_folder() / "sweep").glob("*.yaml"))


def jobs_of(config: Any) -> list[list[str]]:
    """Return the overrides of each job of a sweep."""
    params = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides(params)
    return list(BasicSweeper.split_arguments(parsed, None)[0])


@pytest.mark.parametrize("sweep", [name for name in SWEEPS if name != "search"])
def test_a_preset_is_five_seeds_of_what_composes(sweep: str, tmp_path: Path) -> None:
    num_seeds = 3 if sweep.startswith("cifar10_cpu") else 5
    profile = "profile=cifar10" if sweep.startswith("cifar10") else "profile=embedded"
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", [f"+sweep={sweep}", profile], return_hydra_config=True)
        assert config.hydra.mode.name == "MULTIRUN"
        jobs = jobs_of(config)
        assert [job[0] for job in jobs] == sorted(job[0] for job in jobs), "seeds first"
        assert {job[0] for job in jobs} == {f"seed={seed}" for seed in range(num_seeds)}
        last = compose("config", [profile, *jobs[-1], f"paths.store={tmp_path}"])
    assert last.seed == num_seeds - 1
    if profile == "profile=embedded":  # the other's stack is to be made first
        assert TrainJob(last).recipe["seed"] == last.seed


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_preset_says_what_it_asks_and_how_it_is_started(sweep: str) -> None:
    text = (conf_folder() / "sweep" / f"{sweep}.yaml").read_text()
    for word in ("# Question: ", "# Command: ", "# Cost: ", "# Expected: "):
        assert word in text, f"conf/sweep/{sweep}.yaml lacks {word}"
    assert f"+sweep={sweep}" in text


def start(cwd: Path, *arguments: str) -> tuple[int, str]:
    """Run the main job; return its exit code and what it said."""
    done = run_module("sip.train", arguments, cwd / "said", cwd)
    return done.returncode, done.stderr


def test_a_sweep_says_what_is_ahead_and_names_what_failed(tmp_path: Path) -> None:
    arguments = ["-m", "logger=csv", "augmentation=none", "seed=0,1", "plan=true"]
    code, said = start(tmp_path, *arguments, "dataset.shots=2,-3")
    lines = [line.split(maxsplit=1)[1] for line in said.splitlines() if line.startswith("sweep")]
    assert lines == [
        "4 runs; looking up which are cached",
        "4 runs, 0 cached",
    ]
    assert code == 1
    ending = said.splitlines()[-3:]
    assert ending[0] == "2 jobs failed; the same command runs what failed, and only that:"
    assert all("shots=-3" in line and "shots: must be" in line for line in ending[1:])
    assert not list((tmp_path / "runs" / ".hydra").glob("failed-*"))


def test_notes_of_two_sweeps_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failures.SWEEP, "before")
    failures.begin()
    first = failures.note(tmp_path, 1, "one")
    failures.note(tmp_path, 0, "zero")
    failures.begin()
    second = failures.note(tmp_path, 5, "other")
    assert failures.read(first) == ["zero", "one"]
    assert failures.read(second) == ["other"]
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_decides_what_a_preset_sweeps_over() -> None:
    overrides = ["+sweep=shots", "augmentation=sip", "dataset.shots=2,4", "backbone=vit"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        yield_to_command_line(config)
        jobs = list_jobs(config)
    assert len(jobs) == 5 * 2 == len({tuple(job) for job in jobs})
    assert all("augmentation=sip" in job and "backbone=vit" in job for job in jobs)
    assert {job[-2] for job in jobs} == {"dataset.shots=2", "dataset.shots=4"}


def test_finished_runs_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["augmentation=sip,none", "seed=0,1,2", "dataset.shots=2"]
    overrides += [f"paths.runs={tmp_path}", f"paths.store={tmp_path}"]
    made: list[Digits] = []
    init = Digits.__init__

    def counting(self: Digits, **options: Any) -> None:
        made.append(self)
        init(self, **options)

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        config.hydra.job.config_name = "config"
        jobs = list_jobs(config)
        assert [job[1] for job in jobs] == ["seed=0", "seed=1", "seed=2"] * 2
        run = TrainJob(loader.load_sweep_config(config, jobs[1]))
        summary = training_summary(fingerprint=run.fingerprint, recipe=run.recipe)
        write_run(tmp_path / f"any-name-{run.fingerprint}", summary)
        monkeypatch.setattr(Digits, "__init__", counting)
        assert count_cached(config, jobs) == 1
    assert len(made) == 3, "each seed's data set is read once, whatever the arms"


def test_a_search_ends_with_its_best_settings() -> None:
    best = {"best_params": {"prompts.noise_rate": 0.5}, "best_value": 0.25}
    assert best_settings(best, "val/accuracy") == [
        "1 best setting of val/accuracy",
        "val/accuracy 0.25: prompts.noise_rate=0.5",
    ]
    front = [{"params": {"a": n}, "values": [n / 10, 1.0]} for n in (1, 2, 2)]
    assert best_settings({"solutions": front}, ["x", "y"]) == [
        "2 best settings of x, y",
        "x 0.2, y 1: a=2",
        "x 0.1, y 1: a=1",
    ]


def test_a_run_writes_down_its_command_and_choices() -> None:
    assert command_line() == {"overrides": [], "choices": {}}
    overrides = ["prompts/guidance=constant", "seed=3"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    config.hydra.overrides.task = overrides
    HydraConfig.instance().set_config(config)
    try:
        written = command_line()
    finally:
        HydraConfig.instance().cfg = None
    assert written["overrides"] == overrides
    assert written["choices"]["prompts/guidance"] == "constant"
    assert written["choices"]["augmentation/offline"] == "none"
    assert not [key for key in written["choices"] if key.startswith("hydra")]

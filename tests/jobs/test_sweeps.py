"""Sweeps: every preset composes, what is ahead is said, failed jobs are named at the end."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from sip.config import sweep
from sip.config.provenance import command_line
from sip.core.paths import conf_folder
from sip.dataset.digits import Digits
from sip.dataset.image_folder import ImageFolder
from sip.jobs.baseline import tables_command
from sip.jobs.lookup import look_up
from sip.jobs.sweeps import (
    best_settings,
    list_axes,
    list_jobs,
    yield_to_command_line,
)
from sip.jobs.train import train
from sip.jobs.train_job import TrainJob, named
from sip.records.read import runs_of, swept_keys
from sip.records.varied import in_words
from tests.commands import run_module
from tests.composing import composed, initialized
from tests.dataset.trees import write_image
from tests.jobs.conftest import HydraJob
from tests.records.made_up import training_summary, write_run

SWEEPS = sorted(file.stem for file in (conf_folder() / "sweep").glob("*.yaml"))


def jobs_of(config: Any) -> list[list[str]]:
    """Return the overrides of each job of a sweep."""
    params = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides(params)
    return list(BasicSweeper.split_arguments(parsed, None)[0])


@pytest.mark.parametrize("sweep", [name for name in SWEEPS if name not in ("search", "policy")])
def test_a_preset_is_five_seeds_of_what_composes(sweep: str, tmp_path: Path) -> None:
    num_seeds = 20 if sweep == "confirmatory" else 5
    profile = "profile=cifar10" if sweep.startswith("cifar10") else "profile=embedded"
    config = composed(f"+sweep={sweep}", profile, hydra=True)
    with initialized():
        assert config.hydra.mode.name == "MULTIRUN"
        jobs = jobs_of(config)
        seeds = [int(job[0].removeprefix("seed=")) for job in jobs]
        assert seeds == sorted(seeds), "seeds first"
        assert {job[0] for job in jobs} == {f"seed={seed}" for seed in range(num_seeds)}
    last = composed(profile, *jobs[-1], f"paths.store={tmp_path}")
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
    return done.returncode, done.stderr + done.stdout


def test_a_sweep_says_what_is_ahead(tmp_path: Path) -> None:
    arguments = ["-m", "logger=csv", "augmentation=none", "seed=0,1", "plan=true"]
    code, said = start(tmp_path, *arguments)
    lines = [line.split(maxsplit=1)[1] for line in said.splitlines() if line.startswith("sweep")]
    assert lines[0] == "2 jobs; looking up which are cached, and checking all of them"
    assert lines[1] == "2 jobs, 0 cached"
    assert lines[2].startswith("job 1/2: seed=0 (")
    assert lines[3].startswith("job 2/2: seed=1 (") and " left)" in lines[3]
    assert lines[4].startswith("2 jobs planned in ") and code == 0
    assert re.search(r"\ntotal +2 jobs planned; .*\nto train +2 classifiers\noptimiser", said)
    assert not list((tmp_path / "runs" / ".hydra").glob("sweep-*"))


def test_a_sweep_with_a_refused_job_does_not_start(tmp_path: Path) -> None:
    arguments = ["-m", "augmentation=sip", "seed=0,1", "prompts.noise_rate=0.5,1.7"]
    code, said = start(tmp_path, *arguments)
    assert code == 2 and " job 1/4: " not in said and "Warning" not in said
    assert said.splitlines()[-1] == (
        "error: no job was started; job 2/4 (seed=0 prompts.noise_rate=1.7) and 1 more: "
        "prompts.noise_rate: must be in (0, 1], got 1.7"
    )
    assert not list(tmp_path.rglob("summary.json"))


def refused(name: str, *overrides: str) -> dict[str, list[int]]:
    """Return what is refused of a sweep: reason -> numbers of the jobs."""
    with initialized():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
        config.hydra.job.update(config_name="config", name=name)
        return look_up(config, list_jobs(list_axes(config))).refused


def test_every_job_is_checked_before_the_first_one(tmp_path: Path) -> None:
    runs = [f"paths.runs={tmp_path}", f"paths.store={tmp_path}"]
    found = refused(
        "train", "classifier.optimizer=sgd,sgdd", "dataset.shots=2,-3", "augmentation=none", *runs
    )
    found_shots = refused("train", "dataset.shots=2,1000", "augmentation=none", *runs)
    assert found_shots == refused("generate", "dataset.shots=2,1000", *runs)
    (shots,) = found_shots
    assert shots.startswith("dataset.shots: must be at most ") and found_shots[shots] == [1]
    (shots, both), (optimizer, one) = found.items()
    assert shots.startswith("dataset.shots: must be") and both == [1, 3]
    assert optimizer.startswith("classifier.optimizer: must be") and one == [2]
    found = refused("train", "train.objectives=[val/nll],[test/accuracy],[val/acuracy]", *runs)
    assert list(found.values()) == [[1], [2]]
    assert "did you mean val/accuracy?" in list(found)[1]
    found = refused("train", "runtime.num_threads=1,-1", "augmentation=none", *runs)
    assert list(found.values()) == [[1]]
    found = refused("generate", "images.num_steps=10,0", "prompts.noise_rate=0.5,0.01", *runs)
    reasons = [reason.partition(":")[0] for reason in found]
    assert reasons == ["prompts.noise_rate", "images.num_steps"]
    ladder = ("augmentation=sip_adaptive", "prompts/verdict=zero_shot,agreement", *runs)
    (reason,) = refused("generate", *ladder)
    assert reason.startswith("prompts.verdict: must be one that needs no classifier in sip.generat")
    assert not refused("train", *ladder)


def test_a_mistyped_key_of_a_sweep_is_one_line(tmp_path: Path) -> None:
    code, said = start(tmp_path, "-m", "prompts/guidance=quadratic", "prompts.guidance.scale=1,2")
    assert code == 2 and "Warning" not in said
    assert said.splitlines()[-1].startswith("error: prompts.guidance.scale=1,2: ")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Path]:
    """A sweep of 12 jobs, of which two are cached, that this process belongs to."""
    keys = ["prompts.noise_rate", "seed", "prompts/guidance"]
    yield sweep.begin(tmp_path, keys, total=12, cached=[0, 3])
    sweep.end()


def test_jobs_say_how_far_a_sweep_is(jobs: Path) -> None:
    sweep.add(0, seconds=1.0)
    sweep.add(2, failed="b", reason="no", stderr=sweep.stderr())
    sweep.add(1, failed="a", reason="of its own log", stderr=[1, 2])
    now = sweep.Sweep.read()
    assert now is not None and now.position(2) == "job 3/12"
    assert list(now.failed.values()) == ["a: of its own log", "b"] and list(now.finished) == [0]
    assert now.times(now.started + 20) == "20 s elapsed, about 1 min left"  # 8 of 10 s, not cached
    sweep.end()
    assert sweep.Sweep.read() is None and not jobs.exists()
    sweep.add(3, seconds=1.0)
    sweep.end()
    assert not jobs.exists()


def test_nothing_is_estimated_before_a_job_was_computed(jobs: Path) -> None:
    sweep.add(0, seconds=1.0)
    now = sweep.Sweep.read()
    assert now is not None and now.times(now.started + 20) == "20 s elapsed"
    assert sweep.Sweep(started=1.0).position(4) == "job 5"


def test_swept_keys_are_in_the_name_the_record_and_the_table(
    jobs: Path,
    tmp_path: Path,
    hydra_job: HydraJob,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = ["prompts.noise_rate=0.75", "prompts/guidance=quadratic", "augmentation=sip"]
    overrides += [f"paths.runs={tmp_path / 'runs'}", "experiment=nxg", "logger=csv"]
    config = hydra_job(overrides)
    job = TrainJob(config)
    assert job.name == "resnet50-sip-noise_rate_0.75-guidance_quadratic-seed0"
    assert job.folder == tmp_path / "runs" / f"{job.name}-{job.fingerprint}"
    changes = {"fingerprint": job.fingerprint, "recipe": job.recipe, "experiments": ("main",)}
    other = tmp_path / "runs" / f"other-name-{job.fingerprint}"
    write_run(other, training_summary(**changes, swept={"main": ("seed",)}))
    summary = TrainJob(config).finished()
    assert summary is not None and summary.experiments == ("main", "nxg")
    train(config)
    said = capsys.readouterr().out
    assert "resnet50 + sip, noise rate 0.75, guidance quadratic, seed 0\n" in said
    runs = runs_of(tmp_path / "runs", ["nxg"])
    assert swept_keys(runs, ["nxg"]) == ["prompts.noise_rate", "prompts/guidance"]
    assert swept_keys(runs, ["main"]) == ["seed"]
    assert swept_keys(runs) == ["seed", "prompts.noise_rate", "prompts/guidance"]
    (other / "summary.json").unlink()
    assert TrainJob(config).folder == other, "a run that was started under another name goes on"


def test_names_of_runs_are_short_and_safe() -> None:
    assert named([]) == []
    (name,) = named(in_words({"dataset.root": "'/a b/c;d$(e)'", "metrics": "[a,b]"}, {}))
    assert name == "root_a_b_c_d_e-metrics_a_b"
    (name,) = named(in_words({f"a.key{n}": "1.0" for n in range(20)}, {}))
    assert len(name) <= 60 and name.startswith("key0_1.0-key1_1.0-")


def test_a_sweep_ends_with_the_command_that_compares() -> None:
    config = composed("experiment=my runs", "paths.runs=/tmp/other")
    command = tables_command(config)
    assert command == "python -m sip.tables 'experiment=my runs' runs=/tmp/other"


def test_the_command_line_decides_what_a_preset_sweeps_over() -> None:
    overrides = ["+sweep=shots", "augmentation=sip", "dataset.shots=2,4", "backbone=vit"]
    with initialized():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        yield_to_command_line(config)
        jobs = list_jobs(list_axes(config))
    assert len(jobs) == 5 * 2 == len({tuple(job) for job in jobs})
    assert all("augmentation=sip" in job and "backbone=vit" in job for job in jobs)
    assert {job[-2] for job in jobs} == {"dataset.shots=2", "dataset.shots=4"}


def test_it_also_decides_over_new_keys() -> None:
    words = ["+sweep=randaugment_candidates", "++augmentation.sample.arguments.num_ops=1,2"]
    with initialized():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", words, RunMode.MULTIRUN)
        yield_to_command_line(config)
        assert len(list_jobs(list_axes(config))) == 5 * 2 * 3


def test_finished_runs_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["augmentation=sip,none", "seed=0,1,2", "dataset.shots=2"]
    overrides += [f"paths.runs={tmp_path}", f"paths.store={tmp_path}"]
    made: list[Digits] = []
    init = Digits.__init__

    def counting(self: Digits, **options: Any) -> None:
        made.append(self)
        init(self, **options)

    with initialized():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        config.hydra.job.update(config_name="config", name="train")
        jobs = list_jobs(list_axes(config))
        assert [job[1] for job in jobs] == ["seed=0", "seed=1", "seed=2"] * 2
        run = TrainJob(loader.load_sweep_config(config, jobs[1]))
        summary = training_summary(fingerprint=run.fingerprint, recipe=run.recipe)
        write_run(tmp_path / f"any-name-{run.fingerprint}", summary)
        monkeypatch.setattr(Digits, "__init__", counting)
        assert look_up(config, jobs).cached == [1]
    assert len(made) == 3, "each seed's data set is read once, whatever the arms"


def test_files_are_listed_once_whatever_the_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(24):
        write_image(tmp_path / "images" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    listed: list[ImageFolder] = []
    real = ImageFolder.listing
    monkeypatch.setattr(ImageFolder, "listing", lambda self: listed.append(self) or real(self))
    overrides = ["augmentation=none", "seed=0,1,2", "dataset=image_folder", "dataset.shots=2"]
    overrides += [f"dataset.root={tmp_path}/images", f"paths.runs={tmp_path}/runs"]
    overrides += [f"paths.store={tmp_path}/store"]
    with initialized():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        config.hydra.job.update(config_name="config", name="train")
        found = look_up(config, list_jobs(list_axes(config)))
    assert not found.refused and len(set(found.fingerprints.values())) == 3
    assert len(listed) == 1


def test_jobs_of_the_same_run_are_named_once(tmp_path: Path) -> None:
    overrides = ["augmentation=none,sip", "prompts.noise_rate=0.3,0.7", "dataset.shots=2"]
    overrides += [f"paths.runs={tmp_path}", f"paths.store={tmp_path}"]
    with initialized():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        config.hydra.job.update(config_name="config", name="train")
        jobs = list_jobs(list_axes(config))
        found = look_up(config, jobs)
    assert found.repeated == {1: 0}
    (line,) = found.repeats(jobs, ["augmentation", "prompts.noise_rate"])
    assert line == "job 2/4 is the same run as job 1: its arm does not read prompts.noise_rate"
    (line,) = found.repeats([jobs[0], jobs[0]], ["augmentation", "prompts.noise_rate"])
    assert line == "job 2/2 is the same run as job 1: a value is given twice"


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
    config = composed(*overrides, hydra=True)
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


@pytest.mark.parametrize("again", ["train.reuse=false", "retry=failed"])
def test_finished_runs_that_are_trained_again_are_checked_and_not_cached(
    tmp_path: Path, again: str
) -> None:
    overrides = ["augmentation=none", "dataset.shots=2", "classifier.batch_size=4"]
    overrides += [f"paths.runs={tmp_path}", f"paths.store={tmp_path}", again]
    with initialized():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        config.hydra.job.update(config_name="config", name="train")
        run = TrainJob(loader.load_sweep_config(config, overrides))
        summary = training_summary(fingerprint=run.fingerprint, recipe=run.recipe)
        write_run(tmp_path / f"any-name-{run.fingerprint}", summary)
        found = look_up(config, [overrides, [*overrides, "trainer.devices=3"]])
    assert not found.cached
    assert [line.partition(":")[0] for line in found.refused] == ["classifier.batch_size"]

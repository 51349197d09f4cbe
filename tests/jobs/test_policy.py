"""+sweep=policy: the jobs that it starts, on what seeds, and what it makes of their runs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sip.config import sweep
from sip.config.sweep import swept_values
from sip.core.errors import UserError
from sip.jobs.policy import Racing, _score
from sip.jobs.race import Race
from sip.jobs.train_job import TrainJob
from tests.commands import run_module
from tests.composing import composed, initialized
from tests.pipeline.made_up import TRAINING
from tests.records.made_up import training_summary, write_run

CANDIDATES = (
    "hydra.sweeper.candidates=[{augmentation:sip,prompts.noise_rate:'0.3,0.9'},{augmentation:none}]"
)
SMALL = ("hydra.sweeper.rounds=[1,2]", "hydra.sweeper.final=3", CANDIDATES)
GIVEN = ["+sweep=policy", "dataset.shots=1", "experiment=x"]
KEYS = ("augmentation", "prompts.noise_rate", "seed", "experiment")


@dataclass
class Launcher:
    """Finishes each job at once: the more noise, the better."""

    jobs: list[dict[str, str]] = field(default_factory=list)

    def launch(self, batch: Sequence[Sequence[str]], initial_job_idx: int) -> list:
        for overrides in batch:
            own = swept_values(overrides, KEYS)
            self.jobs.append(own)
            rate = float(own.get("prompts.noise_rate", 0.6))
            job = TrainJob(composed(*overrides))
            summary = training_summary(
                fingerprint=job.fingerprint,
                val_accuracy=rate,
                test_accuracy=rate + 0.01 * (int(own["seed"]) % 2) * (rate > 0.6),
            )
            write_run(job.folder, summary)
            rows = [{"id": f"{rate}", "kind": "generated", "unet_evaluations": 100}]
            rows += [{"id": "a", "kind": "real", "unet_evaluations": None}]
            pq.write_table(pa.Table.from_pylist(rows), job.folder / "images.parquet")
        return [SimpleNamespace(return_value=None)] * len(batch)


def raced(tmp_path: Path, *overrides: str, given: Sequence[str] = GIVEN) -> Launcher:
    """Run the sweeper with a launcher that needs no time."""
    arguments = [*given, *(f"paths.{name}={tmp_path / name}" for name in ("runs", "store"))]
    launcher = Launcher()
    with initialized():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration(
            "config", [*arguments, *SMALL, *overrides], RunMode.MULTIRUN
        )
        config.hydra.job.update(config_name="config", name="train")
        values = {key: value for key, value in config.hydra.sweeper.items() if key != "_target_"}
        racing = Racing(**values)
        racing.whole, racing.own_launcher = config, launcher  # type: ignore[assignment]
        try:
            racing.sweep(arguments)
        finally:
            sweep.end()
    return launcher


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line.split(maxsplit=1)[1] for line in lines if line.startswith("policy ")]


def test_rounds_choose_on_their_seeds_and_fresh_ones_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = raced(tmp_path).jobs
    arms = [(job.get("prompts.noise_rate", job["augmentation"]), int(job["seed"])) for job in jobs]
    assert arms == [
        ("0.3", 0), ("0.9", 0), ("none", 0),  # round 1
        ("0.9", 1), ("none", 1),  # round 2
        ("0.9", 2), ("0.5", 2), ("0.9", 3), ("0.5", 3), ("0.9", 4), ("0.5", 4),
    ]  # fmt: skip
    assert [job["experiment"] for job in jobs] == ["x_rounds"] * 5 + ["x"] * 6
    lines = said(capsys)
    assert lines[0] == "round 1 of 2: 3 candidates, seed 0: 3 jobs, 0 cached"
    assert lines[2] == (
        "winner of 3: augmentation=sip prompts.noise_rate=0.9: validation top-1 90.0 over 2 "
        "seeds, by which it was chosen; 300 U-Net evaluations in all rounds"
    )
    assert lines[3] == "winner and control, fresh seeds 2 to 4: 6 jobs, 0 cached"
    assert "winner 90.33, control 50.00, paired difference +40.33 ± 1.43 points" in lines[4]
    assert lines[-1].startswith("the rounds, which explore: python -m sip.tables table=rounds")
    again = raced(tmp_path).jobs
    assert again == jobs
    cached = [line.rpartition(": ")[2] for line in said(capsys) if line.endswith(" cached")]
    assert cached == ["3 jobs, 3 cached", "2 jobs, 2 cached", "6 jobs, 6 cached"]


def test_the_budget_ends_the_rounds_and_a_winner_may_be_the_control(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    control = "hydra.sweeper.control={prompts.noise_rate:0.9}"
    jobs = raced(tmp_path, "hydra.sweeper.budget=301", "hydra.sweeper.rounds=[1,3]", control).jobs
    assert len(jobs) == 3
    lines = said(capsys)
    assert "300 of 301 U-Net evaluations after 1 seed; another one would exceed" in lines[2]
    assert lines[-1] == "the winner is the control itself: there is nothing to compare"


def test_a_plan_prints_the_budgets_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = ["images.num_steps=10", "images.scheduler=ddim"]
    assert raced(tmp_path, given=[*GIVEN, "plan=true", *steps]).jobs == []
    rows = dict(re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()[1:-1])
    most = 10 * 2 * 9  # images, evaluations of a step, steps at 0.9
    assert rows == {
        "round 1": f"3 candidates, seed 0: 3 runs, at most {most + most // 3} U-Net evaluations",
        "round 2": f"2 candidates, seed 1: 2 runs, at most {most + most // 3} U-Net evaluations",
        "budget": f"400,000 U-Net evaluations for all rounds, which take at most {8 * most // 3}",
        "final comparison": "winner and control, 3 fresh seeds: 6 runs, at most "
        f"{3 * (most + 10 * 2 * 5)} U-Net evaluations",
        "runs": "at most 11",
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hydra.sweeper.rounds=[3,2]"], "hydra.sweeper.rounds: must be numbers of seeds, each hi"),
        (["hydra.sweeper.keep=1.5"], r"hydra.sweeper.keep: must be in \(0, 1\), got 1.5"),
        (["hydra.sweeper.final=2"], "hydra.sweeper.final: must be a whole number >= 3, got 2"),
        (["hydra.sweeper.candidates=[]"], "hydra.sweeper.candidates: must be a list"),
        (["hydra.sweeper.budget=0"], "hydra.sweeper.budget: must be a whole number >= 1 or null"),
        (["hydra.sweeper.control={prompts.noise_rate:'0.3,0.5'}"], "hydra.sweeper.control: must"),
    ],
)
def test_bad_values_are_one_line(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        raced(tmp_path, *overrides)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("seed=1", "seed: must be left to hydra.sweeper.rounds with .*, got seed=1; leave it out"),
        ("prompts.noise_rate=0.7", "prompts.noise_rate: must be left to hydra.sweeper.candidates"),
        ("backbone=resnet_mini,vit", "backbone: must be one value with .sweep=policy, got backbo"),
    ],
)
def test_the_candidates_alone_say_what_varies(tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        raced(tmp_path, given=[*GIVEN, given])


@pytest.mark.slow
def test_a_search_runs_from_one_command_to_its_table(tmp_path: Path) -> None:
    few = ["hydra.sweeper.rounds=[1]", "hydra.sweeper.control.augmentation=randaugment"]
    arguments = ["+sweep=policy", *TRAINING, "metrics=[]", *SMALL[1:], *few]
    done = run_module("sip.train", arguments, tmp_path / "said", tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "test top-1 on 3 fresh seeds: winner " in done.stderr
    assert done.stderr.splitlines()[-1].endswith("compare: python -m sip.tables experiment=policy")
    tables = []
    for name in (["experiment=policy"], ["table=rounds", "experiment=policy_rounds"]):
        table = run_module("sip.tables", name, tmp_path / "said", tmp_path)
        assert table.returncode == 0, table.stderr
        tables.append(table.stdout)
    assert "p (Holm)" in tables[0] and "randaugment" in tables[0]
    assert "p (Holm)" not in tables[1] and "exploratory" in tables[1] and "val/top1" in tables[1]


def test_equal_ids_of_other_generators_are_paid_for_each(tmp_path: Path) -> None:
    rows = [{"id": "a", "kind": "generated", "unet_evaluations": 100}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "images.parquet")
    race = Race(3, [1], 0.5, None)
    for number, steps in enumerate((25, 25, 50)):
        recipe = {"offline": {"images": {"num_steps": steps}}}
        race.scores[number] = [_score(tmp_path, training_summary(recipe=recipe))]
    assert race.spent == 200

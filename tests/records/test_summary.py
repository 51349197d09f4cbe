"""Summaries: what is written is what is read, and damage is one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from sip.core.errors import UserError
from sip.filter.base import FilterCounts
from sip.metrics.base import MetricRow
from sip.records.read import RunRecord, finished_folders, read_run, runs_of, training_runs
from tests.records.made_up import generation_summary, stage, training_summary, write_run

QUALITY = (MetricRow("generated/vendi", 4.25, "images", True, "train", 10),)


def test_every_field_survives_the_file(tmp_path: Path) -> None:
    summary = training_summary(
        filter=FilterCounts(8, 2, {"similarity": 2}),
        quality=QUALITY,
        metrics={"test/top1": 0.5, "generated/vendi": 4.25},
        stages=(stage("images", 3, 4, 2.5), stage("classifier")),
        leaks={"val": {"exact": 1, "near": 2}},
        experiments=(None, "main"),
        shots=None,
    )
    assert read_run(write_run(tmp_path / "run", summary)).summary == summary
    other = generation_summary(failures={"black": 2}, commit=None, command=None)
    assert read_run(write_run(tmp_path / "other", other)).summary == other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "first"}, "seed: "),
        ({"stages": [{"stage": "images"}]}, "stages.0.cached: "),
        ({"kind": "other"}, "must be a run's summary, got"),
        ({"kind": [1]}, "must be a run's summary, got"),
        ({"metrics": {"test/top1": "high"}}, "metrics.test/top1: "),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = write_run(tmp_path / "run", training_summary())
    values = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(values | change))
    with pytest.raises(UserError, match=message) as error:
        read_run(folder)
    assert "\n" not in str(error.value) and "delete its folder" in str(error.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", training_summary())
    values = json.loads((folder / "summary.json").read_text())
    del values["num_generated"]
    (folder / "summary.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="summary.json: num_generated: field required"):
        read_run(folder)


def test_runs_are_found_by_experiment_and_fingerprint(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a-0123456789", training_summary(experiments=("main", "other")))
    write_run(tmp_path / "b-9876543210", training_summary(experiments=(None,)))
    write_run(tmp_path / "generate-0000000000", generation_summary())
    assert len(training_runs(tmp_path)) == len(runs_of(tmp_path)) == 2
    assert [run.folder for run in runs_of(tmp_path, ["other"])] == [one]
    assert finished_folders(tmp_path, "0123456789") == [one]
    with pytest.raises(UserError, match="got 'none'; there are main, other"):
        runs_of(tmp_path, ["none"])


def test_values_come_from_summary_choices_and_configuration(tmp_path: Path) -> None:
    summary = training_summary(
        recipe={"offline": {}},
        choices={"prompts/guidance": "quadratic"},
        metrics={"test/top5": 0.9},
    )
    run = RunRecord(write_run(tmp_path / "run", summary), summary)
    (run.folder / "config.yaml").write_text("prompts: {noise_rate: 0.5}\npaths: {store: /s}\n")
    assert run.value("backbone") == "resnet50" and run.value("seed") == 0
    assert run.value("prompts/guidance") == "quadratic"
    assert run.value("prompts.noise_rate") == 0.5
    assert run.value("prompts") is None and run.value("recipe") is None
    assert run.store == Path("/s")
    assert run.metric("test/top5") == pytest.approx(90) and run.metric("test/top1") == 75
    assert run.metric("num_train") == 100 and run.metric("backbone") is None
    plain = RunRecord(run.folder, training_summary(recipe={"offline": None}))
    assert plain.value("prompts.noise_rate") is None, "it plays no part"


def test_accuracies_are_in_percent_those_of_frequency_groups_too(tmp_path: Path) -> None:
    metrics = {"test/tail": 0.4, "test/ece": 0.25}
    run = RunRecord(tmp_path, training_summary(metrics=metrics))
    assert (run.metric("test/tail"), run.metric("test/ece")) == (40.0, 0.25)

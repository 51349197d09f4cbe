"""The scripts of experiments/speed run, and measure the same work in all that they compare."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.speed import (
    contention,
    executors,
    formats,
    million,
    paths,
    storage,
    store,
    training,
    training_loops,
)
from experiments.speed.training_files import generated_next_to, photographs
from experiments.speed.training_loops import Case
from sip.augmentation.base import Augmentation
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.generated import GeneratedMode
from sip.augmentation.sample.none import AsIs
from sip.backbone.timm import Timm
from sip.benchmark.report import Turn
from sip.benchmark.workload import crops
from sip.core.image_io import read_rgb
from tests.classifier.recipes import recipe


def test_lossless_formats_lose_nothing() -> None:
    rows = {row["format"]: row for row in formats.measure(crops(32, 4), repeats=1)}
    assert list(rows) == list(formats.CHOICES)
    for name, row in rows.items():
        is_lossless = "PNG" in name or "lossless" in name
        assert (row["psnr"] is None) == is_lossless and (row["error"] == 0) == is_lossless
    assert len(formats.table(list(rows.values())).splitlines()) == 2 + len(rows)


def test_storages_hold_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "PER_SHARD", 8)
    storage.main(num=20, size=32, repeats=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].startswith(f"| webdataset / files | {6 / 23:.3g} |")
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store.main(owners=(3,), num_rows=100)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if " | " in line]
    assert [row[:2] for row in rows[1:4]] == [["| 3", "0"], ["| 3", "1"], ["| 3", "3"]]
    assert [row[0] for row in rows[5:]] == ["| 64", "| 512"]
    assert {len(row) for row in rows} == {4, 6} and list(tmp_path.iterdir()) == []


def test_the_floor_of_a_path_is_the_forwards_of_its_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "NUM_IMAGES", 4)
    monkeypatch.setitem(paths.OWN, "aspect=keep", 32)
    monkeypatch.setattr(paths, "enlarge", lambda folder, path: None)
    bench = paths.prepared("aspect=keep", tmp_path)
    paths.record(bench, tmp_path / "first", tmp_path / "inputs.pt")
    floor = paths.Forwards(bench, tmp_path / "inputs.pt")
    rows: Counter[str] = Counter()
    for number in floor.order:
        name, given, named = floor.calls[number]
        rows[name] += len([*given, *named.values()][0])
    cost = sum(map(bench.generator.num_evaluations, bench.prompts))
    # A prompt is read once more without its caption, whose weight is below 1; and the empty text.
    assert rows == {"denoise": cost, "encode": 4, "decode": 4, "text 1": 2 * 4 + 1}
    assert len({bench.generator.size_of(prompt) for prompt in bench.prompts}) == 4
    floor.run()
    found = {"a": [1.0, 3.0], "b": [2.0, 4.0], "memory of a": [1e9], "memory of b": [2e9]}
    assert paths.row("x", found) == "x | 2.00 | 3.00 | 0.625 [0.500, 0.750] | 1,000 | 2,000 | 2.000"


def test_every_stage_is_measured_on_what_those_before_it_left(tmp_path: Path) -> None:
    costs = {}
    for stage in million.STAGES:
        before = len([*tmp_path.rglob("*")])
        cpu, wall, growth = million.run_stage(stage, million.WARM, tmp_path)
        costs[stage, million.WARM] = million.Cost(stage, million.WARM, cpu, wall, growth, 1)
        assert cpu > 0 and wall > 0 and growth >= 0
        writes = {"captions", "scores", "images", "second start", "training", "export"}
        assert (len([*tmp_path.rglob("*")]) > before) == (stage in writes | {"plan"})
    made, trained = sorted(tmp_path.glob("runs/*/summary.json"))
    assert json.loads(made.read_text())["num_generated"] == million.WARM
    assert json.loads(trained.read_text())["num_generated"] == million.WARM
    assert len([*(tmp_path / "export").glob("*.tar")]) == 1
    lines = million.table(costs, [million.WARM]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:-1]] == [f"| {s}" for s in million.STAGES]
    cells = lines[-1].strip("| ").split(" | ")
    total = 1e6 * sum(cost.cpu for cost in costs.values()) / million.WARM
    assert cells[1] == f"{total:,.0f}" and cells[3] == f"{len(costs)}"


def test_workers_of_one_store_are_measured(tmp_path: Path) -> None:
    found = contention.measure(tmp_path, workers=2, seconds=0.1)
    assert len(found.waits) == len(found.cpu) >= 2 and min(found.waits) > 0
    assert found.rows == found.keys >= 2 * contention.BATCH and found.shards >= 2
    assert found.seconds > 0.1


def test_training_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "SIZE", 32)
    monkeypatch.setattr(training, "NAMES", {"vit_small": "test_vit"})
    small = ["--models", "vit_small", "--num-files", "4", "--batch-size", "2", "--steps", "1"]
    arms = ["--arms", "randaugment", "sip_cutmix", "--memory", "auto", "--repeats", "1"]
    training.main([*small, *arms, "runtime.device=cpu"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if " | kept | " in line]
    assert [row[0] for row in rows] == ["randaugment", "sip_cutmix"]
    for row in rows:
        bound, ours, timm, to_bound, to_timm = (float(cell.split()[0]) for cell in row[3:])
        assert to_bound == pytest.approx(ours / bound, rel=0.02)
        assert to_timm == pytest.approx(ours / timm, rel=0.02)
    assert list(tmp_path.iterdir()) == []


def test_timm_reads_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = photographs(tmp_path / "a", 2)
    next_to = generated_next_to(rows, tmp_path / "b")
    backbone = Timm("test_resnet", None, None, None, None, 0.0, 64, None, None)
    values = recipe(optimizer="sgd", lr=0.1, steps=2, batch_size=2, warmup_steps=1, val_every=2)
    case = Case("a model", backbone, values, 10, rows, next_to, torch.device("cpu"))
    seen: list[torch.Tensor] = []

    def keep(case: Case, module: object, batches: object) -> Turn:
        seen.extend(images for _, (images, _) in zip(range(2), batches, strict=False))
        return Turn(1, 1.0, 1.0)

    monkeypatch.setattr(training_loops, "_loop", keep)
    arm = Augmentation(GeneratedMode("concat", 0.5, 0.5, None), AsIs(), NoMix())
    training_loops.timms(case, arm, 0)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in backbone.normalisation)
    shown = [(image * std + mean) * 255 for image in torch.cat(seen)]
    nearest = []
    for row in [*rows, *next_to]:
        ours = torch.from_numpy(np.array(read_rgb(row.path, 64))).permute(2, 0, 1)
        errors = [float((image - ours).abs().mean()) for image in shown]
        assert min(errors) < 2  # of 255: its crop is half a pixel off
        nearest.append(int(np.argmin(errors)))
    assert sorted(nearest) == [0, 1, 2, 3]


@pytest.mark.slow
def test_executors_generate_the_same_next_to_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="pip install -e '.[ray]' brings it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(executors.__file__).parents[2]))
    executors.main(num=32, turns=1)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows[2:]] == ["| floor", "| local", "| ray"]
    assert rows[3][-1] == "1.00 |" and all(float(cell) > 0 for cell in rows[4][1:5])


def test_executors_are_compared_within_turns() -> None:
    found = {"local": [(9.0, 8.0, 10.0, 0.1), (9.0, 8.0, 20.0, 0.1), (8.0, 7.0, 5.0, 0.2)]}
    found["ray"] = [(20.0, 30.0, 9.0, 0.1), (21.0, 30.0, 16.0, 0.1), (22.0, 30.0, 5.0, 0.1)]
    assert executors.table(found).splitlines()[2:] == [
        "| local | 9.0 | 8.0 | 10.0 | 100 | 1.00 |",
        "| ray | 21.0 | 30.0 | 9.0 | 100 | 0.90 |",
    ]

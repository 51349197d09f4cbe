"""The GPU day, run in miniature on the CPU: a slip in its code would cost the day."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from experiments.gpu import day, flow, gpu_tests, packages, prepare, processes, results, shards
from experiments.gpu.cifar import made_up
from experiments.gpu.job import Job
from experiments.gpu.latents import PatchPCA, to_float
from experiments.gpu.settings import STEPS, Settings, SettingsError, parse

ROOT = Path(__file__).parents[2]
BAD = "tests.experiments.gpu_steps"


def run_day(folder: Path, *words: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "experiments.gpu.day", f"output={folder}"]
    fixed = ["device=cpu", "tiny=true", "minutes=5"]
    done = subprocess.run([*command, *fixed, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "day.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("day") / "output"
    return folder, *run_day(folder)


def of(written: dict[str, Any], name: str) -> dict[str, Any]:
    return next(step for step in written["steps"] if step["name"] == name)["results"]


@pytest.mark.slow  # before a day
def test_every_step_runs_in_miniature(tiny) -> None:
    folder, written, output = tiny
    assert [step["name"] for step in written["steps"]] == [step.name for step in STEPS]
    assert {step["status"] for step in written["steps"]} == {"ok"}
    tests = of(written, "tests")
    assert tests["counts"]["skipped"] >= 5 and not tests["counts"]["failed"]
    generation = of(written, "generation")
    for way in ("eager", "compiled"):
        figures = generation[way]
        # An engine that generated nothing would be far above its floor.
        assert 0.1 < figures["b/a"] < 1.6 and figures["b/c"] > 0.2
        assert 0 < figures["share_of_matmul_rate"] < 1.5
        rate = figures["engine_images_per_s"]
        assert figures["engine_evaluations_per_s"] == pytest.approx(
            rate * generation["evaluations_an_image"], rel=1e-2
        )
        few = generation[f"{way}_8_evaluations"]
        assert 0 < few["vae_share_of_floor_time"] < 1 and 0.1 < few["b/a"] < 1.6
    assert generation["tflop_an_image"] > 0 and generation["seconds_to_compile"] > 0
    natural = of(written, "natural")
    assert natural["num_train"] == 400 and natural["images_before"] == 0 and natural["run"] == 1
    assert natural["images_per_s"] > 0 and natural["images"] == natural["loss"][-1][0]
    assert 0 < natural["held_out_loss"] < 4 and "compile_error" not in natural
    training = of(written, "training")
    for key in ("read_at_each_use", "kept_in_memory"):
        assert all(training[key][name] > 0 for name in ("b/a", "b/c", "bound_images_per_s"))
    resnet = of(written, "resnet18")
    assert resnet["test_accuracy"] > 0.5 and resnet["passes"] > 0  # one colour a class
    assert "targets" not in generation and "targets" not in resnet  # they are of the full size
    for step in STEPS:
        assert f"| {step.title} | ok |" in output
    assert "| resnet18" not in output and (folder / "day.md").read_text().startswith("# GPU day")


@pytest.mark.slow  # before a day
def test_what_is_written_can_travel_back(tiny) -> None:
    folder, written, output = tiny
    line, holds = results.check_files(folder)
    assert holds and line in output and written["files"] == line
    assert not list(folder.rglob("*.part"))
    with Image.open(folder / "natural.png") as sheet:
        assert sheet.width > 500 and sheet.height > sheet.width


@pytest.mark.slow  # before a day
def test_a_second_run_continues_the_generator(tiny) -> None:
    folder, written, _ = tiny
    first = of(written, "natural")
    again, _ = run_day(folder, "steps=natural")
    second = of(again, "natural")
    assert second["images_before"] == first["images"] and second["run"] == 2
    assert second["images"] > first["images"]
    assert second["loss"][: len(first["loss"])] == first["loss"]


def job(folder: Path, seconds: float = 60.0, **changes: Any) -> Job:
    settings = Settings(output=folder, device="cpu", tiny=True, **changes)
    return Job(settings, time.monotonic() + seconds, folder, folder / "results.json")


def run_bad(folder: Path, name: str, seconds: float = 60.0) -> tuple[dict[str, Any], list]:
    seen: list[dict[str, Any]] = []
    given = job(folder, seconds)
    done = processes.run(f"{BAD}:{name}", given, folder / "day.log", "spawn", seen.append)
    return done, seen


def test_results_arrive_as_they_are_recorded(tmp_path: Path) -> None:
    done, seen = run_bad(tmp_path, "works")
    assert done["status"] == "ok" and done["error"] is None
    assert done["results"] == {"second": {"rate": 2.5}} == seen[-1]


def test_a_step_that_raises_is_recorded(tmp_path: Path) -> None:
    done, _ = run_bad(tmp_path, "raises")
    assert done["status"] == "failed" and done["error"] == "RuntimeError: the kernel is missing"
    assert done["results"]["before"] == 1
    assert done["results"]["traceback"][-1] == done["error"]
    assert done["error"] in (tmp_path / "day.log").read_text()
    done, _ = run_bad(tmp_path, "measures_a_failure")
    assert done["error"] == "2 of 7 failed" and "traceback" not in done["results"]


def test_a_step_that_dies_is_recorded(tmp_path: Path) -> None:
    done, _ = run_bad(tmp_path, "dies")
    assert done["status"] == "failed" and "exit code 9" in done["error"]
    assert done["results"] == {"before": 1}


def test_a_step_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    done, _ = run_bad(tmp_path, "hangs", seconds=8)
    assert done["status"] == "killed" and 7 < done["seconds"] < 30
    child = done["results"]["child"]
    for _ in range(50):  # an orphan is gone once init has seen it
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    os.kill(child, 9)
    pytest.fail("its child is still there")


def test_the_other_steps_run_when_one_fails(tmp_path: Path, monkeypatch, capsys) -> None:
    def fake(target: str, *_: Any) -> dict[str, Any]:
        fails = "generation" in target
        error = "RuntimeError: no | kernel" if fails else None
        status = "failed" if fails else "ok"
        return {"status": status, "seconds": 1.0, "error": error, "results": {"summary": "done"}}

    monkeypatch.setattr(processes, "run", fake)
    settings = Settings(output=tmp_path, tiny=True)
    assert day.run(settings, time.monotonic(), tmp_path, []) == 1
    written = json.loads((tmp_path / "day.json").read_text())
    states = {step["name"]: step["status"] for step in written["steps"]}
    assert states == {step.name: "ok" for step in STEPS} | {"generation": "failed"}
    assert (
        "| generation | failed | 1.0 | done; RuntimeError: no \\| kernel |"
        in capsys.readouterr()[0]
    )


def test_what_does_not_fit_is_skipped_with_a_reason(tmp_path: Path) -> None:
    tests, generation, natural, training, resnet = STEPS
    settings = Settings(output=tmp_path)
    assert day.plan(generation, (), settings, 1000) == (None, generation.limit)
    assert day.plan(generation, (), settings, 100) == (None, 100)
    reason, _ = day.plan(generation, (), settings, 59)
    assert reason == "59 s are left, and it needs 60 s"
    reason, _ = day.plan(natural, (), settings, 1000)
    assert reason is not None and reason.startswith("data: ") and "data=FOLDER" in reason
    (tmp_path / "train.parquet").touch()
    there = Settings(output=tmp_path, data=tmp_path)
    later = (training, resnet)
    assert day.plan(natural, later, there, 1000) == (None, 1000 - training.limit - resnet.limit)
    assert day.plan(natural, later, there, 300) == (None, natural.limit)
    reason, _ = day.plan(natural, later, Settings(output=tmp_path, data=tmp_path / "no"), 300)
    assert reason is not None and "must hold train.parquet" in reason
    assert sum(step.limit for step in (tests, generation, natural, training)) == 9 * 60


def test_missing_packages_are_named_before_any_work(tmp_path: Path, monkeypatch, capsys) -> None:
    checked = packages.check({"numpy": ">=1000", "no-such-package": ">=1"})
    lines, missing = packages.report(checked)
    assert missing == ["no-such-package"] and lines[0].startswith("no-such-package: MISSING (Mod")
    assert "pyproject.toml wants >=1000" in lines[1]
    wanted = {"no-such-package": "", "hydra-core": "", "antlr4-python3-runtime": ""}
    monkeypatch.setattr(packages, "required", lambda: {"no-such-package": ""})
    monkeypatch.setattr(sys, "argv", ["day", f"output={tmp_path / 'out'}"])
    assert day.main() == 2 and not (tmp_path / "out").exists()
    output = capsys.readouterr().out
    assert "pip download --only-binary=:all:" in output and "no-such-package" in output
    binary, source = packages.commands(wanted)
    assert f"hydra-core=={packages.pins()['hydra-core']}" in binary and "antlr4" not in binary
    assert source.startswith("python -m pip wheel") and "antlr4-python3-runtime==4.9.3" in source


def test_required_packages_are_the_projects_without_wandb() -> None:
    wanted = packages.required()
    assert "wandb" not in wanted and {"diffusers", "torch", "omegaconf", "pytest"} <= set(wanted)


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("minuts=3", "did you mean minutes"),
        ("minutes=0", "minutes: must be a number"),
        ("device=tpu", "device: must be cuda or cpu, got 'tpu'"),
        ("tiny=yes", "tiny: must be true or false"),
        ("steps=tests,naturl", "steps: must be names of tests, .*'naturl'"),
    ],
)
def test_wrong_arguments_are_one_line(word: str, error: str) -> None:
    with pytest.raises(SettingsError, match=error) as raised:
        parse([word])
    assert "\n" not in str(raised.value)


def test_steps_run_in_order_of_value() -> None:
    chosen = parse(["steps=resnet18,tests", "minutes=2.5"]).chosen()
    assert [step.name for step in chosen] == ["tests", "resnet18"]


def test_what_travels_is_added_up(tmp_path: Path, capsys) -> None:
    (tmp_path / "diffusers-0.42.1-py3-none-any.whl").write_bytes(b"0" * 2**20)
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").write_bytes(b"0" * 2**21)
    settings = Settings(prepare=True, data=tmp_path, wheels=tmp_path, missing=("diffusers",))
    assert prepare.run(settings) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    sizes = {row[0]: float(row[-1]) for row in rows[1:5]}
    total = next(row for row in rows if row[0] == "sum")
    assert float(total[1]) == pytest.approx(5 + sizes["repository"], abs=0.2)
    assert prepare.run(Settings(prepare=True, missing=("diffusers",))) == 1  # not all is there
    (tmp_path / "test.parquet").write_bytes(b"0" * 65 * 2**20)
    assert prepare.run(settings) == 1
    assert "does not fit" in capsys.readouterr().out


def test_a_failure_by_a_warning_is_told_from_other_failures(tmp_path: Path) -> None:
    done, _ = run_bad(tmp_path, "tests_a_library")
    results = done["results"]
    assert done["status"] == "failed"
    assert results["counts"] == {"passed": 1, "failed": 2, "skipped": 0}
    assert [name.rpartition("::")[2] for name in results["failed_by_a_warning_only"]] == [
        "test_warns"
    ]
    tracebacks = {name.rpartition("::")[2]: lines for name, lines in results["failed"].items()}
    assert "arithmetic" in "\n".join(tracebacks["test_wrong"])
    assert done["error"].startswith("2 of 3 failed, 1 of them by a warning only")


def test_only_files_with_gpu_tests_are_collected() -> None:
    files = gpu_tests.gpu_files()
    assert "tests/images/test_engine.py" in files
    assert all("mark.gpu" in (ROOT / file).read_text() for file in files)
    assert not any("experiments" in file for file in files)


def test_weights_are_cut_into_files_and_put_together(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shards, "MAX_BYTES", 1000)
    weights = {str(number): torch.randn(20, 10) for number in range(5)} | {"n": torch.tensor(3)}
    assert shards.save(tmp_path, "w", weights, {"images": 1}) == 3
    loaded = shards.load(tmp_path, "w")
    assert loaded is not None and loaded[1] == {"images": 1} and loaded[0].keys() == weights.keys()
    assert all(
        torch.allclose(loaded[0][name].float(), weights[name].float(), atol=2e-3)
        for name in weights
    )
    assert shards.save(tmp_path, "w", {"0": weights["0"]}, {"images": 2}) == 1
    assert len(list(tmp_path.iterdir())) == 1  # what was there before is gone
    shards.save(tmp_path, "w", weights, {"images": 3})
    (tmp_path / "w-2-of-3.safetensors").unlink()
    with pytest.raises(ValueError, match="must hold 3 files of one checkpoint, got 2"):
        shards.load(tmp_path, "w")
    assert shards.load(tmp_path, "other") is None


def test_latents_are_principal_components() -> None:
    images = made_up(300)[0]
    pca = PatchPCA.fit(images)
    assert torch.allclose(pca.basis @ pca.basis.T, torch.eye(16), atol=1e-4)
    patches = torch.nn.functional.pixel_unshuffle(to_float(images), 4)
    flat = patches.permute(0, 2, 3, 1).reshape(-1, 48).numpy()
    reference = PCA(16, svd_solver="full").fit(flat)
    there = reference.inverse_transform(reference.transform(flat)).clip(-1, 1)
    expected = 10 * np.log10(4 / np.square(there - flat).mean())
    assert pca.psnr(images) == pytest.approx(expected, abs=0.01)
    assert pca.encode(images[:2]).shape == (2, 16, 8, 8)


class Straight(torch.nn.Module):
    """Predicts the flow to one point, twice as long without a class."""

    def forward(self, x, times, class_labels):
        factor = 1 + (class_labels == flow.NO_CLASS).float()
        velocity = factor[:, None, None, None] * torch.ones_like(x)
        return type("Output", (), {"sample": velocity})


def test_the_sampler_follows_the_flow_from_each_rows_own_time() -> None:
    begin, scales = torch.tensor([0.3, 1.0, 1.0]), torch.tensor([1.0, 1.0, 3.0])
    x = torch.zeros(3, 1, 2, 2)
    out = flow.sample(Straight(), x, torch.zeros(3, dtype=torch.long), begin, scales, 7)
    # Guidance 3: 2 + 3 (1 - 2) = -1.
    assert torch.allclose(out[:, 0, 0, 0], torch.tensor([-0.3, -1.0, 1.0]), atol=1e-5)

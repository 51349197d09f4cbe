"""The speed of generation: the floor is the engine's own work, the report what was timed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from sip.benchmark import full_size, generation
from sip.benchmark.floor import Call, Floor
from sip.benchmark.report import LABELS, Report, Turn
from sip.benchmark.workload import BLOCK, make_prompts, sample_of
from sip.core.errors import UserError
from sip.core.shapes import Size
from sip.images.batches import group_rows
from sip.pipeline.offline import Offline
from tests.composing import composed
from tests.images import models

QUICK = ["runtime.device=cpu", "repeats=1", "num_images=6", "images.num_steps=4"]


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DictConfig]:
    """Compose the benchmark's configuration, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: composed(*QUICK, *overrides, name="benchmark")


@pytest.mark.parametrize("per_sample", [1, 2])
def test_the_floor_is_the_work_that_the_rows_cost(compose, tmp_path: Path, per_sample) -> None:
    stages = Offline(compose(f"images.per_sample={per_sample}", "images.num_steps=10"))
    engine = stages.generator.load(stages.runtime)
    prompts = make_prompts(stages, 20, tmp_path / "images")
    assert len({prompt.text for prompt in prompts}) == 20 // per_sample
    batches = list(group_rows(prompts, 4, engine.settings.group))
    assert {len(batch) for batch in batches} == {2, 4}
    floor = Floor(engine, batches)
    seen = {"denoise": 0, "encode": 0, "decode": 0}

    def count(name: str):
        def hook(module, inputs, output) -> None:
            seen[name] += len(inputs[0])

        return hook

    family = engine.models
    parts = {"denoise": family.denoiser, "encode": family.vae.encoder}
    parts["decode"] = family.vae.decoder
    hooks = [part.register_forward_hook(count(name)) for name, part in parts.items()]
    floor.run()
    for hook in hooks:
        hook.remove()
    planned = sum(map(engine.settings.num_evaluations, prompts))
    assert seen["denoise"] == floor.evaluations == planned
    assert seen["encode"] == 20 // per_sample and seen["decode"] == 20
    # Guided rows count twice, and the rows with guidance scale 1 once.
    size = Size.of(engine.settings.size)
    assert {Call("denoise", 8, size, 9), Call("denoise", 2, size, 9)} <= {*floor.calls}
    assert floor.flops() > 1e6 * floor.evaluations


def test_the_command_measures_all_three(compose, tmp_path: Path, capsys) -> None:
    generation.run(compose("output=speed.md", "runtime.batch_size.images=2", "full_size=false"))
    text = Path("speed.md").read_text()
    assert text in capsys.readouterr().out
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in text.splitlines()}
    for label in LABELS.values():
        rate, evaluations, seconds, held, images = rows[label][1:]
        assert float(rate.split()[0]) > 0 and float(held) > 0 and images == "6 |"
        assert float(rate.split()[0]) * float(seconds) == pytest.approx(1, rel=1e-2)
        # At 4 steps the noise rates run 1, 2 and 2 of them, twice each: all rows are guided.
        share = float(evaluations.replace(",", "")) / float(rate.split()[0])
        assert share == pytest.approx((2 + 4 + 4) / 3, rel=1e-2)
    assert "- U-Net evaluations an image: 3.33333" in text and "failed" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["speed.md"]


def test_the_engine_is_timed_on_the_rows_that_it_stores(compose, tmp_path: Path) -> None:
    stages = Offline(compose("runtime.batch_size.images=auto", "images.num_steps=10"))
    stages.store.root = tmp_path / "store"
    prompts = make_prompts(stages, 6, tmp_path / "images")
    bench = generation.Bench(stages, prompts, tmp_path)
    assert type(bench.batch_size) is int and bench.batch_size >= 1
    report = bench.prepare("a model")
    assert report.evaluations["engine"] == report.evaluations["floor"]
    assert report.evaluations["engine"] == sum(map(stages.generator.num_evaluations, prompts))
    assert report.num_failed == 0 and report.memory["process"] > 1e8
    assert bench.sample == prompts
    seen: list[int] = []
    bench.stock.pipeline.unet.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    bench.stock.run(prompts, tmp_path / "stock")
    assert sum(seen) == report.evaluations["stock"] and set(seen) == {2}
    written = {path.stem for path in (tmp_path / "stock").glob("*.png")}
    assert written == {prompt.image_id for prompt in prompts}


@pytest.mark.slow
def test_the_full_size_is_measured_too(compose, monkeypatch, capsys) -> None:
    built: list[str] = []

    def build(folder: Path, dtype: str) -> None:
        built.append(dtype)
        models.save_sd(folder)

    monkeypatch.setattr(full_size, "build_sd15", build)
    monkeypatch.setattr(generation, "FULL_SIZE", models.SIZE)
    generation.run(compose("full_size=true", "num_images=2"))
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("## ")]
    assert titles == ["## sip/miniature/diffusion", f"## {generation.FULL_NAME}"]
    assert built == ["float32"] and list(Path().iterdir()) == []


def test_what_was_measured_is_kept_if_the_full_size_fails(compose, monkeypatch) -> None:
    written: list[str] = []

    def fail(*_: object) -> None:
        raise UserError("no space")

    monkeypatch.setattr(generation, "_measure", lambda *_: "the first")
    monkeypatch.setattr(generation, "_full_size", fail)
    monkeypatch.setattr(generation, "write", lambda reports, output: written.extend(reports))
    with pytest.raises(UserError, match="no space"):
        generation.run(compose("full_size=true"))
    assert written == ["the first"]


def test_samples_cost_what_the_list_costs(compose, tmp_path: Path) -> None:
    stages = Offline(compose("images.num_steps=50"))
    prompts = make_prompts(stages, 3 * BLOCK, tmp_path)
    evaluations = stages.generator.num_evaluations
    costs = [sum(map(evaluations, sample_of(prompts, num))) for num in (0, 10, 25, 99)]
    assert costs == [475, 475, 950, 1425]
    assert sample_of(prompts[:25], 10) == prompts[:25]


def test_ratios_are_taken_turn_by_turn() -> None:
    report = Report("x", {}, {"floor": 44, "engine": 40, "stock": 8}, 1, [4, 4, 2], 2e9, {})
    report.turns["floor"] = [Turn(10, 1.0, 1.0), Turn(10, 2.0, 2.0), Turn(10, 1.0, 1.0)]
    report.turns["engine"] = [Turn(10, 1.25, 2.5), Turn(10, 2.0, 4.0), Turn(10, 2.0, 4.0)]
    report.turns["stock"] = [Turn(2, 1.0, 1.0), Turn(2, 1.0, 1.0), Turn(2, 1.0, 1.0)]
    assert report.ratios("engine", "floor") == [0.8, 1.0, 0.5]
    assert report.ratios("engine", "stock") == [4.0, 2.5, 2.5]
    text = "\n".join(report.lines())
    assert "b/a 0.800 [0.500, 1.00], b/c 2.5 [2.5, 4.0]" in text
    assert "(b) engine: files to files | 5.000 [5.000, 8.000] | 20.0 | 0.2 | 0.4 | 10 |" in text
    assert "- failed: 1 image\n" in text and "- filled up: 10.0% more" in text
    assert "- images: 10, of which 2 in batches that are not full" in text


@pytest.mark.parametrize(
    "override, text",
    [
        ("num_images=0", "num_images: must be a whole number >= 1, got 0"),
        ("repeats=x", "repeats: must be a whole number >= 1, got 'x'"),
        ("full_size=maybe", "full_size: must be auto, true or false, got 'maybe'"),
        ("images=txt2img", "images: must be an image-to-image model"),
    ],
)
def test_wrong_settings_are_refused(compose, override, text) -> None:
    with pytest.raises(UserError, match=text):
        generation.run(compose("full_size=false", override))

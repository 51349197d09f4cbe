"""The plan against what a job then does, from whatever is there."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import open_dict

from sip.core.errors import UserError
from sip.core.stages import StageLog
from sip.images.base import ImageRow
from sip.jobs.generate import generate
from sip.pipeline import trial
from sip.pipeline.components import trial_prompt
from sip.pipeline.known import KnownRows
from sip.pipeline.plan import Plan, make_plan
from sip.pipeline.rows import known_images
from sip.pipeline.trial import Trials
from sip.prompts.writer import Writer
from sip.store.fill import fill
from sip.weights.missing import MissingWeightsError
from tests.kills import Generation, configuration


@pytest.fixture
def job(tmp_path: Path) -> Generation:
    """A job of 20 originals and 40 images; nothing is there yet."""
    return Generation(configuration(tmp_path))


def generate_all(job: Generation, samples: list) -> None:
    prompts, _ = job.offline.prompts(samples, StageLog())
    job.offline.generate(prompts, StageLog())


def test_from_nothing_to_all(job: Generation, capsys: pytest.CaptureFixture) -> None:
    plan = job.plan()
    assert (plan.to_caption, plan.to_score, plan.to_generate, plan.cached) == (20, 20, 40, 0)
    assert not plan.exact and plan.seconds > 0 and plan.bytes_needed > 0
    lines = plan.lines()
    assert lines["memory of captioner"].startswith("captioner: ")
    assert lines["memory of generator"].endswith("MiB in float32")
    samples = job.samples()
    generate_all(job, samples[:8])
    half = make_plan(job.offline, samples)
    assert (half.to_caption, half.to_score, half.to_generate, half.cached) == (12, 12, 24, 16)
    generate_all(job, samples)
    done = make_plan(job.offline, samples)
    assert (done.to_caption, done.to_score, done.to_generate, done.cached) == (0, 0, 0, 40)
    assert not done.memory
    assert done.exact and done.evaluations == done.bytes_needed == done.seconds == 0


def test_a_class_name_that_is_cut_is_refused_before_scores_too(job: Generation) -> None:
    """Captions may be there already, or be stated by the data set."""
    samples = job.samples()[:3]
    job.offline._captions(samples, StageLog())
    named = [replace(sample, class_name="odd word " * 40) for sample in samples]
    with pytest.raises(UserError, match="must have the class name within the 32 tokens"):
        make_plan(job.offline, named, unmeasured="a test")
    with pytest.raises(UserError, match="must have the class name within the 32 tokens"):
        job.offline.prompts(named, StageLog())
    assert not list(job.offline.stage("scores").folder.glob("shards/*"))


def test_an_original_that_is_there_twice_is_planned_once(job: Generation) -> None:
    samples = job.samples()
    twice = [*samples, replace(samples[0], sample_id="copy", path="/copy.png")]
    plan = make_plan(job.offline, twice, unmeasured="a test")
    assert (plan.to_caption, plan.to_score, plan.to_generate) == (20, 20, 40)
    job.offline._captions(samples[:5], StageLog())
    plan = make_plan(job.offline, twice, unmeasured="a test")
    assert (plan.to_caption, plan.to_score, plan.to_generate) == (15, 20, 40)


def test_a_speed_is_measured_once_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs of a sweep share it, unless model or device settings differ."""
    monkeypatch.setattr(trial, "MEASURED", {})
    runs: list[str] = []
    run = Trials._run
    counted = lambda self, name, batch: (runs.append(name), run(self, name, batch))[1]  # noqa: E731
    monkeypatch.setattr(Trials, "_run", counted)

    def planned(*overrides: str) -> tuple[set[str], float]:
        runs.clear()
        seconds = Generation(configuration(tmp_path, *overrides)).plan().seconds
        return set(runs), seconds

    measured, seconds = planned()
    assert measured == {"captions", "scores", "images"} and len(runs) == 7  # warmed up first
    assert planned() == (set(), seconds)
    assert planned("prompts.noise_rate=0.3")[0] == set()
    assert planned("images.scheduler=unipc")[0] == {"images"}
    assert planned("captions.num_captions=3")[0] == {"captions"}
    assert planned("runtime.vae_slicing=true")[0] == {"captions", "scores", "images"}


@pytest.mark.parametrize("storage", ["files", "webdataset"])
def test_the_disk_that_small_images_take_counts_their_blocks(tmp_path: Path, storage: str) -> None:
    job = Generation(configuration(tmp_path, f"images.storage={storage}"))
    planned = job.plan().bytes_needed
    generate_all(job, job.samples())
    shards = job.offline.stage("images").place.root / "shards"
    files = [file.stat() for file in shards.rglob("*") if file.is_file()]
    taken = sum(512 * file.st_blocks for file in files)
    assert 0.6 * taken < planned < 1.2 * taken


def test_captions_without_scores(job: Generation) -> None:
    samples = job.samples()
    job.offline._captions(samples[:12], StageLog())
    plan = make_plan(job.offline, samples)
    assert (plan.to_caption, plan.to_score, plan.to_generate) == (8, 20, 40)
    assert plan.evaluations == 40 * 4


def test_a_failed_row_of_scores_is_no_obstacle(job: Generation) -> None:
    samples = job.samples()
    captions = job.offline._captions(samples, StageLog())
    from sip.pipeline.offline import score_keys

    key = score_keys(samples, captions)[3]
    stage = job.offline.stage("scores")
    row = {"key": key, "sample_id": "x", "captions": ["a"], "similarities": [], "status": "failed"}

    def fail(batches, add) -> None:
        for _ in batches:
            add(row | {"error": "gone"})

    fill(stage, {key: 0}, fail, 1, shard_size=1)
    plan = make_plan(job.offline, samples)
    assert (plan.to_score, plan.to_generate) == (19, 38)
    prompts, _ = job.offline.prompts(samples, StageLog())
    assert len(prompts) == 38
    assert job.offline.failures(prompts[:0], samples[3:4]) == {"unreadable": 2}
    job.offline.retry_failed = True
    assert make_plan(job.offline, samples).to_score == 1


@pytest.mark.parametrize("ladder", [[], ["augmentation=sip_adaptive", "prompts.ladder=[0.5,0.25]"]])
def test_images_that_failed_are_cached_unless_they_are_tried_again(
    tmp_path: Path, ladder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Generation(configuration(tmp_path, "images.per_sample=1", *ladder))
    samples, captions, scores = job.samples()[:2], [["thin"]] * 2, [[0.3]] * 2
    known = KnownRows(samples, captions, scores, [], [], [])
    monkeypatch.setattr("sip.pipeline.plan.known_rows", lambda *_: known)
    prompts = job.offline.write(samples, captions, scores)
    backoff = job.offline.writer.backoff
    rungs = backoff.rungs(prompts[0]) if backoff else prompts[:1]

    def fail(batches, add) -> None:
        for batch in batches:
            for key in batch:
                add(ImageRow(key, "a", 0, None, None, 4, 0.1, "failed", "black").to_dict())

    fill(job.offline.stage("images"), {one.image_id: one.image_id for one in rungs}, fail, 1, 9)
    monkeypatch.setattr("sip.pipeline.plan.timed", lambda offline, work, *_: work)
    for retry, num in ((False, len(rungs)), (True, 0)):
        job.offline.retry_failed = retry
        plan = make_plan(job.offline, samples, class_names=job.dataset.class_names)
        assert (plan.cached, plan.failed) == (num, num)


def test_evaluations_are_named_only_if_images_are_denoised(
    job: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = type(job.offline.generator)
    plan = make_plan(job.offline, job.samples(), unmeasured="a test")
    assert "U-Net evaluations" in plan.lines() and "U-Net" in plan.line()
    assert "ControlNet evaluations" not in plan.lines()
    with monkeypatch.context() as patched:
        patched.setattr(generator, "num_control_evaluations", lambda self, prompt: 3)
        plan = make_plan(job.offline, job.samples(), unmeasured="a test")
        assert plan.lines()["ControlNet evaluations"] == "at most 120"
        (rows,) = known_images(job.offline, [trial_prompt(0.5)], ())
        assert rows.control == 3
    monkeypatch.setattr(generator, "num_evaluations", lambda self, prompt: 0)  # as images=retrieved
    plan = make_plan(job.offline, job.samples(), unmeasured="a test")
    assert "U-Net evaluations" not in plan.lines() and "U-Net" not in plan.line()


def test_one_image_is_an_image_and_no_evaluations_are_named_of_none() -> None:
    one = Plan(1, 1, 0, 1, 0, 0, True, 0.0, 0, 1e9, 1)
    assert one.lines()["to caption, to score"] == "1, 1 image"
    assert "U-Net" not in one.line() + "".join(one.lines())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    plan = Plan(0, 0, 10, 0, 0, 100, True, 1.0, 2_000_000, 1_000_000, 1)
    said = "^paths.store: must have about 2 MB free for 10 images, got 1 MB in "
    with pytest.raises(UserError, match=said):
        plan.check_space(tmp_path)


def test_a_plan_needs_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    config = configuration(tmp_path, "profile=paper", "dataset=digits", "plan=true")
    with open_dict(config):
        config.images.num_steps, config.prompts.noise_rate = 50, 0.5
    generate(config)
    out = capsys.readouterr().out
    assert re.search(r"to caption, to score +20, 20 images\n", out)
    assert re.search(r"to generate +40 images\n", out)
    assert re.search(r"U-Net evaluations +at most 2,000\n", out)
    assert re.search(r"time to generate +not measured: weights are missing\n", out)
    assert re.search(r"disk +about [1-9]", out)
    assert "weights: 3 models not on this disk (5.9 GB); looked in" in out
    models = "captions +Salesforce.*\n.*-> hf.*\n.*scores +openai.*\n.*\n.*images +stable-diffusion"
    assert re.search(models, out)
    config.plan = False
    with pytest.raises(MissingWeightsError) as caught:
        Generation(config)
    assert [stage for stage, _ in caught.value.models] == ["captions", "scores", "images"]


@pytest.mark.parametrize("devices", ["auto", 2])
def test_a_plan_needs_no_device(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    devices: str | int,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = configuration(tmp_path, "plan=true", f"trainer.devices={devices}")
    config.runtime.device = "cuda"
    generate(config)
    said = capsys.readouterr()
    assert "this machine lacks runtime.device=cuda; all but the time is planned" in said.err
    assert re.search(r"to generate +40 images\n", said.out)
    assert re.search(r"time to generate +not measured: the device is not on this machine", said.out)
    config.plan, config.runtime.device = False, "cuda"
    with pytest.raises(UserError, match="runtime.device: must be a device that torch sees"):
        generate(config)


def test_evaluations_are_counted_the_same_without_the_model(job: Generation) -> None:
    prompt = replace(trial_prompt(0.5), guidance_scale=3.0)
    for changes in ({}, {"num_steps": 16}, {"guidance_interval": (0.0, 0.3)}):
        here = replace(job.offline.generator, **changes)
        gone = replace(here, model="org/gone")
        assert not gone.is_on_disk
        for rate in (0.3, 0.5, 0.9):
            rows = replace(prompt, noise_rate=rate)
            assert gone.num_evaluations(rows) == here.num_evaluations(rows)


def test_a_balanced_job_generates_what_it_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configuration(tmp_path)
    config.images.balance = True
    job = Generation(config)
    samples = job.samples()
    samples = [s for s in samples if s.label != 0] + [s for s in samples if s.label == 0][:1]
    plan = make_plan(job.offline, samples)
    assert plan.to_generate == 40 and plan.balance == (
        "4 images of each class, 2 to 4 of each original"
    )
    prompts, _ = job.offline.prompts(samples, StageLog())
    labels = [prompt.label for prompt in prompts]
    assert {labels.count(label) for label in range(10)} == {4}
    assert len({prompt.image_id for prompt in prompts}) == 40
    counts, written, write = job.offline.num_images(samples), [], Writer.write

    def counted(
        self: Writer, samples: Sequence, captions: list, scores: list, num: int
    ) -> Sequence:
        written.append(len(samples) * num)
        return write(self, samples, captions, scores, num)

    monkeypatch.setattr(Writer, "write", counted)
    again, known = job.offline.prompts(samples, StageLog())
    assert list(again) == list(prompts) and sum(written) == 40  # none for nothing
    pairs = [zip(*known[sample.sample_id], strict=True) for sample in samples]
    captions, cosines = zip(*pairs, strict=True)
    most = job.offline.writer.write(samples, captions, cosines, 4)
    assert list(again) == [one for one in most if one.variant < counts[one.sample_id]]
    assert job.offline.failures(prompts[:0], samples[-1:]) == {"unreadable": 2}
    plain = Generation(configuration(tmp_path))
    assert plain.offline.recipe() != job.offline.recipe()
    assert plain.offline.generator.recipe() == job.offline.generator.recipe()

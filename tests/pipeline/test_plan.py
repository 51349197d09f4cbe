"""The plan against what a job then does, from whatever is there."""

from pathlib import Path

import pytest

from sip.core.errors import UserError
from sip.core.stages import StageLog
from sip.pipeline.plan import Plan, make_plan
from sip.store.fill import fill
from tests.kills import Generation, configuration


@pytest.fixture
def job(tmp_path: Path) -> Generation:
    """A job of 20 originals and 40 images; nothing is there yet."""
    return Generation(configuration(tmp_path))


def draw(job: Generation, samples: list) -> None:
    prompts, _ = job.offline.prompts(samples, StageLog())
    job.offline.generate(prompts, StageLog())


def test_from_nothing_to_all(job: Generation, capsys: pytest.CaptureFixture) -> None:
    plan = job.plan()
    assert (plan.to_caption, plan.to_score, plan.to_generate, plan.found) == (20, 20, 40, 0)
    assert not plan.exact and plan.seconds > 0 and plan.bytes_needed > 0
    samples = job.samples()
    draw(job, samples[:8])
    half = make_plan(job.offline, samples)
    assert (half.to_caption, half.to_score, half.to_generate, half.found) == (12, 12, 24, 16)
    draw(job, samples)
    done = make_plan(job.offline, samples)
    assert (done.to_caption, done.to_score, done.to_generate, done.found) == (0, 0, 0, 40)
    assert done.exact and done.evaluations == done.bytes_needed == done.seconds == 0


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


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    plan = Plan(0, 0, 10, 0, 0, 100, True, 1.0, 2_000_000, 1_000_000, 1)
    with pytest.raises(UserError, match="about 2 MB are needed for 10 images, 1 MB are free"):
        plan.check_space(tmp_path)

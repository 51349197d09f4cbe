"""The ladder of noise rates, on the miniature models: what is generated, accepted, left out."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig
from torch import Tensor

from sip.augmentation.offline.generated import GeneratedMode
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.stages import StageLog
from sip.filter.base import KEPT, Candidate, Facts, Verdict
from sip.jobs.generate import Generation
from sip.jobs.train import train
from sip.jobs.train_job import TrainJob
from sip.pipeline.backoff import settle
from sip.pipeline.filtering import OfflineFacts
from sip.pipeline.offline import Offline
from sip.pipeline.plan import Plan
from sip.pipeline.rungs import Tried
from sip.pipeline.starts import start_rates
from sip.pipeline.stored import StoredImage
from sip.prompts.base import Backoff, Prompt
from sip.records.read import read_summary
from tests.composing import composed
from tests.kills import contents
from tests.pipeline.made_up import TRAINING, stored

ROOT = Path(__file__).parents[2]
SHORT = (*TRAINING, "metrics=[]")
ADAPTIVE = ("augmentation=sip_adaptive", "prompts.ladder=[0.9,0.5,0.3]")
BY_COSINE = (*ADAPTIVE, "prompts/verdict=similarity")
ALL = (*BY_COSINE, "prompts.verdict.threshold=-1.0")
SOME = (*BY_COSINE, "prompts.verdict.threshold=0.3035")
NONE = (*BY_COSINE, "prompts.verdict.threshold=1.0")


def config(folder: Path, *overrides: str) -> DictConfig:
    return composed(*SHORT, *overrides, folder=folder)


def generated(folder: Path, *overrides: str) -> tuple[dict, pd.DataFrame]:
    """Run the generation job; return its summary and the rows of its images."""
    job = Generation(config(folder, *overrides))
    job.run()
    rows = pd.read_parquet(job.folder / "images.parquet").query("kind == 'generated'")
    return json.loads((job.folder / "summary.json").read_text()), rows.reset_index(drop=True)


def trained(job: DictConfig) -> tuple[dict, Path]:
    train(job)
    run = TrainJob(job)
    summary = run.finished()
    assert summary is not None
    return summary.to_dict(), run.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ladder")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All images at the highest noise rate, without a ladder."""
    folder = tmp_path_factory.mktemp("plain")
    generated(folder, "augmentation=sip", "prompts.vary_captions=true", "prompts.noise_rate=0.9")
    return folder


@pytest.fixture(scope="module")
def every(folder: Path) -> tuple[dict, pd.DataFrame]:
    return generated(folder, *ALL)


@pytest.fixture(scope="module")
def stricter(folder: Path, every: tuple[dict, pd.DataFrame]) -> Plan:
    """The plan of a stricter verdict, when the first rate is all that is there."""
    return Generation(config(folder, *SOME)).plan()


@pytest.fixture(scope="module")
def some(folder: Path, stricter: Plan) -> tuple[dict, pd.DataFrame]:
    return generated(folder, *SOME)


@pytest.fixture(scope="module")
def none(folder: Path, some: tuple[dict, pd.DataFrame]) -> tuple[dict, pd.DataFrame]:
    return generated(folder, *NONE)


def of_images(folder: Path) -> dict[str, dict]:
    rows = contents(folder / "store")
    return {key: row for key, row in rows.items() if key.startswith("images/")}


def test_what_is_accepted_at_once_is_generated_as_without_a_ladder(
    plain: Path, every: tuple[dict, pd.DataFrame], folder: Path
) -> None:
    summary, rows = every
    assert summary["num_generated"] == len(rows) == 20 and set(rows.status) == {"ok"}
    assert set(rows.noise_rate) == {0.9} and rows.groupby("sample_id").caption.nunique().max() == 2
    assert {f"images/{key}" for key in rows.id} == of_images(plain).keys()
    made = of_images(folder)
    assert {key: made[key]["bytes"] for key in of_images(plain)} == {
        key: row["bytes"] for key, row in of_images(plain).items()
    }


def test_each_image_is_accepted_at_the_highest_rate_that_the_verdict_allows(
    some: tuple[dict, pd.DataFrame], none: tuple[dict, pd.DataFrame]
) -> None:
    cosines = none[1].error.str.split().str[0].astype(float)
    expected = []
    for _, rungs in none[1].assign(cosine=cosines).groupby(["sample_id", "variant"], sort=False):
        for row in rungs.itertuples():
            is_accepted = row.cosine > 0.3035
            expected.append((row.id, "ok" if is_accepted else "rejected"))
            if is_accepted:
                break
    summary, rows = some
    assert list(zip(rows.id, rows.status, strict=True)) == expected
    kept = rows[rows.status == "ok"]
    assert kept.noise_rate.nunique() == 3 and 0 < len(kept) < 20  # something at each rate
    assert summary["num_generated"] == len(kept) and summary["failures"] == {}
    assert summary["unet_evaluations"] == rows.unet_evaluations.sum() > kept.unet_evaluations.sum()
    for rung in summary["ladder"]["rungs"]:
        here = rows[
            (rows.class_name == rung["class_name"]) & (rows.noise_rate == rung["noise_rate"])
        ]
        counts = (len(here), (here.status == "ok").sum())
        assert counts == (rung["tried"], rung["accepted"]) and rung["tried"]
    assert sum(rung["tried"] for rung in summary["ladder"]["rungs"]) == len(rows)
    assert sum(summary["ladder"]["left_out"].values()) == 20 - len(kept)
    assert rows.groupby(["sample_id", "variant"]).seed.nunique().max() == 1


def test_the_plan_bounds_the_cost_and_follows_what_is_there(
    folder: Path, some: tuple[dict, pd.DataFrame], tmp_path: Path
) -> None:
    steps = {0.9: 3, 0.5: 2, 0.3: 1}  # of 4
    first = Generation(config(tmp_path, *SOME)).plan()
    assert (first.to_generate, first.cached) == (60, 0)
    assert first.evaluations == 20 * 2 * sum(steps.values()) and first.least == 20 * 2 * 3
    assert "at most 240 (at least 120)" in first.lines()["U-Net evaluations"]
    through = Generation(config(folder, *SOME)).plan()
    assert (through.to_generate, through.evaluations, through.least) == (0, 0, 0)
    assert through.cached == len(some[1]) and "U-Net evaluations" not in through.lines()
    rejected = (some[1].noise_rate == 0.9) & (some[1].status == "rejected")
    lower = Generation(config(folder, *SOME, "prompts.ladder=[0.9,0.4]")).plan()
    assert lower.to_generate == rejected.sum() and lower.evaluations == lower.least > 0


def test_the_plan_of_a_stricter_verdict_has_the_rates_below_those_that_are_there(
    stricter: Plan, some: tuple[dict, pd.DataFrame]
) -> None:
    rejected = some[1][(some[1].noise_rate == 0.9) & (some[1].status == "rejected")]
    assert (stricter.cached, stricter.to_generate) == (20, 2 * len(rejected))
    spent = rejected.unet_evaluations.sum()  # at 3 of 4 steps; those below take 2 and 1
    assert (stricter.least, stricter.evaluations) == (spent * 2 // 3, spent)
    lower = some[1][some[1].noise_rate < 0.9].unet_evaluations.sum()
    assert stricter.least <= lower <= stricter.evaluations


def test_a_job_that_ends_between_two_rates_goes_on_alike(
    plain: Path,
    folder: Path,
    some: tuple[dict, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, generate = Counter[str](), Offline.generate

    def broken(self: Offline, prompts: Sequence[Prompt], stages: StageLog, keep: bool) -> None:
        generate(self, prompts, stages, keep)
        calls["generate"] += 1
        if calls["generate"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Offline, "generate", broken)
        with pytest.raises(KeyboardInterrupt):
            generated(plain, *SOME)
    assert 20 < len(of_images(plain)) < len(some[1])
    _, rows = generated(plain, *SOME)
    pd.testing.assert_frame_equal(rows.drop(columns="file"), some[1].drop(columns="file"))
    assert all(of_images(folder)[key] == row for key, row in of_images(plain).items())


def test_a_verdict_that_accepts_nothing_leaves_the_arm_as_none(
    folder: Path, none: tuple[dict, pd.DataFrame]
) -> None:
    assert none[0]["num_generated"] == 0 and len(none[1]) == 3 * 20
    summary, run = trained(config(folder, *NONE))
    other, plain = trained(config(folder, "augmentation=none"))
    assert (summary["num_generated"], summary["contact_sheet"]) == (0, None)
    assert summary["unet_evaluations"] == none[0]["unet_evaluations"] > 0
    shown = read_summary(run / "summary.json").rows(run, folder / "store")
    assert shown["contact sheet"] == "none: no image was kept"
    assert summary["generation_seconds"] > 0 and (run / "rejected.png").is_file()
    first, second = (pd.read_parquet(place / "predictions.parquet") for place in (run, plain))
    pd.testing.assert_frame_equal(first, second)
    assert summary["test_accuracy"] == other["test_accuracy"]


def test_training_takes_what_the_generation_accepted(
    folder: Path, some: tuple[dict, pd.DataFrame]
) -> None:
    summary, run = trained(config(folder, *SOME))
    rows = pd.read_parquet(run / "images.parquet").query("kind == 'generated'")
    assert list(zip(rows.id, rows.status, strict=True)) == list(
        zip(some[1].id, some[1].status, strict=True)
    )
    assert summary["num_generated"] == some[0]["num_generated"]
    assert json.loads(json.dumps(summary["ladder"])) == some[0]["ladder"]
    assert sum(row["computed"] for row in summary["stages"] if row["stage"] == "images") == 0


def test_verdicts_may_weigh_the_loss(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, weights = {}, GeneratedMode.weights

    def seen(self: GeneratedMode, sources: Sequence, probabilities: Sequence) -> Tensor | None:
        result = weights(self, sources, probabilities)
        given.update(probabilities=probabilities, weights=result)
        return result

    monkeypatch.setattr(GeneratedMode, "weights", seen)
    overrides = (*ADAPTIVE, "prompts.verdict.logit_scale=20.0", "mixing.mode=verdict")
    _, run = trained(config(folder, *overrides))
    rows = pd.read_parquet(run / "images.parquet").query("kind == 'generated' and status == 'ok'")
    job = TrainJob(config(folder, *overrides))
    files = [(folder / "store" / file).read_bytes() for file in rows.file]
    vectors = job.offline.embeddings([sha256(file).hexdigest() for file in files])
    facts = OfflineFacts(job.offline, job.dataset.class_names, None)
    texts = facts.texts([f"a photo of a {name}" for name in job.dataset.class_names])
    powers = np.exp(20 * vectors.astype(float) @ texts.T)
    own = [job.dataset.class_names.index(name) for name in rows.class_name]
    expected = (powers / powers.sum(1, keepdims=True))[range(len(rows)), own]
    assert given["probabilities"] == [None] * 10 + [pytest.approx(p, abs=1e-3) for p in expected]
    assert given["weights"][10:].tolist() == pytest.approx(list(expected), abs=1e-3)
    assert given["weights"][:10].tolist() == [1.0] * 10 and expected.min() < 0.95
    with pytest.raises(UserError, match="mixing.mode=verdict: must come with a verdict that gives"):
        train(config(folder, *SOME, "mixing.mode=verdict"))  # cosines are no probabilities


def test_the_control_may_be_the_verdict_of_a_training_only(folder: Path, plain: Path) -> None:
    agreement = (*ADAPTIVE, "prompts/verdict=agreement", "prompts.verdict.confidence=0.0")
    with pytest.raises(UserError, match="prompts.verdict: must be one that needs no classifier in"):
        Generation(config(folder, *agreement))
    summary, run = trained(config(folder, *agreement))
    rows = pd.read_parquet(run / "images.parquet").query("kind == 'generated'")
    assert Counter(rows.reason.dropna()) == {"contradicted": (rows.status == "rejected").sum()}
    assert summary["num_generated"] == (rows.status == "ok").sum()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prompts.ladder=[0.5,0.7]"], "prompts.ladder: must be noise rates, each lower"),
        (["prompts.ladder=[0.9,0.0]"], r"prompts.ladder: must be a list, in \(0, 1\] each, at l"),
        (["prompts.ladder=[]"], r"prompts.noise_rate: must be what .* gives, got nothing"),
        (["prompts.noise_rate=0.5"], "prompts.noise_rate: must be the first of prompts.ladder"),
        (["prompts.ladder=[0.9,0.1]"], r"prompts.noise_rate: must be in \[0.25, 1\]"),
        (["images=txt2img"], "images: must be made from their originals, by a noise rate, for a l"),
        (
            ["prompts/verdict=similarity"]
            + ["prompts.verdict.keep=0.5", "prompts.verdict.threshold=null"],
            "prompts.verdict: must be a filter that judges each image by itself, got 'Similarity'",
        ),
        (["prompts.learn=0"], "prompts.learn: must be a whole number >= 1 or null, got 0"),
        (["prompts.min_acceptance=1.0"], r"prompts.min_acceptance: must be in \(0, 1\), got 1"),
        (["prompts.verdict.margin=2"], r"prompts.verdict.margin: must be in \[0, 1\), got 2"),
    ],
)  # fmt: skip
def test_bad_values_are_found_before_any_work(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(tmp_path, "augmentation=sip_adaptive", *overrides))
    assert not (tmp_path / "store").exists()


@dataclass
class MadeUp:
    """Stages whose images fail, or are accepted, as a table says."""

    failing: set[tuple[str, float]]
    accepted: set[tuple[str, float]]
    backoff: Backoff
    file: Path
    calls: list[list[tuple[str, float]]] = field(default_factory=list)
    reads: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.writer = self.verdict = self.models = self.runtime = self
        self.num_workers = 1

    def generate(self, prompts: Sequence[Prompt], stages: StageLog, keep: bool) -> None:
        self.calls.append([(prompt.sample_id, prompt.noise_rate) for prompt in prompts])

    def images(self, prompts: Sequence[Prompt], captions: dict) -> list[StoredImage]:
        sha = sha256(self.file.read_bytes()).hexdigest()
        rows = []
        for prompt in prompts:
            failed = (prompt.sample_id, prompt.noise_rate) in self.failing
            changes = {"status": "failed", "reason": "black"} if failed else {"file_sha256": sha}
            rows.append(stored(prompt, None if failed else str(self.file), **changes))
        return rows

    def drop(self, name: str) -> None:
        self.calls.append([(name, 0.0)])

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        rate = self.calls[-1][0][1]
        kept = [(image.sample_id, rate) in self.accepted for image in images]
        return [KEPT if keep else Verdict("no", "no") for keep in kept]


def test_a_failed_image_goes_down_too_and_each_starts_at_its_own_rate(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    rates = {"a": 0.9, "b": 0.9, "c": 0.5, "d": 0.9}
    prompts = [
        Prompt(name, "", "", 0, "cat", 0, (), "", 1.0, rate, 0, None, None)
        for name, rate in rates.items()
    ]
    offline = MadeUp(
        failing={("a", 0.9), ("d", 0.9), ("d", 0.5), ("d", 0.3)},
        accepted={("a", 0.5), ("b", 0.9), ("c", 0.3)},
        backoff=Backoff((0.9, 0.5, 0.3), None),
        file=tmp_path / "x",
    )
    settled = settle(offline, prompts, ["cat"], StageLog())  # type: ignore[arg-type]
    assert offline.calls == [
        [("a", 0.9), ("b", 0.9), ("d", 0.9)],
        [("a", 0.5), ("c", 0.5), ("d", 0.5)],
        [("c", 0.3), ("d", 0.3)],
        [("images", 0.0)],
    ]
    assert [(one.sample_id, one.noise_rate) for one in settled.prompts] == [
        ("a", 0.9), ("a", 0.5), ("b", 0.9), ("c", 0.5), ("c", 0.3), ("d", 0.9), ("d", 0.5),
        ("d", 0.3),
    ]  # fmt: skip
    assert settled.counts is not None and settled.counts.left_out == {"cat": 1}
    assert settled.counts.line() == "1 of 3 at 0.9, 1 of 3 at 0.5, 1 of 2 at 0.3; 1 left out"
    states = [image.row.status for image in settled.images(offline, {})]  # type: ignore[arg-type]
    assert states == ["failed", "ok", "ok", "rejected", "ok", "failed", "failed", "failed"]
    assert [one.noise_rate for one in settled.last] == [0.5, 0.9, 0.3, 0.3]
    alone = settle(offline, prompts[1:2], ["cat"], StageLog()).counts  # type: ignore[arg-type]
    assert alone is not None and alone.line() == (
        "1 of 1 at 0.9; 0 left out (these are the images of augmentation=sip "
        "prompts.noise_rate=0.9 with the same prompts.vary_captions)"
    )


def test_a_ladder_of_no_prompt_says_that_all_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Offline, "prompts", lambda *_: ([], {}))  # no original has a caption
    job = Generation(config(tmp_path, *ALL))
    with pytest.raises(UserError, match="^images: 20 of 20 images failed \\(20 unreadable\\)"):
        job.run()
    assert (job.folder / "summary.json").is_file()


LEARNED = (*SOME, "dataset.shots=3", "images.per_sample=1", "prompts.learn=1")
EVENLY = "prompts.min_acceptance=0.4"  # one accepted of one: 2 of 3; none of one: 1 of 3


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learned")


@pytest.fixture(scope="module")
def learned(learning: Path) -> tuple[dict, pd.DataFrame]:
    return generated(learning, *LEARNED, EVENLY)


def test_a_class_starts_where_its_first_original_was_accepted(
    learning: Path, learned: tuple[dict, pd.DataFrame]
) -> None:
    summary, rows = learned
    originals = rows.drop_duplicates("sample_id")
    firsts = dict(zip(originals.sample_id, originals.noise_rate, strict=True))
    starts = summary["ladder"]["starts"]
    assert len(starts) == 10 and len(set(starts.values())) > 1
    shas = {one.sample_id: one.sha256 for one in Generation(config(learning, *LEARNED)).samples()}
    for name, own in rows.groupby("class_name"):
        ranked = sorted(own.sample_id.unique(), key=lambda one: digest("ladder", shas[one]))
        assert [firsts[one] for one in ranked] == [0.9, starts[name], starts[name]]
        of_first = own[own.sample_id == ranked[0]]
        accepted = of_first[of_first.status == "ok"].noise_rate
        assert starts[name] == (accepted.item() if len(accepted) else 0.3)
    every = generated(learning, *LEARNED, "prompts.learn=null")[0]
    assert 0 < summary["unet_evaluations"] < every["unet_evaluations"]
    assert every["ladder"]["starts"] == {} and summary["fingerprint"] != every["fingerprint"]


def test_a_learning_job_that_ends_after_each_rate_goes_on_alike(
    learning: Path,
    learned: tuple[dict, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generate = Offline.generate

    def broken(self: Offline, prompts: Sequence[Prompt], stages: StageLog, keep: bool) -> None:
        if generate(self, prompts, stages, keep).computed:
            raise KeyboardInterrupt

    monkeypatch.setattr(Offline, "generate", broken)
    first = Generation(config(tmp_path, *LEARNED, EVENLY)).plan()
    spent = learned[0]["unet_evaluations"]
    steps = {0.9: 3, 0.5: 2, 0.3: 1}  # of 4, two evaluations each
    assert first.evaluations == 2 * 30 * sum(steps.values())
    assert first.least == 2 * 30 * 1 <= spent  # captions are not there: no start is known
    plans = []
    for _ in range(20):
        try:
            _, rows = generated(tmp_path, *LEARNED, EVENLY)
            break
        except KeyboardInterrupt:
            plans.append(Generation(config(tmp_path, *LEARNED, EVENLY)).plan())
    assert len(plans) > 3 and plans[0].least is not None
    pd.testing.assert_frame_equal(rows.drop(columns="file"), learned[1].drop(columns="file"))
    made = of_images(tmp_path)
    assert {key.removeprefix("images/") for key in made} == set(rows.id)
    assert all(of_images(learning)[key] == row for key, row in made.items())
    done = [10 * 2 * steps[0.9]]
    assert plans[0].least <= spent - done[0] <= plans[0].evaluations
    assert plans[0].cached == 10
    assert plans[-1].evaluations == plans[-1].least == 0


def test_a_start_is_the_highest_rate_with_enough_accepted() -> None:
    def image(rate: float, is_kept: bool, label: int = 0) -> Tried:
        prompt = Prompt("a", "", "", label, "cat", 0, (), "", 1.0, rate, 0, None, None)
        return [(prompt, KEPT if is_kept else Verdict("no", "no"))]

    images = [image(0.9, True), image(0.5, True), image(0.5, True), image(0.3, False)]
    rates = (0.9, 0.5, 0.3)
    for least, start in ((0.3, 0.9), (0.34, 0.5), (0.66, 0.5), (0.67, 0.3)):  # 2 and 4 of 6
        backoff = Backoff(rates, None, 4, least)
        assert start_rates([*images, image(0.9, True, 1)], backoff)[0] == start
    assert start_rates([], Backoff(rates, None, 1)) == {}


@pytest.mark.slow
def test_two_processes_decide_as_one(tmp_path: Path, learned: tuple[dict, pd.DataFrame]) -> None:
    """With a start that is learned, too: each process learns the same."""
    paths = [f"paths.{name}={tmp_path / name}" for name in ("store", "runs", "data")]
    several = ["trainer.devices=2", "trainer.strategy=ddp", "runtime.device=cpu"]
    several += ["runtime.shard_size=2", "runtime.batch_size.images=2"]
    done = subprocess.run(
        [sys.executable, "-m", "sip.generate", *SHORT, *LEARNED, EVENLY, *paths, *several],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    (table,) = (tmp_path / "runs").glob("generate-*/images.parquet")
    rows = pd.read_parquet(table).query("kind == 'generated'").reset_index(drop=True)
    assert list(zip(rows.id, rows.status, strict=True)) == list(
        zip(learned[1].id, learned[1].status, strict=True)
    )

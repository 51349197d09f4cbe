"""The training loop: a killed, late or stopped training goes on as if it had not been."""

import csv
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sip.core.errors import UserError
from sip.core.interrupt import Stopped, graceful
from sip.stack.fit import fit, forget
from sip.stack.sizes import Training
from sip.stack.work import OutOfTimeError, bfloat16, compiles
from tests.stack.made_up import plain_work

TRAINING = Training(60, 4, 0.05, 0.9, 0.01)
TARGETS = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))


class Killed(Exception):
    pass


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def trained(folder: Path, kill_at: int | None = None, action=None, **changes) -> tuple:
    """Train a small network; at its step `kill_at` something happens."""
    model, done = network(), [0]
    steps = changes.pop("steps", TRAINING.steps)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        done[0] += 1
        if done[0] == kill_at:
            action()
        noise = torch.randn(len(rows), 3) * rng.random()
        return (model(TARGETS[rows] + noise) - TARGETS[rows]).pow(2).mean()

    training = Training(steps, *list(vars(TRAINING).values())[1:])
    work = plain_work(folder, **changes)
    report = fit("toy", model, loss, 10, training=training, seed=3, work=work)
    return model.state_dict(), report, done[0]


def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp("whole")
    return *trained(folder), (folder / "curves" / "toy.csv").read_text()


def curve(text: str) -> list[list[str]]:
    return [row[:3] for row in csv.reader(text.splitlines())]  # seconds differ


def test_a_killed_training_goes_on_bit_by_bit(whole: tuple, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=31, action=kill, save_every=0.0)
    weights, report, num = trained(tmp_path)
    assert num == 30  # of 60
    assert all(torch.equal(value, whole[0][name]) for name, value in weights.items())
    assert report["loss"] == whole[1]["loss"] < 1.0
    assert curve((tmp_path / "curves" / "toy.csv").read_text()) == curve(whole[3])


def test_the_curve_of_a_training_that_goes_on_has_no_step_twice(
    whole: tuple, tmp_path: Path
) -> None:
    with pytest.raises(Killed):  # the last checkpoint is older than the curve's last point
        trained(tmp_path, kill_at=20, action=kill, save_every=0.0)
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=35, action=kill)
    trained(tmp_path)
    assert curve((tmp_path / "curves" / "toy.csv").read_text()) == curve(whole[3])
    assert [row[0] for row in curve(whole[3])] == ["step", "25", "50", "60"]


@pytest.mark.parametrize("fails", ["start", "log", "finish"])
def test_a_tracker_that_fails_does_not_stop_it(
    fails: str, whole: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = []

    class Run:
        def log(self, values: dict, step: int) -> None:
            logged.append(step)
            assert fails != "log"

        def finish(self) -> None:
            assert fails != "finish"

    def start(*args: object, **named: object) -> Run:
        assert fails != "start"
        return Run()

    monkeypatch.setattr("sip.tracking.wandb.start_run", start)
    weights, _, _ = trained(tmp_path, logger={"kind": "wandb"})
    assert all(torch.equal(value, whole[0][name]) for name, value in weights.items())
    assert logged == {"start": [], "log": [25], "finish": [25, 50, 60]}[fails]


def test_a_checkpoint_of_another_network_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=5, action=kill, save_every=0.0)
    monkeypatch.setattr("tests.stack.test_fit.network", lambda: nn.Linear(3, 3))
    words = r"toy.ckpt: must be a checkpoint of this network, got another's; .* again=\[toy\]$"
    with pytest.raises(UserError, match=words):
        trained(tmp_path)


@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_a_damaged_checkpoint_is_one_line(damage: str, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=5, action=kill, save_every=0.0)
    file = tmp_path / "toy.ckpt"
    data = bytearray(file.read_bytes())
    data[data.index(b"seconds")] ^= 1
    file.write_bytes(data[: len(data) // 3] if damage == "cut off" else data)
    words = r"toy.ckpt: must be a whole checkpoint, got one that is damaged .* again=\[toy\]$"
    with pytest.raises(UserError, match=words):
        trained(tmp_path)


def test_over_the_time_limit_it_stops_after_a_checkpoint(whole: tuple, tmp_path: Path) -> None:
    starts, deadline = 0, time.time() - 1
    while True:
        try:
            weights, _, _ = trained(tmp_path, steps=60, deadline=deadline if starts < 3 else None)
            break
        except OutOfTimeError as error:
            starts += 1
            assert str(error) == f"toy: {starts} of 60 steps"
    assert all(torch.equal(value, whole[0][name]) for name, value in weights.items())


def test_a_signal_stops_it_after_a_checkpoint(whole: tuple, tmp_path: Path) -> None:
    def ask() -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped), graceful():
        trained(tmp_path, kill_at=17, action=ask)
    weights, _, num = trained(tmp_path)
    assert num == 60 - 17
    assert all(torch.equal(value, whole[0][name]) for name, value in weights.items())


def test_the_checkpoint_stays_until_the_part_is_saved(tmp_path: Path) -> None:
    trained(tmp_path, save_every=0.0)
    assert (tmp_path / "toy.ckpt").exists()
    assert trained(tmp_path)[2] == 1  # only the step after the last checkpoint
    forget("toy", plain_work(tmp_path))
    assert not (tmp_path / "toy.ckpt").exists()


def test_another_number_of_steps_goes_on_from_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=31, action=kill, save_every=0.0)
    with pytest.raises(Killed):  # the change is in the checkpoint
        trained(tmp_path, steps=50, kill_at=6, action=kill, save_every=0.0)
    _, report, num = trained(tmp_path, steps=50)
    assert num == 15  # 30 + 5 of 50 were done
    change = "to step 30 on the way to 60, then to 50"
    assert (report["steps"], report["changed"]) == (50, [change])
    assert change in capsys.readouterr().err
    last = (tmp_path / "curves" / "toy.csv").read_text().splitlines()[-1].split(",")
    assert last[0] == "50" and float(last[2]) < 0.02 * TRAINING.lr


def test_a_checkpoint_beyond_the_last_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=31, action=kill, save_every=0.0)
    with pytest.raises(UserError, match=r"before step 30, .* got one of step 30; .*again=\[toy\]"):
        trained(tmp_path, steps=30)


def test_a_loss_that_is_not_finite_stops_it(tmp_path: Path) -> None:
    model = network()

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        return model(TARGETS[rows]).mean() * float("nan")

    with pytest.raises(
        UserError,
        match=r"toy: the loss is not finite after step 25; .* \(again=\[toy\]\) with a lower",
    ):
        fit("toy", model, loss, 10, training=TRAINING, seed=0, work=plain_work(tmp_path))


def test_one_step_already_moves_the_averaged_weights(tmp_path: Path) -> None:
    weights, _, _ = trained(tmp_path, steps=1)
    assert not torch.equal(weights["0.weight"], network().state_dict()["0.weight"])


def test_samples_are_of_the_average(tmp_path: Path) -> None:
    model, seen = network(), []

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        return model(TARGETS[rows]).pow(2).mean()

    def show(current: nn.Module) -> None:
        seen.append((current.training, current is model))
        torch.rand(7)  # draws random numbers of its own

    settings = {"training": TRAINING, "seed": 3}
    fit("a", model, loss, 10, work=plain_work(tmp_path, samples_every=0.0), show=show, **settings)
    assert len(seen) == 61 and not any(training for training, _ in seen)
    assert [is_model for _, is_model in seen] == [True] * 15 + [False] * 45 + [True]
    other, model = model, network()
    fit("b", model, loss, 10, work=plain_work(tmp_path), **settings)
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_bfloat16_runs_and_differs_a_little(whole: tuple, tmp_path: Path) -> None:
    weights, report, _ = trained(tmp_path, bfloat16=True)
    assert report["loss"] == pytest.approx(whole[1]["loss"], rel=0.1)
    assert not torch.equal(weights["0.weight"], whole[0]["0.weight"])
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights.values())


def test_wandb_gets_the_curve_where_it_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple] = []

    class Run:
        def log(self, values: dict, step: int) -> None:
            logged.append((step, *sorted(values)))

        def finish(self) -> None:
            logged.append(("finished",))

    def start(config, folder, **named) -> Run:
        named_as = (config.mode, named["group"], named["job_type"])
        assert named_as == ("offline", tmp_path.name, "stack")
        return Run()

    monkeypatch.setattr("sip.tracking.wandb.start_run", start)
    trained(tmp_path, logger={"kind": "wandb", "mode": "offline"})
    steps = [(step, "train/loss", "train/lr") for step in (25, 50, 60)]
    assert logged == [*steps, ("finished",)]


def test_precision_and_compile_by_device() -> None:
    assert not bfloat16("auto", "cpu") and bfloat16("bfloat16", "cpu")
    assert not compiles("auto", "cpu") and compiles(True, "cpu") and not compiles(False, "cuda")
    assert compiles("auto", "cuda")
    with pytest.raises(UserError, match="precision: must be one of auto, float32, bfloat16, got"):
        bfloat16("fp8", "cpu")
    with pytest.raises(UserError, match="compile: must be auto, true or false, got 'yes'"):
        compiles("yes", "cpu")

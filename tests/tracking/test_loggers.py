"""W&B is checked before the work and is not needed; what it writes offline is read back."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning.loggers import CSVLogger

from sip.core.errors import UserError
from sip.core.tars import member, reference
from sip.pipeline.stored import StoredImage
from sip.prompts.base import Prompt, Span
from sip.tracking.artifacts import GeneratedSet, publish, use
from sip.tracking.loggers import (
    join_curves,
    keep_curves,
    log_results,
    make_loggers,
    require_logger,
)
from tests.pipeline.made_up import stored
from tests.tracking.wandb_files import OfflineRun, offline_runs


def node(**values: object):
    stated: dict[str, Any] = {"kind": "wandb", "mode": "offline", "project": "p", "entity": None}
    return OmegaConf.create(stated | {"max_images": 3, "log_artifacts": False} | values)


def test_online_without_login_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    with pytest.raises(UserError, match="run `wandb login`, or leave logger.mode=offline"):
        require_logger(node(mode="online"))


def test_wrong_values_are_refused() -> None:
    with pytest.raises(UserError, match="must be offline or online, got 'on'"):
        require_logger(node(mode="on"))
    with pytest.raises(UserError, match="max_images: must be a whole number >= 0, got -1"):
        require_logger(node(max_images=-1))


def test_without_the_package_csv_works_and_wandb_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # its import fails
    with pytest.raises(UserError, match="wandb is not installed; pip install wandb, or"):
        require_logger(node())
    config = OmegaConf.create({"kind": "csv"})
    require_logger(config)
    loggers = make_loggers(config, tmp_path, run_id="r", name="n", group=None, values={})
    assert [type(logger) for logger in loggers] == [CSVLogger]
    log_results(loggers, {"test_accuracy": 0.5}, tmp_path, [])


def stored_images(folder: Path, num: int = 6) -> list[StoredImage]:
    """Return generated images; the last one lies in a tar file."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(num):
        files = [folder / f"{kind}{number}.png" for kind in ("real", "generated")]
        for file in files:
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
        prompt = Prompt(
            f"train/{number}", str(files[0]), f"hash{number}", number % 2, "cat", 0,
            (Span("cat", 1.5), Span(", on a mat", 0.9)), "", 3.0, 0.5, 2**60 + number,
            ", on a mat", 0.25,
        )  # fmt: skip
        file = str(files[1])
        if number == num - 1:
            (folder / "shard.tar").write_bytes(member("x.png", files[1].read_bytes()))
            file = reference(folder / "shard.tar", 0, files[1].stat().st_size)
        made.append(stored(prompt, file))
    return made


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[OfflineRun], list[StoredImage]]:
    folder = tmp_path_factory.mktemp("run")
    shown = stored_images(folder)
    for name in ("contact_sheet", "rejected", "confusion"):
        Image.new("RGB", (4, 4), "red").save(folder / f"{name}.png")
    values = {"paths": {"store": "/home/me/store"}, "dataset": {"root": "/home/me/my pets"}}
    values |= {"seed": 3}
    config = node(log_artifacts=True)
    generated = GeneratedSet(shown, {"images": {"class": "X", "model": "/home/me/sd"}}, "stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(folder / "staging"))
        patch.setenv("WANDB_CACHE_DIR", str(folder / "cache"))
        open_ = dict(run_id="r1", name="n", group="main", values=values, images=generated)
        loggers = make_loggers(config, folder, **open_)
        loggers[1].log_metrics({"val/accuracy": 0.25}, step=7)
        summary = {"test_accuracy": 0.5, "generated/vendi": 2.0}
        log_results(loggers, summary, folder, shown)
    return offline_runs(folder), shown


def test_both_runs_are_in_the_experiments_group(logged: tuple[list[OfflineRun], Any]) -> None:
    seen = [(run.run.run_group, run.run.job_type, run.run.run_id) for run in logged[0]]
    generation = logged[0][0].run.run_id
    assert seen == [("main", "images", generation), ("main", "classifier", "r1")]
    assert generation.startswith("generated-")


def test_numbers_and_configuration_are_read_back(logged: tuple[list[OfflineRun], Any]) -> None:
    run = logged[0][1]
    assert run.summary["test_accuracy"] == 0.5 and run.summary["generated/vendi"] == 2.0
    assert run.config["seed"] == 3
    assert run.config["dataset"] == {"root": "my pets"}
    assert "paths" not in run.config
    assert run.config["made_by"]["versions"]["torch"]
    assert run.config["generated_set"] == logged[0][0].run.run_id


def test_sheets_and_the_table_of_images_are_there(
    logged: tuple[list[OfflineRun], list[StoredImage]],
) -> None:
    runs, shown = logged
    for run in runs:
        for name in ("contact_sheet", "rejected", "confusion"):
            with Image.open(run.image(name)) as image:
                assert image.size == (4, 4)
        rows = run.table("images")
        assert [row["image_id"] for row in rows] == [p.prompt.image_id for p in shown[::2]]
        assert rows[0]["prompt"] == "cat, on a mat"
        assert rows[0]["weights"] == "1.5: cat, 0.9: , on a mat"
        assert rows[0]["seed"] == str(2**60)
        assert (rows[0]["guidance_scale"], rows[0]["noise_rate"]) == (3.0, 0.5)
        (table,) = [a for a in run.artifacts if a.type == "run_table"]
        kept = {entry.path for entry in table.manifest.contents}
        assert {
            rows[n][kind]["path"] for n in range(3) for kind in ("original", "generated")
        } <= kept


def test_training_uses_the_generated_set(
    logged: tuple[list[OfflineRun], list[StoredImage]],
) -> None:
    runs, shown = logged
    made, used = [[a for a in run.artifacts if a.type == "generated_images"] for run in runs]
    assert [len(made), len(used)] == [1, 1]
    assert (made[0].name, made[0].digest) == (used[0].name, used[0].digest)
    assert (made[0].use_after_commit, used[0].use_after_commit) == (False, True)
    names = {entry.path for entry in made[0].manifest.contents}
    generated = {f"{p.prompt.label}/{p.prompt.image_id}.png" for p in shown}
    assert names == generated | {"images.jsonl"}
    assert json.loads(made[0].metadata)["recipe"]["images"]["model"] == "sd"


def test_nothing_says_where_things_lie(logged: tuple[list[OfflineRun], list[StoredImage]]) -> None:
    runs, shown = logged
    private = [str(Path(shown[0].prompt.source).parent), "/home/me", str(Path.cwd()), sys.prefix]
    for run in runs:
        said = run.texts()
        assert [place for place in private if place in said] == []


def test_a_set_is_named_by_recipe_and_images(tmp_path: Path) -> None:
    made = stored_images(tmp_path)
    name = GeneratedSet(made, {}, "stage").name
    assert GeneratedSet(made[::-1] + made[:1], {}, "stage").name == name
    assert (
        len({name, GeneratedSet(made, {}, "other").name, GeneratedSet(made[1:], {}, "stage").name})
        == 3
    )


class Fake:
    """Notes what it is asked; stands for a W&B run and for an artefact that was logged."""

    def __init__(self, offline: bool) -> None:
        self.offline, self.summary, self.asked = offline, {}, []

    def __getattr__(self, name: str) -> Any:
        def note(*args: object, **kwargs: object) -> "Fake":
            self.asked.append(name)
            return self

        return note


def test_online_goes_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, dict[str, Any]] = {}
    runs = {mode: Fake(mode == "offline") for mode in ("offline", "online")}

    def init(mode: str, **kwargs: Any) -> Fake:
        seen[mode] = kwargs
        return runs[mode]

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    generated = GeneratedSet(stored_images(tmp_path), {}, "stage")
    for mode, run in runs.items():
        artifact = publish(generated, node(mode=mode, max_images=0), tmp_path, "main")
        use(run, generated, artifact)
    resume = [seen[mode].pop("resume") for mode in runs]
    assert resume == [None, "allow"]
    settings = [seen[mode].pop("settings").to_proto() for mode in runs]
    assert settings[0] == settings[1] and seen["offline"] == seen["online"]
    same = [[name for name in run.asked if name != "wait"] for run in runs.values()]
    assert same[0][:-1] == same[1][:-1]
    assert [asked[-1] for asked in same] == ["_log_artifact", "use_artifact"]
    assert "wait" in runs["online"].asked and "wait" not in runs["offline"].asked


def test_a_run_goes_on_where_wandb_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def init(**kwargs: Any) -> None:
        raise wandb.errors.CommError("no answer\nwithin 90 s")

    monkeypatch.setattr(wandb, "init", init)
    loggers = make_loggers(node(), tmp_path, run_id="r", name="n", group=None, values={})
    assert [type(logger) for logger in loggers] == [CSVLogger]
    said = capsys.readouterr().err
    assert "wandb        no answer within 90 s; going on without it" in said


def test_a_run_goes_on_where_wandb_breaks_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run = Fake(offline=True)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    loggers = make_loggers(node(), tmp_path, run_id="r", name="n", group=None, values={})
    loggers[1].log_metrics({"val/accuracy": 0.5}, step=1)
    assert run.asked.count("log") == 1

    def broken(*args: object) -> None:
        run.asked.append("log")
        raise BrokenPipeError

    run.log = broken
    for step in (2, 3):
        loggers[1].log_metrics({"val/accuracy": 0.5}, step=step)
    log_results(loggers, {"test_accuracy": 0.5}, tmp_path, [])
    assert run.asked.count("log") == 2 and "finish" not in run.asked
    assert capsys.readouterr().err.count("BrokenPipeError; going on without it") == 1


def test_an_upload_is_waited_for_a_while() -> None:
    from sip.tracking.wandb import WAIT, _settings

    assert _settings().finish_timeout == WAIT


@pytest.mark.parametrize(("reason", "refused"), [("401 Unauthorized", True), ("timeout", False)])
def test_a_login_is_refused_by_wandb_alone(
    reason: str, refused: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def login(prompt: bool) -> bool:
        raise wandb.errors.AuthenticationError(reason)

    monkeypatch.setattr(wandb, "login", login)
    if refused:
        with pytest.raises(UserError, match="refuses the login .401 Unauthorized.; run `wandb"):
            require_logger(node(mode="online"))
    else:
        require_logger(node(mode="online"))
        assert "timeout; it is tried again" in capsys.readouterr().err


def write_curve(folder: Path, steps: range, start: str) -> None:
    rows = [f"{step},{start}{step}," for step in steps]
    (folder / "metrics.csv").write_text("\n".join(["step,loss,val", *rows]) + "\n")


def test_parts_are_joined_and_the_later_start_counts(tmp_path: Path) -> None:
    write_curve(tmp_path, range(0, 50, 10), "a")
    keep_curves(tmp_path, resumes=True)
    write_curve(tmp_path, range(30, 60, 10), "b")
    keep_curves(tmp_path, resumes=True)
    (tmp_path / "metrics.csv").write_text("step,val,lr\n50,c,1\n60,c,2\n")
    join_curves(tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [0, 10, 20, 30, 40, 50, 60]
    assert [row["loss"] for row in rows] == ["a0", "a10", "a20", "b30", "b40", "", ""]
    assert [row["lr"] for row in rows] == [""] * 5 + ["1", "2"]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_line_that_a_kill_cut_is_left_out(tmp_path: Path) -> None:
    head, curves = "epoch,step,loss\n", tmp_path / "metrics.csv"
    for cut in ("0", "0,1", "0,19"):  # of "0,19,0.5", as in the order of Lightning's columns
        curves.write_text(f"{head}0,0,0.7\n0,9,0.6\n{cut}")
        keep_curves(tmp_path, resumes=True)
        curves.write_text(f"{head}0,29,0.4\n")
        join_curves(tmp_path)
        rows = list(csv.DictReader(curves.read_text().splitlines()))
        assert [row["step"] for row in rows] == ["0", "9", "29"]


def test_a_fresh_start_deletes_the_curves_of_an_unfinished_one(tmp_path: Path) -> None:
    write_curve(tmp_path, range(3), "a")
    keep_curves(tmp_path, resumes=True)
    keep_curves(tmp_path, resumes=False)
    assert list(tmp_path.iterdir()) == []
    write_curve(tmp_path, range(3), "b")
    before = (tmp_path / "metrics.csv").read_text()
    join_curves(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == before

"""Tokens of the hub and of W&B are in nothing that a run, a table, a page or an export writes."""

import base64
from pathlib import Path

import pytest

from tests.composing import composed

PLANTED = {
    "HF_TOKEN": "hf_" + "Qz7" * 12,
    "HUGGING_FACE_HUB_TOKEN": "hf_" + "Rv5" * 12,
    "WANDB_API_KEY": "5ca1ab1e" * 5,
    "MY_SECRET": "a long pass phrase of mine",
}
IN_FILES = {".netrc": "0ddba11d" * 5, ".cache/huggingface/token": "hf_" + "Tw3" * 12}
SHORT = [
    "+exp=resnet50_sip",
    "experiment=tokens",
    "backbone=resnet_mini",
    "logger.log_artifacts=true",
    "dataset.shots=1",
    "images.num_steps=2",
    "classifier.steps=2",
    "classifier.val_every=2",
    "classifier.warmup_steps=1",
    "runtime.num_threads=1",
    "train.leaks=false",
]


def plant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put tokens into the environment and into the files of a home that is made up."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_DATA_DIR", str(home.parent / "wandb" / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(home.parent / "wandb" / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home.parent / "wandb" / "config"))
    netrc = f"machine api.wandb.ai\n  login user\n  password {IN_FILES['.netrc']}\n"
    for name, text in ((".netrc", netrc), (".cache/huggingface/token", "")):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text or IN_FILES[name])
        (home / name).chmod(0o600)


def test_no_output_of_a_run_holds_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from sip.evaluate import task as evaluate
    from sip.export.__main__ import task as export
    from sip.jobs.train import train
    from sip.report.__main__ import task as report
    from sip.tables.__main__ import task as tables

    plant(tmp_path / "home", monkeypatch)
    out = tmp_path / "out"
    train(composed(*SHORT, folder=out))
    (run,) = (out / "runs").glob("*/summary.json")
    shown = ["experiment=tokens", f"runs={out}/runs"]
    evaluate(composed(shown[1], name="evaluate"))
    tables(composed(*shown, f"output={out}/table", name="tables"))
    report(composed(*shown, f"output={out}/page.html", name="report"))
    for kind in ("image_folder", "webdataset", "datasets"):
        given = [f"run={run.parent}", f"output={out}/{kind}", f"format={kind}"]
        export(composed(*given, name="export"))
    said = capfd.readouterr()
    files = [file for file in tmp_path.rglob("*") if file.is_file() and "home" not in file.parts]
    kinds = {".yaml", ".json", ".csv", ".parquet", ".html", ".md", ".tex", ".tar", ".wandb", ".log"}
    assert kinds <= {file.suffix for file in files}
    contents = {str(file): file.read_bytes() for file in files}
    contents["what was said"] = (said.out + said.err).encode()
    for token in (*PLANTED.values(), *IN_FILES.values()):
        forms = {token.encode(), token.encode("utf-16-le"), base64.b64encode(token.encode())}
        holding = [name for name, data in contents.items() if any(form in data for form in forms)]
        assert holding == []

"""One notebook reads a made-up run and writes nothing; one generates images, here of digits."""

import ast
import base64
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import sip
from experiments.figures.notebook import outputs
from tests.docs.pages import DOCS
from tests.records.made_up import generation_summary, stage, write_run
from tests.report.made_up import CLASSES, make_run

NOTEBOOK = DOCS / "notebooks" / "read_a_run.ipynb"
TEN_IMAGES = DOCS / "notebooks" / "ten_images.ipynb"
LOGITS = [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 9.0], [1.0, 0.0, 0.0]]
LABELS = [0, 1, 0, 0]  # the third is a mistake


def cells(notebook: Path = NOTEBOOK) -> list[str]:
    """Return the code cells."""
    found = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run with all that `sip.train` leaves."""
    stages = (stage("classifier"),)
    made = make_run(tmp_path, "sip", 0, test_accuracy=0.75, stages=stages)
    (made / "metrics.csv").write_text(
        "step,train/loss,val/accuracy\n9,1.5,\n19,0.5,\n24,,0.3\n49,,0.8\n"
    )
    table = {
        "sample_id": ["a", "b", "c", "d", "v"],
        "split": ["test"] * 4 + ["val"],
        "label": [*LABELS, 0],
        "logits": pa.array([*LOGITS, [1.0, 0.0, 0.0]], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(table), made / "predictions.parquet")
    Image.new("RGB", (8, 8)).save(made / "contact_sheet.png")
    generation = tmp_path / "runs" / "generate-digits"  # not of a training: is passed over
    write_run(generation, generation_summary())
    return made


def test_its_cells_read_a_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = run.parents[1]
    monkeypatch.chdir(root)
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    names: dict = {}
    for number, cell in enumerate(cells()):
        exec(compile(cell, f"cell {number}", "exec"), names)
    plt.close("all")
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == before
    assert names["run"].name == run.name
    assert names["accuracy"] == 0.75
    assert "0.750, in the summary 0.750" in capsys.readouterr().out
    assert names["mistakes"].sample_id.tolist() == ["c"]
    assert names["mistakes"].predicted.tolist() == [CLASSES[2]]
    assert names["confusion"].to_numpy().tolist() == [[2, 0, 1], [0, 1, 0]]
    assert len(names["generated"]) == 10 and len(names["curves"]) == 4
    softmax = np.exp(9) / (np.exp(9) + 2)
    assert names["mistakes"].probability.tolist() == pytest.approx([softmax])


def test_ten_images_are_generated_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    names: dict = {}
    for number, cell in enumerate(cells(TEN_IMAGES)):
        small = cell.replace(
            "noise_rate=0.5,", 'noise_rate=0.5, overrides=["images.num_steps=2", "metrics=[]"],'
        )
        exec(compile(small, f"cell {number}", "exec"), names)
    assert isinstance(names["run"], sip.Run) and len(names["run"]) == 10
    assert len(names["train"]) == len(names["originals"]) == 5
    assert len(list(tmp_path.glob("generated/train/*/*.png"))) == 10
    assert (tmp_path / "generated.zip").is_file()


@pytest.mark.parametrize("file", [NOTEBOOK, TEN_IMAGES], ids=lambda file: file.stem)
def test_its_outputs_are_those_of_its_cells(file: Path) -> None:
    notebook = json.loads(file.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 4)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert cell.keys() >= {"cell_type", "metadata", "source", "outputs"}
        ast.parse("".join(cell["source"]))
    kinds = [output["output_type"] for cell in code for output in cell["outputs"]]
    assert "execute_result" in kinds
    assert set(kinds) <= {"stream", "execute_result", "display_data"}
    assert len(json.dumps(notebook)) < 300_000
    assert "/tmp/" not in file.read_text()


def test_outputs_are_kept_as_notebooks_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plt, "show", lambda: None)
    source = "print('one')\nfigure, axis = plt.subplots(figsize=(1, 1))\npd.Series([7]).to_frame()"
    stream, table, image = outputs(source, {"plt": plt, "pd": pd}, 1)
    assert stream["text"] == ["one\n"]
    assert "<td>7</td>" in "".join(table["data"]["text/html"])
    assert base64.b64decode(image["data"]["image/png"])[1:4] == b"PNG"
    assert outputs("value = 1", {}, 1) == []

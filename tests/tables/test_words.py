"""Headings of tables and labels of figures in words."""

import csv
from pathlib import Path

import pytest

from sip.tables.document import document
from sip.tables.formats import markdown, write
from sip.tables.latex import latex
from sip.tables.query import select_runs
from sip.tables.words import heading, metric_words
from tests.tables.made_up import write_run
from tests.tables.test_tables import layout


@pytest.mark.parametrize(
    ("keys", "text"),
    [(["test/top1"], "Test top-1, %"), (["val/top1"], "Validation top-1, %"),
     (["test/mean_per_class"], "Test mean per class, %"), (["test/ece"], "Test calibration error"),
     (["generated/frechet_lite0"], "Fréchet distance, lite0"), (["seconds/total"], "Total, s"),
     (["generated/consistency_label"], "Similarity to the label"),
     (["num_train"], "Training images"), (["unet_evaluations"], "U-Net evaluations"),
     (["augmentation", "prompts.noise_rate", "prompts/guidance"],
      "Augmentation, noise rate, guidance")],
)  # fmt: skip
def test_headings_are_words(keys: list[str], text: str) -> None:
    assert heading(*keys) == text


@pytest.mark.parametrize("name", ["top1", "top5", "mean_per_class", "head", "ece", "nll"])
def test_shares_are_in_percent(name: str) -> None:
    assert metric_words(f"test/{name}").endswith(", %") == (name not in ("ece", "nll"))


def test_markdown_and_latex_have_the_same_headings_and_the_csv_keys(tmp_path: Path) -> None:
    for dataset in ("oxford_pets", "dtd"):
        for arm in ("none", "sip_cutmix"):
            write_run(tmp_path / "runs", arm, 0, dataset=dataset)
    runs = select_runs(tmp_path / "runs")
    table = document(runs, layout("table=main", "table.validation=true"))
    heads = ["Augmentation", "dtd", "dtd, validation top-1, %", "oxford_pets"]
    heads += ["oxford_pets, validation top-1, %", "mean", "mean, validation top-1, %"]
    assert list(table.grids[0].header) == heads
    assert table.grids[0].title == "Backbone: resnet50, columns: data set"
    assert list(table.grids[1].header) == ["Augmentation", "Against", "Data set", "Difference",
                                           "p (Holm)"]  # fmt: skip
    lines = [line.split("|") for line in markdown(table).splitlines() if "| Augmentation" in line]
    assert [text.strip() for text in lines[0][1:-1]] == heads
    tex = latex(table)
    assert " & ".join(heads).replace("_", "\\_").replace("%", "\\%") in tex
    assert "\n\nTest top-1, %: mean ± half-width" in markdown(table)
    file = write(table, "test/top1", tmp_path / "table")[1]
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["metric"] for row in rows} == {"test/top1"}
    assert {row["row"] for row in rows} == {"none", "sip_cutmix"}  # as they are typed

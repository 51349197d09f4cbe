"""Names from data stay where they belong: in the output folder, in the text, in the prompt."""

import csv
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.export.main import Options, export
from sip.export.names import DEVICE, folder_names
from sip.prompts.guidance.constant import Constant
from sip.prompts.weighting.tokens import tokenize
from sip.weights.source import PACKAGE_PARENT
from tests.export.made_up import make_run
from tests.prompts.test_label_caption import make

DEVICES = ["CON", "nul", "COM1", "lpt9", "AUX.png", "prn ", "nul .tar.gz", "CONIN$", "com¹"]
NASTY = [
    "../../outside",
    "/etc/cron.d/x",
    "..",
    "a\0b",
    "C:\\Windows\\x",
    "x" * 5000,
    "=1+1",
    "-rf",
    "@SUM(A1)",
    "trailing. ",
    "trailing...",
    " ",
    "</td><script>alert(1)</script>",
    "a|b\n| --- |\n# heading",
    "```\n---\nlicense: mit",
    "${oc.env:HOME}",
    "犬",
]
WINDOWS = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com.|lpt.)(\s*\..*)?", re.IGNORECASE)


def check_names(names: list[str], made: list[str]) -> None:
    assert len(made) == len(names) == len({name.casefold() for name in made})
    for name in made:
        assert name == os.path.basename(name) and name not in ("", ".", "..")
        assert len(name.encode()) <= 255 and not WINDOWS.fullmatch(name)
        assert not re.search(r'[/\\:*?"<>|\x00-\x1f]|[. ]$|^[ .=+@-]', name)


def test_class_folders_are_safe_on_any_system() -> None:
    check_names([*NASTY, *DEVICES], folder_names([*NASTY, *DEVICES]))
    assert all(DEVICE.fullmatch(name.strip()) for name in DEVICES)
    kept = ["cat", "Kätzchen", "犬 shiba", "console", "com", "com10", "null", "a.b", "C++", "x-ray"]
    assert folder_names(kept) == kept


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec=None), max_size=12), max_size=6))
def test_any_names_become_safe_folders(names: list[str]) -> None:
    check_names(names, folder_names(names))


def renamed_run(tmp_path: Path, class_name: str, **columns: Any) -> Path:
    """Return a made-up run whose class 1 has another name, and whose rows have other columns."""
    run = make_run(tmp_path)
    rows = pq.read_table(run / "images.parquet").to_pylist()
    for row in rows:
        if row["label"] == 1:
            row["class_name"] = class_name
        if row["kind"] == "generated" and row["file"]:
            row |= columns
    schema = pq.read_schema(run / "images.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema), run / "images.parquet")
    return run


def exported(run: Path, output: Path, file_format: str) -> Path:
    export(Options(run, output, file_format, ["train"], "none", False, 3, None))
    return output


@pytest.mark.parametrize("class_name", NASTY)
def test_an_export_stays_in_its_folder(tmp_path: Path, class_name: str) -> None:
    run = renamed_run(tmp_path, class_name)
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    out = exported(run, tmp_path / "out", "image_folder")
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == before
    with open(out / "metadata.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7 and all((out / row["file_name"]).is_file() for row in rows)
    card = (out / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["license"] == "unknown" and "<script" not in card
    assert not re.search(r"^# heading|^---\nlicense: mit", card, re.MULTILINE)


@pytest.mark.parametrize("file_format", ["webdataset", "datasets", "image_folder"])
@pytest.mark.parametrize("image_id", ["../../outside", "/etc/passwd", "x" * 3000])
def test_ids_of_images_do_too(tmp_path: Path, image_id: str, file_format: str) -> None:
    run = renamed_run(tmp_path, "cat", id=image_id)
    out = exported(run, tmp_path / "out", file_format)
    names = [path.name for path in out.rglob("*.png")]
    for tar in out.glob("*.tar"):
        with tarfile.open(tar) as file:
            names += [member.name for member in file if member.name.endswith(".png")]
    for file in out.glob("data/*.parquet"):
        names += [row["image"]["path"] for row in pq.read_table(file).to_pylist()]
    assert len(names) == 7
    assert all(re.fullmatch(r"[0-9a-f]{24}(-\d+)?\.png", name) for name in names)


def test_another_file_of_this_machine_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    run = renamed_run(tmp_path, "cat", file="../secret")
    with pytest.raises(UserError, match="file: must be a path in the store .*, got '../secret'"):
        exported(run, tmp_path / "out", "datasets")
    assert not (tmp_path / "out").exists()


def test_a_strangers_run_reads_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    run = make_run(tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["dataset"]["root"] = "${oc.env:HF_TOKEN}"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"root: must be a value without '\$\{'"):
        export(Options(run, tmp_path / "out", "datasets", ["train"], "as_used", False, 3, None))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(b"hf_x" in file.read_bytes() or "hf_x" in str(file) for file in files)


SYNTAX = [
    "cat++", "(cat)1.5", "cat--", '("a cat", "a dog").and()', '("a", "b").blend(1, 2)', "cat)1.9",
    "[cat:dog:0.5]", "a {caption} {label}", "cat <lora:x:1>", "(((cat)))", "a \\(cat\\)+",
]  # fmt: skip


@pytest.mark.parametrize("text", SYNTAX)
def test_weight_syntax_in_names_and_captions_stays_text(text: str) -> None:
    sample = Sample("1", "1.png", 0, text, "train", 8, 8, "0" * 64)
    (prompt,) = make(guidance=Constant(3.0)).write([sample], [[text]], [[0.3]], 1)
    spans = [(span.text, span.weight) for span in prompt.spans]
    assert spans == [("a photo of a ", 1.0), (text, 1.5), (", ", 1.0), (text, 0.9)]
    tokenizer = AutoTokenizer.from_pretrained(
        PACKAGE_PARENT / "sip" / "miniature" / "diffusion" / "tokenizer"
    )
    tokens = tokenize(tokenizer, [prompt.spans], tokenizer.model_max_length)
    assert {round(weight, 2) for weight in tokens.weights[0].tolist()} == {1.0, 1.5, 0.9}
    own = tokenizer(text, add_special_tokens=False).input_ids
    heavy = [int(i) for i, w in zip(tokens.ids[0], tokens.weights[0], strict=True) if w > 1.4]
    assert heavy == own[: len(heavy)] and heavy  # brackets and signs are plain tokens
    assert json.loads(json.dumps([s.text for s in prompt.spans]))[1] == text

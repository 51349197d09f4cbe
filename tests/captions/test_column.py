"""Captions of the data set's own: each kind of table, each form of a cell, and the pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest

from sip.captions.column import ColumnCaptions
from sip.config.build import build
from sip.core.errors import UserError
from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.pipeline.known import known_rows
from sip.pipeline.offline import Offline
from tests.composing import composed
from tests.dataset.test_webdataset import pack
from tests.dataset.trees import encoded, source, write_image


class Table:
    """A data set whose column holds the cells."""

    def __init__(self, *cells: Any) -> None:
        self.cells = {f"s{number}": cell for number, cell in enumerate(cells)}

    def column_values(self, column: str, key: str) -> dict[str, Any]:
        return self.cells


def column(dataset: Any, **changed: Any) -> ColumnCaptions:
    values = {"column": "text", "separator": None, "num_captions": None, "fallback": None}
    return ColumnCaptions(dataset=dataset, **{**values, **changed})


def samples(num: int) -> list[Sample]:
    return [Sample(f"s{n}", "", 0, "red fox", "train", 8, 8, f"sha{n}") for n in range(num)]


def stated(*cells: Any, **changed: Any) -> list[list[str]]:
    return column(Table(*cells), **changed).stated(samples(len(cells)))


def test_a_cell_is_a_text_or_a_list_and_a_text_may_hold_several() -> None:
    assert stated("a fox\n in  snow ", ["a fox", "snow", "a fox", " "]) == [
        ["a fox in snow"],
        ["a fox", "snow"],
    ]
    assert stated("a fox| in snow||a fox", separator="|") == [["a fox", "in snow"]]
    assert stated("a fox|snow") == [["a fox|snow"]]
    assert stated(["", "b", "c", "d"], "e", num_captions=2) == [["b", "c"], ["e"]]


def test_empty_cells_are_named_or_take_the_fallback(capsys: pytest.CaptureFixture[str]) -> None:
    cells = ("a fox", None, " ", [], [""])
    with pytest.raises(UserError, match=r"captions.column: .* in 4 rows of 'text': s1, s2, s3, s4"):
        stated(*cells)
    expected = [["a fox"], *[["a red fox"]] * 4]
    assert stated(*cells, fallback="a {label}") == expected
    said = capsys.readouterr()
    assert "4 images without a caption in 'text', captioned 'a {label}': s1" in said.out + said.err
    with pytest.raises(UserError, match="fallback: must be text or null"):
        column(Table(), fallback=" ")


def test_other_values_are_named() -> None:
    with pytest.raises(UserError, match=r"got 2 cells of 'text' .*: s1 \(3\), s2 \(\[1\]\); fix"):
        stated("a fox", 3, [1])


def test_the_recipe_knows_what_the_column_says_and_not_its_name() -> None:
    recipe = column(Table("a", "b")).recipe()
    assert column(Table("a", "b"), column="other").recipe() == recipe
    assert column(Table("a", "c")).recipe() != recipe
    assert column(Table("a", "b"), num_captions=1).recipe() != recipe


def test_data_sets_without_columns_are_refused() -> None:
    with pytest.raises(UserError, match="for a object, which has no columns, got column; set"):
        column(object()).require()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A CSV file of 8 images with captions."""
    lines = ["path,label,caption"]
    for number in range(8):
        write_image(tmp_path / f"{number}.png", 20 * number, (32, 32))
        lines.append(f"{number}.png,{'cd'[number % 2]}at,thin {number}|line {number}")
    file = tmp_path / "list.csv"
    file.write_text("\n".join(lines))
    return file


def test_csv(listed: Path) -> None:
    dataset = source("csv", None, path=str(listed))
    rows = dataset.samples("train")
    by_column = column(dataset, column="caption", separator="|").stated(rows)
    assert by_column == [[f"thin {row.sample_id[0]}", f"line {row.sample_id[0]}"] for row in rows]
    with pytest.raises(UserError, match=r"captions.column: must be one of path, label, caption in"):
        column(dataset, column="text").require()


def test_webdataset(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(8):
        facts = {"label": number % 2, "class_name": "ab"[number % 2], "alt": [f"alt {number}"]}
        members |= {f"{number}.jpg": encoded(20 * number, "JPEG")}
        members |= {f"{number}.txt": b"text %d\n" % number}
        members |= {f"{number}.json": json.dumps(facts).encode()}
    pack(tmp_path / "train-0.tar", members)
    dataset = source("webdataset", tmp_path)
    rows = dataset.samples("train")
    numbers = [row.sample_id[-1] for row in rows]
    assert column(dataset, column="alt").stated(rows) == [[f"alt {n}"] for n in numbers]
    assert column(dataset, column="txt").stated(rows) == [[f"text {n}"] for n in numbers]
    for name in ("caption", "jpg"):
        with pytest.raises(UserError, match=r"captions.column: must be one of alt, class_name, la"):
            column(dataset, column=name).require()


def test_huggingface(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {
        "image": [{"bytes": encoded(20 * n, "PNG"), "path": None} for n in range(8)],
        "label": [n % 2 for n in range(8)],
        "caption": [[f"thin {n}", f"line {n}"] for n in range(8)],
    }
    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=["a", "b"]),
        caption=datasets.Sequence(datasets.Value("string")),
    )
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": table}).save_to_disk(str(tmp_path / "set"))
    splits = {"train": "train", "val": None, "test": False}
    dataset = source("huggingface", tmp_path, path=str(tmp_path / "set"), splits=splits)
    chosen = dataset.samples("train")
    numbers = [int(row.sample_id[-6:]) for row in chosen]
    expected = [[f"thin {n}", f"line {n}"] for n in numbers]
    assert column(dataset, column="caption").stated(chosen) == expected
    with pytest.raises(UserError, match=r"captions.column: must be one of image, label, caption"):
        column(dataset, column="text").require()


def test_prompts_read_them_without_a_model_and_scores_choose(listed: Path, tmp_path: Path) -> None:
    config = composed(
        *("captions=column", "captions.separator='|'", "dataset=csv", f"dataset.path={listed}"),
        *("dataset.index=null", "runtime.num_threads=1", "runtime.device=cpu"),
        folder=tmp_path,
    )
    offline = Offline(config)
    offline.require()
    originals = build(config.dataset).samples("train")
    known = known_rows(offline, originals)
    assert not known.to_caption and len(known.to_score) == len(originals) == 4
    prompts, candidates = offline.prompts(originals, StageLog())
    assert not (tmp_path / "store" / "captions").exists() and offline.models._modules == {}
    for prompt in prompts:
        pairs = dict(candidates[prompt.sample_id])
        number = prompt.sample_id[0]
        assert set(pairs) == {f"thin {number}", f"line {number}"}
        assert prompt.caption == max(pairs, key=pairs.__getitem__) and prompt.caption in prompt.text
    assert {prompt.caption[:4] for prompt in prompts} <= {"thin", "line"}


def test_the_column_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Any] = []
    monkeypatch.setattr("sip.captions.column.digest", lambda *cells: hashed.append(cells) or "x")
    captioner = column(Table("a", "b"))
    assert captioner.recipe() == captioner.recipe() and len(hashed) == 1

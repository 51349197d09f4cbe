"""Prompts from a table: what it leaves out, the way back to the same prompts, and refusals."""

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sip.core.errors import UserError
from sip.core.hashing import seed_of
from sip.prompts.base import SourceClass, Span
from sip.prompts.diff_mix_like import DiffMixLike
from sip.prompts.guidance.quadratic import Quadratic
from sip.prompts.label_caption import LabelCaption
from sip.prompts.rows import read_rows, write_rows
from sip.prompts.table import PromptTable
from tests.prompts.varied import COMMON
from tests.prompts.varied import SAMPLES as TWELVE

SAMPLES = TWELVE[:2]  # a cat and a race car
CAPTIONS = [['a cat, "asleep"\non a mat', "an animal"], ["größe – wheels, (red)"]]
COSINES = [[0.32, 0.2], [0.4]]
PRESET = {
    "template": "a photo of a {label}, {caption}",
    "label_weight": 1.5,
    "caption_weight": 0.9,
    "guidance": Quadratic(4.0, 2.0, 1.0, "clipscore"),
}


def table(file: Path, **changes) -> PromptTable:
    return PromptTable(**(COMMON | PRESET | {"file": str(file), "subset": False} | changes))


def written(folder: Path, *rows: dict, name: str = "prompts.csv") -> Path:
    file = folder / name
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
        return file
    with file.open("w", newline="") as stream:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines = csv.DictWriter(stream, columns)
        lines.writeheader()
        lines.writerows(rows)
    return file


def refusal(file: Path, **changes) -> str:
    made = table(file, **changes)
    with pytest.raises(UserError) as error:
        made.check(SAMPLES)
    return str(error.value)


@pytest.mark.parametrize("name", ["prompts.csv", "prompts.parquet"])
@pytest.mark.parametrize("template", ["a photo of a {label}, {caption}", "{label}", ""])
def test_a_list_read_back_is_the_same_list(tmp_path: Path, name: str, template: str) -> None:
    preset = LabelCaption(**(COMMON | PRESET | {"template": template}))
    prompts = preset.write(SAMPLES, CAPTIONS, COSINES, 3)
    assert write_rows(prompts, tmp_path / name) == 6
    again = table(tmp_path / name, template="another {label}", noise_rate=0.1, seed=7)
    again.check(SAMPLES)
    assert again.reads == frozenset()
    read = again.write(SAMPLES, None, None, 1)
    assert read == prompts
    assert [one.image_id for one in read] == [one.image_id for one in prompts]
    write_rows(prompts, tmp_path / name)  # the same once more
    edited = (tmp_path / name).read_bytes()
    with pytest.raises(UserError, match=r"^prompts_out: must be a new file, got .* with another c"):
        write_rows(prompts[1:], tmp_path / name)
    assert (tmp_path / name).read_bytes() == edited


def by_pandas(file: Path) -> None:
    """Add a copy of the second row without its seed; read and write the file once more."""
    is_csv = file.suffix == ".csv"
    read, write = (pd.read_csv, "to_csv") if is_csv else (pd.read_parquet, "to_parquet")
    frame = read(file)
    getattr(pd.concat([frame, frame.iloc[[1]].assign(seed=None)]), write)(file, index=False)
    getattr(read(file), write)(file, index=False)  # now with an empty cell


def by_a_spreadsheet(file: Path) -> None:
    """Write the file again; what looks like a number is one of 15 digits."""
    with file.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    number = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
    rows = [[f"{float(c):.15g}" if number.fullmatch(c) else c for c in row] for row in rows]
    copy = [cell if name != "seed" else "" for name, cell in zip(header, rows[1], strict=True)]
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows, copy])


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("prompts.csv", by_pandas),
        ("prompts.parquet", by_pandas),
        ("prompts.csv", by_a_spreadsheet),
    ],
)
def test_seeds_survive_other_programs(
    tmp_path: Path, name: str, edit: Callable[[Path], None]
) -> None:
    prompts = LabelCaption(**(COMMON | PRESET)).write(SAMPLES, CAPTIONS, COSINES, 2)
    assert min(prompt.seed for prompt in prompts) > 10**15
    write_rows(prompts, tmp_path / name)
    edit(tmp_path / name)
    made = table(tmp_path / name)
    made.check(SAMPLES)
    read = [prompt.image_id for prompt in made.write(SAMPLES, None, None, 1)]
    assert len(read) == 5
    assert {prompt.image_id for prompt in prompts} < {*read}


def test_seeds_of_earlier_tables_are_read(tmp_path: Path) -> None:
    seeds = [2038906263541255158, "2_038_906_263_541_255_158", "7.0", 7]
    for name in ("prompts.csv", "prompts.parquet"):
        read = []
        for seed in seeds:
            file = written(tmp_path, {"sample_id": "s0", "seed": seed}, name=name)
            read.append(read_rows(file)[0][0].seed)
        assert read == [seeds[0], seeds[0], 7, 7]
    assert (
        read_rows(written(tmp_path, {"sample_id": "s0", "seed": 7.0}, name="p.parquet"))[0][0].seed
        == 7
    )


@pytest.mark.parametrize("name", ["prompts.csv", "prompts.parquet"])
def test_targets_come_back_with_their_share_of_the_label(tmp_path: Path, name: str) -> None:
    values = {"template": "{label}", "caption_weight": 1.0, "label_weight": 1.0, "gamma": 0.3}
    values |= {"targets": "uniform", "rates": [0.7, 0.9], "noise_rate": 0.7}
    prompts = DiffMixLike(**(COMMON | values)).write(SAMPLES, None, None, 2)
    assert {prompt.class_name for prompt in prompts[:2]} == {"race car"}
    write_rows(prompts, tmp_path / name)
    again = table(tmp_path / name)
    again.check(SAMPLES)
    assert again.mixes_classes
    read = again.write(SAMPLES, None, None, 1)
    assert read == prompts
    assert [one.source_class for one in read] == [one.source_class for one in prompts]
    plain = write_rows([replace(prompts[0], source_class=None)], tmp_path / f"plain_{name}")
    assert plain == 1 and not table(tmp_path / f"plain_{name}").mixes_classes


def test_a_target_is_in_the_label_and_in_the_prompt_of_the_preset(tmp_path: Path) -> None:
    rows = (
        {"sample_id": "s0", "target": "race car", "noise_rate": 0.49, "guidance_scale": 3},
        {"sample_id": "s1", "target": "cat", "label_share": 0.25, "guidance_scale": 3},
        {"sample_id": "s1", "target": "race car", "guidance_scale": 3},
    )
    file = written(tmp_path, *rows)
    made = table(file, template="one {label}")
    made.check(SAMPLES)
    car, cat, own = made.write(SAMPLES[:1], None, None, 1) + made.write(SAMPLES[1:], None, None, 1)
    assert (car.text, car.label, car.source_class) == (
        "one race car",
        1,
        SourceClass(0, "cat", 0.49**0.5),
    )
    assert (cat.class_name, cat.source_class) == ("cat", SourceClass(1, "race car", 0.25))
    assert (own.label, own.source_class) == (1, None)
    assert table(file).recipe() != table(file, gamma=1.0).recipe()
    other = written(tmp_path, rows[0], rows[1] | {"label_share": 0.5}, rows[2], name="other.csv")
    assert table(file).content != table(other).content


def test_both_formats_have_the_same_recipe_and_another_value_another(tmp_path: Path) -> None:
    prompts = LabelCaption(**(COMMON | PRESET)).write(SAMPLES, CAPTIONS, COSINES, 1)
    files = [tmp_path / "a.csv", tmp_path / "b.parquet"]
    for file in files:
        write_rows(prompts, file)
    recipes = [table(file).recipe() for file in files]
    assert recipes[0] == recipes[1]
    files[0].write_text(files[0].read_text().replace("0.5", "0.25"))
    assert table(files[0]).recipe() != recipes[0]


def test_what_a_row_leaves_out_is_as_of_the_preset(tmp_path: Path) -> None:
    rows = (
        {"sample_id": "s1", "prompt": "a fast car", "guidance_scale": 5},
        {"sample_id": "s0", "prompt": None, "noise_rate": 0.7},
        {"sample_id": "s1", "caption": "wheels", "similarity": 0.4, "seed": 3},
    )
    made = table(written(tmp_path, *rows))
    assert made.reads == {"captions", "scores"}  # of the cat
    assert made.counts(SAMPLES) == {"s0": 1, "s1": 2}
    assert made.noise_rates == (0.5, 0.7)
    cat, car, wheels = made.write(SAMPLES, CAPTIONS, COSINES, 9)
    preset = LabelCaption(**(COMMON | PRESET)).write(SAMPLES, CAPTIONS, COSINES, 2)
    assert (cat.spans, cat.guidance_scale, cat.seed) == (
        preset[0].spans,
        preset[0].guidance_scale,
        preset[0].seed,
    )
    assert cat.noise_rate == 0.7
    assert (car.spans, car.guidance_scale, car.caption) == ((Span("a fast car", 1.0),), 5.0, None)
    assert car.seed == seed_of(0, "sha1", 0)
    assert wheels.spans[-1] == Span("wheels", 0.9)
    assert (wheels.guidance_scale, wheels.seed, wheels.variant) == (7.0, 3, 1)


def test_a_rule_is_fitted_to_the_rows_that_read_it(tmp_path: Path) -> None:
    rows = [
        {"sample_id": "s0", "caption": "a mat", "similarity": 0.2, "guidance_scale": None},
        {"sample_id": "s1", "caption": "wheels", "similarity": 0.4, "guidance_scale": None},
        {"sample_id": "s1", "caption": "a road", "similarity": 0.9, "guidance_scale": 5},
    ]
    rule = {"guidance": Quadratic(4.0, 2.0, 1.0, "quantile")}
    scales = [
        [one.guidance_scale for one in table(file, **rule).write(SAMPLES, None, None, 1)]
        for file in (
            written(tmp_path, *rows[:2], name="two.csv"),
            written(tmp_path, *rows, name="three.csv"),
        )
    ]
    assert scales[1] == [*scales[0], 5.0] and scales[0] == [1.0, 7.0]


def test_an_original_can_be_named_by_its_file(tmp_path: Path) -> None:
    relative = f"{'../' * 20}data/1.png"
    rows = ({"file": "/data/0.png"}, {"file": relative}, {"file": relative})
    assert table(written(tmp_path, *rows)).counts(SAMPLES) == {"s0": 1, "s1": 2}


@pytest.mark.parametrize("first", ["file", "sample_id"])
def test_rows_named_by_id_and_by_file_keep_their_order(tmp_path: Path, first: str) -> None:
    names = [{"file": "/data/0.png"}, {"sample_id": "s0"}][:: 1 if first == "file" else -1]
    rows = [names[number % 2] | {"prompt": f"{number}", "guidance_scale": 2} for number in range(4)]
    prompts = table(written(tmp_path, *rows)).write(SAMPLES, None, None, 1)
    assert [(one.text, one.variant) for one in prompts] == [(f"{n}", n) for n in range(4)]
    assert [one.seed for one in prompts] == [seed_of(0, "sha0", n) for n in range(4)]


def test_rows_of_other_originals_need_subset(tmp_path: Path, capsys) -> None:
    rows = [{"sample_id": name, "prompt": "x", "guidance_scale": 2} for name in ("s0", "s7", "s9")]
    file = written(tmp_path, *(row | {"notes": "n"} for row in rows))
    assert refusal(file) == (
        f"prompts.file: {file}: row 3, column sample_id: must name an image to train on, such as "
        "s0, got s7 (2 such rows); fix the table, or set prompts.subset=true if others are listed "
        "too"
    )
    table(file, subset=True).check(SAMPLES)
    said = " ".join(capsys.readouterr().err.split())
    assert "prompts.csv: 1 row, 2 of other originals, no row of 1 original" in said
    assert "not read: notes" in said
    only = written(tmp_path, *rows[1:], name="c.csv")
    assert "must name an image to train on" in refusal(only, subset=True)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"noise_rate": "0,5"},
            "row 2, column noise_rate: must be a number with a decimal point, got '0,5'",
        ),
        ({"noise_rate": 0}, "row 2, column noise_rate: must be in (0, 1], got '0'"),
        ({"guidance_scale": "nan"}, "column guidance_scale: must be 0 or more, got 'nan'"),
        ({"guidance_scale": -3}, "column guidance_scale: must be 0 or more, got '-3'"),
        ({"seed": "1.5"}, "column seed: must be a whole number in [0, 2**63), got '1.5'"),
        ({"seed": 2**63}, "column seed: must be a whole number in [0, 2**63)"),
        ({"seed": "inf"}, "column seed: must be a whole number in [0, 2**63), got 'inf'"),
        ({"seed": "2.03e+18"}, "column seed: must be a whole number with all digits"),
        ({"spans": '[["a", true]]'}, "column spans: must be JSON of the form"),
        ({"spans": "[["}, "column spans: must be JSON of the form"),
        (
            {"spans": '[["a cat", 1]]', "prompt": "a dog"},
            "column prompt: must be the text of spans",
        ),
        ({"sample_id": None, "prompt": "x"}, "column sample_id: must name the original"),
        ({"file": "x.png"}, "column file: must be empty where sample_id is given"),
        ({"caption": "c"}, "column guidance_scale: must be given where caption is"),
        ({"label_share": 0.5}, "column label_share: must be empty where target is"),
        ({"target": "cat", "label_share": 2}, "column label_share: must be in [0, 1], got '2'"),
        (
            {"target": "race", "guidance_scale": 1},
            "row 2, column target: must be the name of a class to train on, got race; did you "
            "mean race car?",
        ),
    ],
)
def test_refusals_name_row_and_column(tmp_path: Path, row: dict, said: str) -> None:
    assert said in refusal(written(tmp_path, {"sample_id": "s0"} | row))


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    assert "must be a file that is there, got" in refusal(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes("file,prompt\na,größe\n".encode("latin-1"))
    assert "must be a CSV file in UTF-8" in refusal(tmp_path / "latin.csv")
    assert "must be the name of a .csv or .parquet file" in refusal(tmp_path / "list.xlsx")
    (tmp_path / "bad.parquet").write_text("no")
    assert "must be a Parquet file" in refusal(tmp_path / "bad.parquet")
    assert "with a column sample_id or file" in refusal(written(tmp_path, {"id": 1}))
    (tmp_path / "empty.csv").write_text("sample_id,prompt\n")
    assert "a row for each image to generate" in refusal(tmp_path / "empty.csv")


def test_cells_of_spaces_are_empty_and_semicolons_divide_columns(tmp_path: Path, capsys) -> None:
    file = tmp_path / "excel.csv"
    file.write_text(
        "sample_id;promt;prompt;guidance_scale\ns0;a;  ;2\ns1;;a red car, fast;3\n", "utf-8-sig"
    )
    made = table(file, template="{label}")
    made.check(SAMPLES)
    assert "not read: promt (did you mean prompt?)" in " ".join(capsys.readouterr().err.split())
    cat, car = made.write(SAMPLES, None, None, 1)
    assert (cat.text, car.text, car.guidance_scale) == ("cat", "a red car, fast", 3.0)


@pytest.mark.parametrize("second", [{}, {"noise_rate": COMMON["noise_rate"]}])
def test_two_rows_of_the_same_image_are_refused(tmp_path: Path, second: dict) -> None:
    name = SAMPLES[0].sample_id
    row = {"sample_id": name, "prompt": "a cat", "guidance_scale": 3, "noise_rate": "", "seed": 7}
    file = written(tmp_path, row, {**row, "seed": 8}, row | second)
    said = refusal(file)
    assert "row 4: must be another image than row 2" in said
    assert "give another seed, or remove one" in said
    file = written(tmp_path, *[{**row, "seed": ""}] * 3)
    made = table(file)
    made.check(SAMPLES)
    assert len({one.image_id for one in made.write(SAMPLES, None, None, 1)}) == 3
    shown = {"sample_id": name, "guidance_scale": 3, "seed": 7}
    table(written(tmp_path, shown, shown), vary_captions=True).check(SAMPLES)


@pytest.mark.parametrize(("line", "number"), [("train/cat.jpg,a", "fewer"), ("a,b,c,d", "more")])
def test_a_row_with_more_or_fewer_cells_than_the_header_is_named(
    tmp_path: Path, line: str, number: str
) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text(f"sample_id,prompt,seed\n{SAMPLES[0].sample_id},a,1\n{line}\n")
    assert f"(row 3 has {number} cells than the header)" in refusal(file)


@pytest.mark.parametrize(
    "second", [{"caption": "a dog"}, {"similarity": 0.1}, {"caption": "", "similarity": ""}]
)
def test_what_a_row_only_records_makes_no_other_image(tmp_path: Path, second: dict) -> None:
    row = {"sample_id": SAMPLES[0].sample_id, "prompt": "a cat", "guidance_scale": 3, "seed": 7}
    row |= {"caption": "a cat", "similarity": 0.3}
    file = written(tmp_path, row, row | second)
    assert "row 3: must be another image than row 2" in refusal(file)
    made = table(file)
    first, other = made.write(SAMPLES, CAPTIONS, COSINES, 1)
    assert first.image_id == other.image_id  # so it is right to refuse them
    read = {key: row[key] for key in ("sample_id", "seed", "caption", "similarity")}
    table(written(tmp_path, read, read | {"caption": "a dog"})).check(SAMPLES)
    table(written(tmp_path, read, read | {"similarity": 0.2})).check(SAMPLES)


def test_the_rows_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(written(tmp_path, {"sample_id": SAMPLES[0].sample_id, "prompt": "a cat"}))
    hashed: list[object] = []
    monkeypatch.setattr("sip.prompts.table.digest", lambda *rows: hashed.append(rows) or "x")
    assert made.recipe() == made.recipe() and len(hashed) == 1


def test_an_original_can_be_named_by_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "1.png").touch()
    (tmp_path / "link").symlink_to(folder)
    sample = replace(SAMPLES[0], path=str(folder / "1.png"))  # as a data set opens it
    made = table(written(tmp_path, {"file": "link/1.png", "prompt": "a cat", "guidance_scale": 3}))
    made.check([sample])
    assert [prompt.text for prompt in made.write([sample], None, None, 1)] == ["a cat"]

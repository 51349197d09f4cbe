"""The page's text: complete, self-contained, harmless, and silent about where things lie."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from scipy import stats

from sip.core.errors import UserError
from sip.core.paths import conf_folder
from sip.pipeline.rungs import LadderCounts, RungCounts
from sip.records.read import RunRecord, runs_of
from sip.report.page import csp_hash
from sip.report.results import groups
from sip.report.runs import NamedRun
from sip.tables.__main__ import task as tables
from sip.tables.sheets import Sheet, grid
from tests.composing import composed
from tests.records.made_up import MACHINE, training_summary
from tests.report.conftest import write_page
from tests.report.made_up import CAPTION, HARM, SEED, make_run


@pytest.fixture(scope="module")
def text(page: Path) -> str:
    return page.read_text()


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_question_table_cost_commands_and_environment_are_there(text: str) -> None:
    assert "Does it help, &#34;really&#34; &lt;b&gt;?" in text
    assert "71.00 ± 2.48" in text and "81.00 ± 2.62" in text
    assert "<b>+10.00 ± 0.25<small> p &lt; 0.001" in text  # its interval leaves out 0
    assert "+1.00 ± 2.48" in text and "<b>+1.00" not in text
    assert "Vendi score" in text and "5.250" in text and "generated/own" in text
    assert "sip, sip_cutmix" in text  # one line: they train on the same images
    assert ">25.0<" in text and ">11.0<" in text  # seconds of generation and of training, a run
    assert "python -m sip.train seed=2 paths.store=store" in text
    assert "2.15.0" in text and "c0ffeec0ffee" in text


def test_every_image_says_how_it_was_generated(text: str) -> None:
    data = data_of(text)
    assert data["total"] == len(data["images"]) == 12
    first = next(p for p in data["images"] if p["sample_id"] == "001" and p["variant"] == 0)
    assert first["class_name"] == HARM and first["seed"] == str(SEED + 1)
    assert first["spans"][1] == [HARM, 1.5] and first["candidates"][0] == [CAPTION, 0.3]
    assert first["arms"] == ["resnet50 + sip", "resnet50 + sip_cutmix"] and len(first["runs"]) == 6
    assert first["label_similarity"] == pytest.approx(0.21)
    assert (first["guidance_scale"], first["noise_rate"]) == (4.5, 0.5)
    assert (first["source_class_name"], first["label_share"]) == (None, None)
    (mixed,) = (p for p in data["images"] if p["source_class_name"])
    assert (mixed["class_name"], mixed["source_class_name"], mixed["label_share"]) == (
        HARM, "dog", 0.75
    )  # fmt: skip
    assert all(p["original"] in data["sources"] for p in data["images"])
    left = [p for p in data["images"] if "left out" in p["views"]]
    assert {(p["status"], p["reason"]) for p in left} == {
        ("failed", "black"), ("rejected", "similarity")
    }  # fmt: skip
    assert next(p for p in left if p["status"] == "failed")["generated"] is None
    worst = [p["label_similarity"] for p in data["images"] if "worst" in p["views"]]
    assert sorted(worst) == pytest.approx([0.2, 0.21, 0.22])


def test_originals_are_made_smaller_and_stand_there_once(text: str) -> None:
    images = data_of(text)["sources"]
    assert len(images) == 6 + 11 == len(set(images.values()))
    kinds = [address.partition(";")[0] for address in images.values()]
    assert (kinds.count("data:image/jpeg"), kinds.count("data:image/png")) == (6, 11)


def test_nothing_of_the_data_is_html(text: str) -> None:
    assert "<script>alert" not in text and "<img src=x" not in text
    opened = re.findall(r"<script[^>]*>", text)
    assert opened == ['<script type="application/json" id="data">', "<script>"]
    assert text.count("</script>") == 2


def test_only_its_own_script_and_style_are_allowed_and_nothing_is_loaded(text: str) -> None:
    policy = html.unescape(re.search(r'Content-Security-Policy" content="(.*?)"', text)[1])
    script, style = (re.search(rf"<{t}>(.*?)</{t}>", text, re.DOTALL)[1] for t in
                     ("script", "style"))  # fmt: skip
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"script-src {csp_hash(script)};" in policy and f"style-src {csp_hash(style)};" in policy
    assert "unsafe" not in policy and "eval(" not in script and "innerHTML" not in script
    assert not re.search(r'(src|href)="(?!data:|#)', text) and "url(" not in style
    assert not re.search(r'<[^>]* style="', text)  # the policy would drop it


def test_no_place_of_this_machine_is_told_unless_it_is_asked_for(text: str, root: Path) -> None:
    assert str(root) not in text and root.name not in text
    assert "0.png: all of it is black" in text and "full_paths=true" in text
    whole = write_page(root, "experiment=trial", "full_paths=true").read_text()
    assert f"python -m sip.train seed=2 paths.store={root}/store" in whole  # can be pasted
    assert "full_paths=true" not in whole


def test_the_number_of_images_is_bounded(root: Path) -> None:
    data = data_of(write_page(root, "max_images=8", "thumbnail_size=64").read_text())
    assert len(data["images"]) == 8 and data["total"] == 12
    assert [sum(view in p["views"] for p in data["images"]) for view in
            ("left out", "worst")] == [2, 2]  # fmt: skip
    assert all(address.startswith("data:image/png") for address in data["sources"].values())


def test_an_experiment_that_generates_nothing_has_no_gallery(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0, quality=[])
    text = write_page(tmp_path).read_text()
    assert 'id="images"' not in text and "70.00" in text
    assert "Only one arm has a result; there is nothing to compare." in text
    assert all(f"<dd>1</dd><dt>{noun}</dt>" in text for noun in ("run", "arm", "seed"))


def test_acceptance_by_class_and_noise_rate_is_there_for_arms_with_a_ladder(
    tmp_path: Path,
) -> None:
    rungs = (
        RungCounts("cat", 0.9, 4, 3), RungCounts("cat", 0.5, 1, 0), RungCounts(HARM, 0.9, 4, 4),
    )  # fmt: skip
    for seed in (0, 1):
        make_run(tmp_path, "none", seed)
        make_run(tmp_path, "sip", seed, ladder=LadderCounts(rungs, {"cat": 1}))
    text = write_page(tmp_path).read_text()
    section = text.partition('<section id="ladder"')[2].partition("</section>")[0]
    cells = re.findall(r'data-label="([^"]+)">([^<]+)</td>', section)
    assert cells == [
        ("noise rate 0.9", "6 of 8"), ("noise rate 0.5", "0 of 2"), ("left out", "2"),
        ("noise rate 0.9", "8 of 8"), ("noise rate 0.5", "–"), ("left out", "0"),
    ]  # fmt: skip
    assert 'aria-label="0.9: 75 %, 0.5: 0 %, left out: 25 %"' in section
    assert HARM not in section and "Start" not in section
    make_run(tmp_path, "sip", 2, ladder=LadderCounts(rungs, {}, {"cat": 0.5}))
    section = write_page(tmp_path).read_text().partition('<section id="ladder"')[2]
    starts = re.findall(r'data-label="learned start">([^<]+)</td>', section)
    assert starts == ["0.5", "–"] and "Start: the noise rate at which" in section


def test_images_per_class_are_there_if_classes_are_balanced(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0)
    make_run(tmp_path, "sip", 0)
    assert "Images per class" not in write_page(tmp_path).read_text()
    recipe = {"seed": 1, "offline": {"prompts": {}, "balance": None}}
    make_run(tmp_path, "sip_cutmix", 0, recipe=recipe)
    text = write_page(tmp_path).read_text()
    part = text.partition("Images per class</h2>")[2].partition("</section>")[0]
    assert "2 real images a class before, 5 to 6 with the generated ones." in part
    rows = re.findall(r'">(\d+)</td>', part)
    assert rows == ["2", "4", "6", "2", "4", "6", "2", "3", "5"] or len(rows) == 9


def test_a_line_of_one_point_is_a_dot(tmp_path: Path) -> None:
    for arm in ("none", "sip"):
        run = make_run(tmp_path, arm, 0)
        (run / "metrics.csv").write_text("step,val/accuracy\n9,0.5\n")
    text = write_page(tmp_path).read_text()
    assert text.count('class="dots"') == 2 and '<path d="M100.0,20.0h0" class="dots">' in text
    (run / "metrics.csv").write_text("step,val/accuracy\n9,nan\n")
    text = write_page(tmp_path).read_text()
    assert text.count('class="dots"') == 1 and "No curves: sip. No finite value" in text


def test_a_diverged_run_and_a_missing_baseline_are_on_the_page(tmp_path: Path) -> None:
    for seed in range(3):
        accuracy = float("nan") if seed == 1 else 0.8
        make_run(tmp_path, "sip", seed, test_accuracy=accuracy)
        make_run(tmp_path, "sip_cutmix", seed)
    text = write_page(tmp_path).read_text()
    assert "diverged</span> sip, seed 1: the test accuracy is not a number." in text
    assert "No run without augmentation is here; differences are to the first arm." in text
    assert "augmentation=none backbone=resnet50 experiment=trial seed=0,1,2</pre>" in text


def test_a_difference_over_fewer_seeds_than_the_arm_has_says_so(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "sip", seed)
        make_run(tmp_path, "sip_cutmix", seed)
    for seed in range(2):
        make_run(tmp_path, "none", seed)
    text = write_page(tmp_path).read_text()
    assert text.count("<small> of 2 seeds</small>") == 2
    make_run(tmp_path, "none", 2)
    assert "</small>" in text and " seeds</small>" not in write_page(tmp_path).read_text()


def test_machines_are_part_of_the_environment(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0)
    make_run(tmp_path, "sip", 0, machine=replace(MACHINE, threads=2))
    make_run(tmp_path, "sip", 1, machine=None)
    section = write_page(tmp_path).read_text().partition('<section id="environment"')[2]
    for text in ("AMD EPYC, AVX2, 1 thread", "AMD EPYC, AVX2, 2 threads", "not recorded"):
        assert text in section


def test_damaged_runs_are_a_line_each_and_do_not_prevent_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for seed in range(3):
        make_run(tmp_path, "none", seed)
        make_run(tmp_path, "sip", seed)
    runs = tmp_path / "runs"
    (runs / "resnet50-none-seed0" / "summary.json").write_text("{")
    (runs / "resnet50-none-seed1" / "config.yaml").write_text("- a")
    (runs / "resnet50-sip-seed0" / "images.parquet").write_bytes(b"PAR1")
    (runs / "resnet50-sip-seed1" / "predictions.parquet").write_bytes(b"PAR1")
    (runs / "resnet50-sip-seed2" / "metrics.csv").write_bytes(b"\x00step")
    text = write_page(tmp_path).read_text()
    shown = capsys.readouterr().out.splitlines()
    names = ("none-seed0/summary.json", "none-seed1/config.yaml", "sip-seed0/images.parquet",
             "sip-seed1/predictions.parquet")  # fmt: skip
    for name in names:
        (line,) = [line for line in shown if name in line]
        assert line.startswith("left out: ")
    assert str(tmp_path) not in text and text.count("the run is damaged: delete its folder") == 4
    assert "71.00" in text and "72.00" not in text  # of none only seed 2 is left


def change_columns(table: Path, **columns: object) -> None:
    """Give columns of a Parquet file one value in every row."""
    rows = [row | columns for row in pq.read_table(table).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows), table)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", None, "id: must have a value in every row, got 18 without"),
        ("id", 7, "id: must be text, got int64"),
        ("label", "x", "label: must be whole numbers, got string"),
        ("noise_rate", "x", "noise_rate: must be numbers, got string"),
        ("file", 7.5, "file: must be text, got double"),
        ("error", 7, "error: must be text, got int64"),
        ("sha256", None, "sha256: must be the checksum of"),
    ],
)
def test_a_column_of_another_kind_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, column: str, value: object, message: str
) -> None:
    change_columns(make_run(tmp_path, "sip", 0) / "images.parquet", **{column: value})
    write_page(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("left out: ") and message in lines[0] and len(lines) == 2


SUMMARIES = [
    {"stages": 3}, {"experiments": 5}, {"metrics": [1]}, {"seed": [1]}, {"recipe": "x"},
    {"choices": None}, {"quality": [1]}, {"unet_evaluations": 10**40},
]  # fmt: skip


@pytest.mark.parametrize("change", SUMMARIES, ids=[next(iter(change)) for change in SUMMARIES])
def test_a_damaged_summary_is_a_line_in_report_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture, change: dict
) -> None:
    make_run(tmp_path, "none", 0)
    file = make_run(tmp_path, "sip", 0) / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    write_page(tmp_path)
    tables(composed(f"runs={tmp_path}/runs", name="tables"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "left out: " in line]
    assert len(lines) == 2 and lines[0] == lines[1] and str(file) in lines[0]


CONFIGS = ["a: &a {b: *a}", "- a", "x: [", "paths: 3", "\n".join(
    f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}, z: *a{n - 1}}}" if n else "a0: &a0 {x: 1}"
    for n in range(30)
)]  # fmt: skip


@pytest.mark.parametrize("text", CONFIGS, ids=[text[:10] for text in CONFIGS])
def test_a_damaged_configuration_ends_and_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, text: str
) -> None:
    make_run(tmp_path, "none", 0)
    (make_run(tmp_path, "sip", 0) / "config.yaml").write_text(text)
    write_page(tmp_path)
    assert "config.yaml" in capsys.readouterr().out.splitlines()[0]
    tables(composed(f"runs={tmp_path}/runs", name="tables"))


SPANS = ['[["a", NaN]]', "[[", "[" * 100_000, "[1, 2]", '{"a": 1}', "[[[[", "3"]


@pytest.mark.parametrize("spans", SPANS, ids=[text[:12] for text in SPANS])
def test_spans_that_are_no_spans_are_none(tmp_path: Path, spans: str) -> None:
    folder = make_run(tmp_path, "sip", 0)
    table = pq.read_table(folder / "images.parquet")
    for name in ("spans", "candidates"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array([spans] * len(table)))
    pq.write_table(table, folder / "images.parquet")
    images = data_of(write_page(tmp_path).read_text())["images"]
    assert len(images) == 12 and all(i["spans"] == i["candidates"] == [] for i in images)


def test_columns_that_lack_are_a_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = make_run(tmp_path, "sip", 0)
    rows = pa.table({"kind": ["generated"], "split": ["train"]})
    pq.write_table(rows, folder / "images.parquet")
    write_page(tmp_path)
    assert "images.parquet: must have the columns id, sample_id" in capsys.readouterr().out


def test_images_that_are_gone_leave_a_gap(tmp_path: Path) -> None:
    make_run(tmp_path, "sip", 0)
    for file in (tmp_path / "store").rglob("*.png"):
        file.unlink()
    data = data_of(write_page(tmp_path).read_text())
    assert all(p["generated"] is None and p["original"] for p in data["images"])


@pytest.mark.parametrize("file", ["../data/0.png", "/etc/hostname", "../../secret.png"])
def test_a_run_cannot_have_files_outside_of_the_store_shown(
    tmp_path: Path, file: str, capsys: pytest.CaptureFixture
) -> None:
    """Both the page and a contact sheet read images through `sip.records.files`."""
    images = make_run(tmp_path, "sip", 0) / "images.parquet"
    table = pq.read_table(images)
    rows = [row | ({"file": file} if row["variant"] == 0 else {}) for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), images)
    text = write_page(tmp_path).read_text()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out: " in line]
    assert "file: must be a path in the store" in line and 'id="images"' not in text
    sheet = Sheet.of(OmegaConf.load(conf_folder() / "figure" / "sheet.yaml"))
    with pytest.raises(UserError, match="file: must be a path in the store"):
        grid(runs_of(tmp_path / "runs"), replace(sheet, outer="seed", inner=None))


def test_retrieved_images_are_on_the_page_as_such(tmp_path: Path) -> None:
    images = make_run(tmp_path, "sip", 0) / "images.parquet"
    table = pq.read_table(images)
    facts = {"kind": "retrieved", "noise_rate": None, "guidance_scale": None}
    rows = [row if row["kind"] == "real" else row | facts for row in table.to_pylist()]
    before = data_of(write_page(tmp_path).read_text())["images"]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), images)
    shown = data_of(write_page(tmp_path).read_text())["images"]
    assert len(shown) == len(before) > 0 and {p["kind"] for p in before} == {"generated"}
    assert {(p["kind"], p["noise_rate"], p["guidance_scale"]) for p in shown} == {
        ("retrieved", None, None)
    }


def test_an_original_of_another_content_is_not_shown(tmp_path: Path) -> None:
    images = make_run(tmp_path, "sip", 0) / "images.parquet"
    table = pq.read_table(images)
    rows = [row | ({"sha256": "0" * 64} if row["kind"] == "real" else {})
            for row in table.to_pylist()]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, table.schema), images)
    data = data_of(write_page(tmp_path).read_text())
    assert all(p["original"] is None for p in data["images"])
    assert any(p["generated"] for p in data["images"])


def test_the_experiments_own_words_and_figures_are_found(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0)
    folder = tmp_path / "experiments" / "trial"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# T\n\n**Question.** Is it\nso?\n\n**Command.** x\n")
    (folder / "curve_one.svg").write_text("<svg onload='alert(1)'></svg>")
    own = f"experiments={tmp_path}/experiments"
    text = write_page(tmp_path, own, "experiment=trial").read_text()
    assert "Is it so?" in text
    assert 'alt="Figure: curve_one"' in text and "onload" not in text
    assert "data:image/svg+xml;base64," in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment=other", "with finished runs in .*, got 'other'; there are trial"),
        ("max_images=-1", "max_images: must be a whole number >= 0, got -1"),
        ("thumbnail_size=a", "thumbnail_size: must be a whole number >= 16, got 'a'"),
        ("output=null", "output: must be a path, got null; say output=PATH"),
        ("output=x.pdf", "output: must be a file ending in .html, got 'x.pdf'"),
        ("runs=[a,b]", "runs: must be a path, got .*; say runs=PATH"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(root: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_page(root, override)


def test_many_arms_are_held_to_more(tmp_path: Path) -> None:
    """A difference with p = 0.035 is significant as the only one, and not with two more arms."""
    accuracy = {"none": (0.70, 0.71, 0.69), "sip": (0.73, 0.75, 0.71)}
    accuracy |= {name: (0.70, 0.72, 0.68) for name in ("cutmix", "mixup")}
    runs = [
        NamedRun(
            RunRecord(tmp_path, training_summary(augmentation=arm, seed=seed, test_accuracy=one)),
            tmp_path,
            arm,
        )
        for arm, values in accuracy.items()
        for seed, one in enumerate(values)
    ]
    few = {arm.name: arm for arm in groups(runs[:6])[0].arms}
    many = {arm.name: arm for arm in groups(runs)[0].arms}
    plain = stats.ttest_rel(accuracy["sip"], accuracy["none"]).pvalue
    assert few["sip"].holm_p == pytest.approx(plain) and few["sip"].is_clear
    assert many["sip"].holm_p == pytest.approx(3 * plain) and not many["sip"].is_clear
    assert not many["cutmix"].is_clear and not many["none"].is_clear


def test_arms_without_a_common_seed_are_not_compared(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0)
    make_run(tmp_path, "sip", 1)
    text = write_page(tmp_path).read_text()
    assert "No arm has runs of the reference" in text and "Only one arm has a result" not in text
    (tmp_path / "runs" / "resnet50-sip-seed1" / "summary.json").unlink()
    assert "Only one arm has a result" in write_page(tmp_path).read_text()

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
from sip.records.read import RunRecord, runs_of
from sip.report.page import csp_hash
from sip.report.results import groups
from sip.report.runs import NamedRun
from sip.tables.sheets import Sheet, grid
from tests.records.made_up import training_summary
from tests.report.conftest import write_page
from tests.report.made_up import CAPTION, HARM, SEED, make_run


@pytest.fixture(scope="module")
def text(page: Path) -> str:
    return page.read_text()


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_question_table_cost_commands_and_environment_are_there(text: str) -> None:
    assert "Does it help, &#34;really&#34; &lt;b&gt;?" in text
    assert "71.00 ± 2.48" in text and "81.00 ± 2.48" in text
    assert "<b>+10.00 ± 0.00<small> p &lt; 0.001" in text  # its interval leaves out 0
    assert "+1.00 ± 2.48" in text and "<b>+1.00" not in text
    assert "Vendi score" in text and "5.250" in text and "generated/own" in text
    assert "sip, sip_cutmix" in text  # one column: they train on the same images
    assert ">90.0<" in text and ">11.0<" in text  # seconds of drawing, and of training a run
    assert "python -m sip.train seed=2 paths.store=store" in text
    assert "2.15.0" in text and "c0ffeec0ffee" in text


def test_every_image_says_how_it_was_drawn(text: str) -> None:
    data = data_of(text)
    assert data["total"] == len(data["images"]) == 12
    first = next(p for p in data["images"] if p["sample_id"] == "001" and p["variant"] == 0)
    assert first["class_name"] == HARM and first["seed"] == str(SEED + 1)
    assert first["spans"][1] == [HARM, 1.5] and first["candidates"][0] == [CAPTION, 0.3]
    assert first["arms"] == ["resnet50 + sip", "resnet50 + sip_cutmix"] and len(first["runs"]) == 6
    assert first["label_similarity"] == pytest.approx(0.21)
    assert (first["guidance_scale"], first["noise_rate"]) == (4.5, 0.5)
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


def test_no_place_of_this_machine_is_told(text: str, root: Path) -> None:
    assert str(root) not in text and root.name not in text
    assert "0.png: all of it is black" in text


def test_the_number_of_images_is_bounded(root: Path) -> None:
    data = data_of(write_page(root, "max_images=8", "thumbnail_size=64").read_text())
    assert len(data["images"]) == 8 and data["total"] == 12
    assert [sum(view in p["views"] for p in data["images"]) for view in
            ("left out", "worst")] == [2, 2]  # fmt: skip
    assert all(address.startswith("data:image/png") for address in data["sources"].values())


def test_an_experiment_that_draws_nothing_has_no_gallery(tmp_path: Path) -> None:
    make_run(tmp_path, "none", 0, quality=[])
    text = write_page(tmp_path).read_text()
    assert 'id="images"' not in text and "70.00" in text
    assert "There is no arm without" not in text or "compare" in text


def test_images_that_are_gone_leave_a_gap(tmp_path: Path) -> None:
    make_run(tmp_path, "sip", 0)
    for file in (tmp_path / "store").rglob("*.png"):
        file.unlink()
    data = data_of(write_page(tmp_path).read_text())
    assert all(p["generated"] is None and p["original"] for p in data["images"])


@pytest.mark.parametrize("file", ["../data/0.png", "/etc/hostname", "../../secret.png"])
def test_a_run_cannot_have_files_outside_of_the_store_shown(tmp_path: Path, file: str) -> None:
    """The page and a contact sheet refuse them; both read images through `sip.records.files`."""
    images = make_run(tmp_path, "sip", 0) / "images.parquet"
    table = pq.read_table(images)
    rows = [row | ({"file": file} if row["variant"] == 0 else {}) for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), images)
    with pytest.raises(UserError, match="file: must be a path in the store .*, got ") as caught:
        write_page(tmp_path)
    assert "\n" not in str(caught.value)
    sheet = Sheet.of(OmegaConf.load(conf_folder() / "figure" / "sheet.yaml"))
    with pytest.raises(UserError, match="file: must be a path in the store"):
        grid(runs_of(tmp_path / "runs", None), replace(sheet, outer="seed", inner=None))


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
        ("experiment=other", "runs of experiment 'other', got 9 of other"),
        ("max_images=-1", "max_images: must be a whole number >= 0, got -1"),
        ("thumbnail_size=a", "thumbnail_size: must be a whole number >= 16, got 'a'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(root: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_page(root, override)


def test_many_arms_are_held_to_more(tmp_path: Path) -> None:
    """A difference with p = 0.035 stands next to none alone, and falls with two arms more."""
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
    group = "resnet50 on digits, 5 shots a class"
    few = {arm.name: arm for arm in groups(runs[:6])[group]}
    many = {arm.name: arm for arm in groups(runs)[group]}
    plain = stats.ttest_rel(accuracy["sip"], accuracy["none"]).pvalue
    assert few["sip"].holm_p == pytest.approx(plain) and few["sip"].is_clear
    assert many["sip"].holm_p == pytest.approx(3 * plain) and not many["sip"].is_clear
    assert not many["cutmix"].is_clear and not many["none"].is_clear

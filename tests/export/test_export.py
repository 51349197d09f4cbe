"""An export is whole or not there, names what is wrong, and tells nothing private."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

import sip
from sip.core.errors import UserError
from sip.core.interrupt import Stopped
from sip.core.paths import conf_folder
from sip.core.tars import split_reference
from sip.export import main as main_module
from sip.export.__main__ import task
from sip.export.main import FORMATS, Options, export
from sip.export.source import ExportImage, Source
from tests.composing import composed
from tests.export.made_up import RECIPE
from tests.records.made_up import generation_summary, training_summary, write_run

Make = Callable[..., Options]


def change(run: Path, edit: Callable[[list[dict]], list[dict] | None]) -> None:
    """Edit the rows of a run's list of images."""
    table = pq.read_table(run / "images.parquet")
    rows = table.to_pylist()
    rows = edit(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, table.schema), run / "images.parquet")


def left_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


@pytest.mark.parametrize("file_format", FORMATS)
def test_no_private_path_in_any_file(options: Make, file_format: str, tmp_path: Path) -> None:
    made = options(format=file_format, originals="as_used")
    export(made)
    for path in made.output.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for private in (
                str(tmp_path),
                "/home/",
                str(Path.home()),
                "sip.store",
                "0123456789/",
            ):
                assert private.encode() not in content, path


def test_the_card_says_what_how_and_how_many(options: Make) -> None:
    export(options())
    text = (options().output / "README.md").read_text()
    header = OmegaConf.create(text.split("---")[1])
    assert header.license == "unknown" and header.size_categories == ["n<1K"]
    assert header.pretty_name == "resnet50-sip-seed3-abc"
    assert "7 generated images; 2 classes" in text
    assert "| 0 | zero | 4 |" in text and "| 1 | a/b: 犬 | 3 |" in text and "|  | all | 7 |" in text
    assert "Real images are not included" in text
    assert "2 images could not be generated, left out here: 2 black." in text
    assert "noise_rate: 0.5" in text and "weights: sd15" in text and "num_steps: 50" in text
    assert "not of images" not in text  # of the classifier's settings
    assert "torch 2.15, commit c0ffee" in text
    assert f"| images | sd15 | v1 | model.safetensors | {'a1' * 32} |" in text
    assert "b2" * 32 not in text  # the classifier's
    assert "## Licence" in text and "| `spans` | string |" in text


def test_the_card_has_the_classes_before_and_after_a_balance(options: Make, run: Path) -> None:
    export(options())
    assert "balance" not in (options().output / "README.md").read_text()
    for bound, settings in ((None, "balance: true"), (3, "balance: true\n  max_per_sample: 3")):
        recipe = {**RECIPE, "offline": {**RECIPE["offline"], "balance": bound}}
        write_run(run, training_summary(recipe=recipe))
        shutil.rmtree(options().output)
        export(options())
        text = (options().output / "README.md").read_text()
        assert settings in text and "null" not in text.partition("## How the images")[2]
        part = text.partition("## Balance")[2].partition("## Left out")[0]
        assert "1 real images a class before, 1 to 5 with the generated ones." in part
        assert "| zero | 1 | 4 | 5 |" in part and "| three | 1 | 0 | 1 |" in part


def test_images_of_two_classes_come_with_both(options: Make, run: Path) -> None:
    mixed = {"source_label": 1, "source_class_name": "seven", "label_share": 0.75}
    rows = pq.read_table(run / "images.parquet").to_pylist()
    rows = [mixed | row if row["id"] == f"{0:024x}" else row for row in rows]
    fields = {name: value for row in rows[::-1] for name, value in row.items() if value is not None}
    schema = pa.schema([(name, pa.scalar(value).type) for name, value in fields.items()])
    pq.write_table(pa.Table.from_pylist(rows, schema), run / "images.parquet")
    source = export(options())
    (facts,) = (i.facts for i in source.images("train") if i.facts["source_label"] is not None)
    assert {name: facts[name] for name in mixed} == mixed and facts["label"] == 0
    text = (options().output / "README.md").read_text()
    assert "1 generated image of two classes" in text and "| `label_share` | float64 |" in text
    table = pq.read_table(options().output / "train" / "metadata.parquet").to_pylist()
    assert [row["label_share"] for row in table if row["source_label"] == 1] == [0.75]


def test_what_never_got_onto_the_list_counts_as_failed_too(options: Make, run: Path) -> None:
    write_run(run, generation_summary(failures={"unreadable": 3}))
    assert export(options()).failed == {"unreadable": 3}
    text = (options().output / "README.md").read_text()
    assert "3 images could not be generated, left out here: 3 unreadable." in text


def test_retrieved_images_are_not_said_to_be_generated(options: Make, run: Path) -> None:
    facts = {"kind": "retrieved", "noise_rate": None, "guidance_scale": None}
    change(run, lambda rows: [row if row["kind"] == "real" else row | facts for row in rows])
    made = options(originals="as_used")
    source = export(made)
    assert (source.num_of("train", "retrieved"), source.failed) == (7, {"black": 2})
    files = sorted(made.output.rglob("*.png"))
    assert len(files) == 17 and not any(b"Comment" in file.read_bytes() for file in files)
    text = (made.output / "README.md").read_text()
    assert "0 generated images, " in text
    assert "7 real images retrieved in place of generated ones" in text


def test_what_a_filter_rejected_is_left_out_and_counted(options: Make, run: Path) -> None:
    file = run / "images.parquet"
    rows = pd.read_parquet(file, dtype_backend="pyarrow")
    first = rows.index[rows.kind == "generated"][0]
    rows.loc[first, ["status", "reason"]] = ["rejected", "contradicted"]
    rows.to_parquet(file)
    source = export(options())
    assert (source.num, source.failed, source.rejected) == (6, {"black": 2}, {"contradicted": 1})
    text = (options().output / "README.md").read_text()
    line = "1 generated image rejected by a filter or in review, left out here: 1 contradicted."
    assert line in text and "2 images could not be generated" in text


def review_of(run: Path, *decisions: str) -> list[str]:
    """Write a review of the first images that were generated; return their ids."""
    rows = pq.read_table(run / "images.parquet").to_pylist()
    ids = [row["id"] for row in rows if row["kind"] == "generated" and row["status"] == "ok"]
    lines = [f"{name},{decision}" for name, decision in zip(ids, decisions, strict=False)]
    (run / "review.csv").write_text("\n".join(["image_id,decision", *lines]) + "\n")
    return ids


def test_what_a_review_rejected_is_left_out(options: Make, run: Path) -> None:
    ids = review_of(run, "reject", "accept")
    for number, (review, num, rejected) in enumerate((
        (None, 7, {}),
        ("keep", 6, {"rejected in review": 1}),
        ("drop", 1, {"rejected in review": 1, "not reviewed": 5}),
    )):  # fmt: skip
        made = options(output=options().output / str(number), review=review)
        source = export(made)
        assert (source.num, source.rejected) == (num, rejected)
        assert bool(list(made.output.rglob(f"{ids[0]}.png"))) == (review is None)
        assert list(made.output.rglob(f"{ids[1]}.png"))
    with pytest.raises(UserError, match="^review: must be one of null, keep, drop, got 'all'"):
        options(review="all")
    review_of(run, "perhaps")
    with pytest.raises(UserError, match="^review: .*review.csv: row 2, column decision: must be"):
        export(options(output=options().output / "bad", review="keep"))


def test_originals_come_along_with_their_own_content(options: Make, run: Path) -> None:
    source = export(options(originals="as_used"))
    assert (source.num_of("train", "generated"), source.num_of("train", "real")) == (7, 10)
    listed = list(source.images("train"))
    assert len({image.stem for image in listed}) == 17
    real = [image.read() for image in listed if image.facts["kind"] == "real"]
    assert all(file.facts["sha256"] and file.facts["converted"] is False for file in real)
    assert len(list(options().output.rglob("*.png"))) == 17
    config = OmegaConf.load(run / "config.yaml")
    config.dataset.seed = 1
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(UserError, match="of 10 images of train are missing or have changed"):
        export(options(originals="as_used", output=options().output.with_name("other")))


def test_the_originals_hash_is_in_the_provenance(options: Make, run: Path) -> None:
    hashes = {
        row["sample_id"]: row["sha256"]
        for row in pq.read_table(run / "images.parquet").to_pylist()
        if row["kind"] == "real"
    }
    first = next(iter(hashes))
    change(
        run, lambda rows: [row | {"sample_id": first} for row in rows if row["kind"] == "generated"]
    )
    assert [
        p.facts["source_sha256"] for p in Source(run, None, ["train"], "none").images("train")
    ] == [None] * 7
    real = {"kind": "real", "id": first, "sample_id": first, "split": "train", "label": 0}
    change(run, lambda rows: [real | {"class_name": "zero", "sha256": hashes[first]}, *rows])
    hashes_of = [
        p.facts["source_sha256"] for p in Source(run, None, ["train"], "none").images("train")
    ]
    assert hashes_of == [hashes[first]] * 7


def test_an_image_used_twice_is_there_twice(options: Make, run: Path) -> None:
    change(run, lambda rows: rows + [row for row in rows if row["id"] == f"{0:024x}"])
    export(options())
    names = sorted(path.stem for path in options().output.rglob("*.png"))
    assert names[:2] == [f"{0:024x}", f"{0:024x}-2"] and len(names) == 8


@pytest.mark.parametrize(
    "spans", ["[[[[", "[1, 2]", "[[1, 2]]", '[["a", NaN]]', "[" * 100_000, "3"]
)
def test_spans_that_are_no_spans_are_named(options: Make, run: Path, spans: str) -> None:
    change(run, lambda rows: [row | {"spans": row.get("spans") and spans} for row in rows])
    with pytest.raises(UserError, match="spans: must be texts and weights, got .*damaged") as got:
        export(options())
    assert len(str(got.value)) < 400 and left_in(options().output.parent) == []


@pytest.mark.parametrize("name", ["id", "kind", "sample_id", "split", "label"])
def test_a_column_that_lacks_is_named(options: Make, run: Path, name: str) -> None:
    table = pq.read_table(run / "images.parquet")
    pq.write_table(table.drop([name]), run / "images.parquet")
    with pytest.raises(UserError, match=rf"must list the images of a run .*'{name}'.*damaged"):
        export(options())


def test_a_label_of_a_million_ends(options: Make, run: Path) -> None:
    change(run, lambda rows: [{**rows[0], "label": 99_999}, *rows[1:]])
    assert len(Source(run, None, ["train"], "none").class_names) == 100_000


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("in_tar", [False, True])
def test_a_damaged_image_is_named(options: Make, run: Path, file_format: str, in_tar: bool) -> None:
    wanted = [image.listed.file for image in Source(run, None, ["train"], "none").images("train")]
    listed = next(file for file in wanted if (split_reference(file) is not None) == in_tar)
    path, offset, _ = split_reference(listed) or (listed, 0, 0)
    content = bytearray(Path(path).read_bytes())
    content[offset + 50] ^= 1
    Path(path).write_bytes(content)
    with pytest.raises(
        UserError, match=r"is damaged \(its SHA-256 is not .*; generate it again with retry="
    ) as got:
        export(options(format=file_format))
    assert listed in str(got.value) and "\n" not in str(got.value)
    Path(path).unlink()
    if not in_tar:
        with pytest.raises(UserError, match="is damaged .*No such file"):
            export(options(format=file_format))
    assert left_in(options().output.parent) == []


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_interrupt_leaves_nothing(
    options: Make, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, calls = ExportImage.read, []

    def interrupted(image: ExportImage) -> tuple:
        calls.append(image)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return read(image)

    monkeypatch.setattr(ExportImage, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(options(format=file_format))
    assert left_in(options().output.parent) == []
    monkeypatch.undo()
    export(options(format=file_format))
    assert left_in(options().output.parent) == ["set"]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(
    options: Make, file_format: str, signum: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ExportImage.read

    def signalled(image: ExportImage) -> tuple:
        monkeypatch.undo()
        os.kill(os.getpid(), signum)
        return read(image)

    monkeypatch.setattr(ExportImage, "read", signalled)
    with pytest.raises(Stopped) as caught:
        export(options(format=file_format))
    assert caught.value.signum == signum
    assert left_in(options().output.parent) == []


def test_a_full_disk_is_one_line(options: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="cannot write to .*set: No space left on device; make"):
        export(options())
    assert left_in(options().output.parent) == []


def test_the_output_must_be_new_or_empty(options: Make) -> None:
    out = options().output
    out.mkdir(parents=True)
    export(options())
    assert (out / "README.md").is_file()
    with pytest.raises(
        UserError, match="output: must be a new or empty folder, got .*name another"
    ):
        export(options())
    (out.parent / ".other.unfinished").mkdir()
    with pytest.raises(UserError, match="another export is writing it, or one was killed"):
        export(options(output=out.with_name("other")))
    assert (out.parent / ".other.unfinished").is_dir()


def test_an_output_is_refused_before_the_run_is_read(
    options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_module, "Source", lambda *_: pytest.fail("the run is read"))
    out = options().output
    out.mkdir(parents=True)
    with monkeypatch.context() as disk:
        disk.setattr(Path, "is_mount", lambda path: path == out)
        with pytest.raises(UserError, match=f"^output: must be .* got the mount point {out}; name"):
            export(options())
    (out / "file").touch()
    with pytest.raises(UserError, match="^output: must be a new or empty folder, got"):
        export(options())
    with pytest.raises(UserError, match="^output: must be a folder that can be made and written"):
        export(options(output=out / "file" / "set"))


def test_the_output_may_be_a_link_to_a_folder(options: Make, tmp_path: Path) -> None:
    out, disk = options().output, tmp_path / "disk" / "set"
    out.parent.mkdir(parents=True)
    disk.mkdir(parents=True)
    out.symlink_to(disk)
    export(options())
    assert out.is_symlink() and (disk / "README.md").is_file()
    assert left_in(disk.parent) == ["set"]


def test_parts_without_generated_images_leave_none_out(options: Make, run: Path) -> None:
    change(run, lambda rows: [*rows[:-3], rows[-3] | {"status": "rejected", "reason": "duplicate"}])
    write_run(run, generation_summary(failures={"unreadable": 3}))
    source = export(options(parts=["val"], originals="as_used"))
    assert (source.failed, source.rejected) == ({}, {})
    assert "No image of the run failed." in (options().output / "README.md").read_text()


def test_what_is_no_finished_run_is_refused(options: Make, run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match="must be the folder of a finished run.* with images.parquet|which is not there",
    ):
        export(options(run=tmp_path))
    with pytest.raises(UserError, match="run: must be given; say run=runs/<name>"):
        export(options(run=Path("")))
    with pytest.raises(
        UserError, match="store: must be a folder, got .*none; say where the store is"
    ):
        export(options(store=tmp_path / "none"))
    change(run, lambda rows: [row for row in rows if row["kind"] == "real"])
    with pytest.raises(
        UserError, match="parts: must be parts that have generated images, got train of"
    ):
        export(options())
    with pytest.raises(UserError, match=f"which is not there; did you mean {run}\\?"):
        export(options(run=run.with_name(run.name[:-3])))
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match=r"folder of a finished run with summary\.json"):
        export(options())


def test_a_moved_store_is_found_where_one_says(options: Make, tmp_path: Path) -> None:
    (tmp_path / "store").rename(tmp_path / "moved")
    assert export(options(store=tmp_path / "moved")).num == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zip"}, "format: must be one of image_folder, webdataset, datasets"),
        ({"format": "imagefolder"}, "got 'imagefolder'; did you mean image_folder\\?"),
        ({"format": "HuggingFace"}, "got 'HuggingFace'; did you mean datasets\\?"),
        ({"per_file": 0}, "per_file: must be a whole number >= 1, got 0"),
        ({"originals": True}, "originals: must be one of none, as_used, copy, got True"),
        ({"parts": ["val", "val"]}, "parts: must be some of train, val, test, each once"),
        ({"parts": ["all"]}, "parts: must be some of .*for all of them say parts=.train,val,test."),
        ({"parts": []}, "parts: must be some of train, val, test"),
        ({"parts": ["train", "val"]}, "originals: must be as_used or copy for parts=.*got none"),
        ({"link": True, "format": "datasets"}, "link: must be false for format=datasets"),
    ],
)
def test_wrong_options_are_refused(options: Make, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        options(**changes)


def test_gaps_and_doubles_among_the_classes_are_filled(run: Path) -> None:
    change(run, lambda rows: [row | {"label": 3 * row["label"]} for row in rows[-9:]])
    assert Source(run, None, ["train"], "none").class_names == [
        "zero",
        "class 1",
        "class 2",
        "a/b: 犬",
    ]
    change(run, lambda rows: [row | {"class_name": "same"} for row in rows])
    assert Source(run, None, ["train"], "none").class_names == [
        "same",
        "class 1",
        "class 2",
        "same (3)",
    ]
    names = ["same (2)", "same", "same"]
    change(
        run,
        lambda rows: [
            row | {"label": n % 3, "class_name": names[n % 3]} for n, row in enumerate(rows)
        ],
    )
    assert Source(run, None, ["train"], "none").class_names == [*names[:2], "same (2) (2)"]


def test_the_configuration_states_the_options() -> None:
    config = OmegaConf.load(conf_folder() / "export.yaml")
    stated = {str(key) for key in config} - {"defaults", "hydra", "debug"}
    assert stated == {field.name for field in fields(Options)}
    assert config.format in FORMATS


def test_the_bar_counts_the_images(
    options: Make, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    progress = main_module.progress

    def remember(*args: object) -> object:
        made.append(progress(*args))
        return made[-1]

    monkeypatch.setattr(main_module, "progress", remember)
    for file_format in FORMATS:
        out = options().output.with_name(file_format)
        export(options(format=file_format, output=out))
    assert [(bar.n, bar.total) for bar in made] == [(7, 7)] * 3
    assert "7/7" in capsys.readouterr().err


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(Path(sip.__file__).parents[1])}
    line = [sys.executable, "-m", "sip.export", *arguments]
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_the_command(run: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    run_is = f"run={run}"
    done = command(run_is, "output=set", "format=datasets", cwd=tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "set: 7 images as datasets, 2 failed ones left out\n"
    assert left_in(tmp_path / "work") == ["set"]
    for given, key in ((run_is, "output"), ("output=x", "run")):
        with pytest.raises(UserError, match=f"^{key}: must be given; say {key}="):
            task(composed(given, name="export"))
    for given in ("run=[a,b]", "output=[a]", "store=true"):
        key = given.partition("=")[0]
        with pytest.raises(UserError, match=f"^{key}: must be one folder, got .*; say {key}=F"):
            task(composed("run=a", "output=b", given, name="export"))
    assert json.loads((run / "summary.json").read_text())["commit"] == "c0ffee"

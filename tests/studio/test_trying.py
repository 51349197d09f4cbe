"""What Try shows is what its command makes; models stay loaded between previews."""

import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL.PngImagePlugin import PngInfo

from sip.api.session import Session
from sip.config.job import job
from sip.core.errors import UserError
from sip.core.paths import conf_folder
from sip.jobs.generate import Generation
from sip.studio import trying
from sip.studio.page import keep_uploads, require_gradio
from sip.studio.preset import preset
from sip.studio.settings import Settings, check_address, searched
from sip.studio.try_tab import RULE, generated
from sip.studio.trying import Look, Wish, around, cells, spans_of
from tests.api.conftest import digit
from tests.composing import composed


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image file that Pillow would write with other bytes."""
    file = tmp_path_factory.mktemp("uploads") / "three.png"
    digit(13).save(file, compress_level=9, pnginfo=PngInfo())
    return file


@pytest.fixture(scope="module")
def seen(session: Session, settings: Settings, file: Path) -> Look:
    return trying.look(session, settings, file, " three ", 0.5)


def test_it_is_what_a_run_makes_of_the_file(
    seen: Look, session: Session, settings: Settings, file: Path
) -> None:
    own = session.preview(file, "three", noise_rate=0.5, **settings.arguments)
    assert own.candidates == seen.preview.candidates
    assert own.images[0].id == seen.first.id


def test_a_look_has_captions_prompt_and_guidance(seen: Look) -> None:
    best, *rest = seen.preview.candidates
    assert best == (seen.first.caption, seen.first.similarity)
    assert all(best[1] >= cosine for _, cosine in rest)
    assert ("three", 1.5) in seen.spans
    assert seen.label == "three" and seen.first.class_name == "three"


def made_by(command: str, tmp_path: Path) -> tuple[list[tuple[str, bytes]], dict[str, int]]:
    """Run a command line; return ids and pixels of its images, and what it computed."""
    python, option, module, *words = shlex.split(command)
    assert (python, option, module) == ("python", "-m", "sip.generate")
    from sip.api.run import Run

    work = Generation(composed(*words, f"paths.runs={tmp_path / 'runs'}"), show=lambda table: None)
    work.run()
    computed = {row["stage"]: row["computed"] for row in work.stages.rows}
    return [(image.id, image.image.tobytes()) for image in Run(work.folder)], computed


EDITED = (("a bold ", 1.0), ("three", 2.0))


@pytest.mark.parametrize(
    ("layout", "scale", "spans", "num"),
    [
        ("1 image", None, None, 1),
        ("4 seeds", 3.0, None, 4),
        ("5 noise rates", None, None, 5),
        ("3 noise rates x 3 scales", 4.0, EDITED, 9),
        ("4 seeds", None, EDITED, 4),
    ],
)
def test_the_command_makes_the_images_that_are_shown(
    layout: str, scale: float | None, spans: trying.Spans | None, num: int,
    seen: Look, session: Session, settings: Settings, tmp_path: Path,
) -> None:  # fmt: skip
    wish = Wish(0.5, scale, layout)
    result = trying.generate(session, settings, seen, spans or seen.spans, wish)
    shown = [(image.id, image.image.tobytes()) for image in result.images]
    assert len(shown) == len(set(shown)) == num
    assert {image.spans for image in result.images} == {spans or seen.spans}
    command = result.command(settings.runs)
    assert f"paths.runs={settings.runs}" in shlex.split(command)
    made, computed = made_by(command, tmp_path)
    assert made == shown and computed["images"] == 0
    if "prompts=table" not in command:  # it holds for other images too
        assert spans is None and "prompts.file" not in command


def test_the_command_makes_them_in_another_store_too(
    seen: Look, session: Session, settings: Settings, tmp_path: Path
) -> None:
    result = trying.generate(session, settings, seen, EDITED, Wish(0.7, 2.5))
    command = f"{result.command(settings.runs)} paths.store={tmp_path / 'store'}"
    made, computed = made_by(command, tmp_path)
    assert made == [(image.id, image.image.tobytes()) for image in result.images]
    assert computed["images"] == 1


def test_the_preset_is_the_command(seen: Look, session: Session, settings: Settings) -> None:
    result = trying.generate(session, settings, seen, seen.spans, Wish(0.7, 2.5))
    text = preset(result.command(settings.runs))
    assert text.startswith("# @package _global_\ndefaults:\n")
    values = yaml.safe_load(text)
    assert {"override /prompts/guidance": "constant"} in values.pop("defaults")
    assert values["prompts"] == {"guidance": {"scale": 2.5}, "noise_rate": 0.7}
    assert values["images"] == {"per_sample": 1, "num_steps": 8}
    assert values["paths"]["runs"] == str(settings.runs)


def test_a_preset_takes_the_presets_of_its_command(tmp_path: Path) -> None:
    words = ["profile=embedded", "+exp=quick", "images.num_steps=2"]
    file = tmp_path / "exp" / "mine.yaml"
    file.parent.mkdir()
    program = ["SIP_TRUSTED=mine", "python", "-m", "sip.generate", "--config-dir", "my_conf"]
    file.write_text(preset(shlex.join([*program, *words])))
    with (
        job("generate", words) as typed,
        job("generate", [f"hydra.searchpath=[file://{tmp_path}]", "+exp=mine"]) as read,
    ):
        assert read == typed


def test_choices_of_the_command_line_are_found_by_previews(tmp_path: Path) -> None:
    folder = tmp_path / "my conf"
    (folder / "exp").mkdir(parents=True)
    (folder / "exp" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    places = [("pkg", "hydra.conf"), ("file", str(conf_folder())), ("file", str(folder))]
    found = searched([SimpleNamespace(schema=kind, path=path) for kind, path in places])
    assert searched([SimpleNamespace(schema="file", path=str(conf_folder()))]) == []
    with job("generate", [*found, "+exp=mine"]) as config:
        assert config.seed == 7
    text = preset(shlex.join(["python", "-m", "sip.generate", *found, "seed=7"]))
    assert yaml.safe_load(text) == {"seed": 7}


def test_models_stay_loaded_as_long_as_their_recipe_is_the_same(
    settings: Settings,
) -> None:
    session = Session(**settings.arguments)
    kept = session._models
    session.preview(digit(23), "three", noise_rate=0.31)
    first = dict(kept._modules)
    assert set(first) >= {"captions", "scores", "images"}
    session.preview(digit(23), "three", noise_rate=0.33)
    assert {name: module for name, (_, module) in kept._modules.items()} == {
        name: module for name, (_, module) in first.items()
    }
    session.preview(digit(23), "three", overrides=[*settings.overrides, "images.num_steps=9"])
    assert kept._modules["images"][1] is not first["images"][1]
    assert kept._modules["captions"][1] is first["captions"][1]
    session.close()
    assert session._models is not kept


def test_grids_lie_around_the_wish_and_share_their_noise(seen: Look) -> None:
    for rate in (0.05, 0.1, 0.5, 0.95, 1.0):
        for num in (3, 5):
            rates = around(rate, num)
            assert len(rates) == num and rates == sorted(rates)
            assert rate in rates and rates[0] > 0 and rates[-1] <= 1
    listed = cells(seen, Wish(0.5, 6.0, "3 noise rates x 3 scales"))
    assert [scale for _, scale, _ in listed[::3]] == [3.0, 6.0, 12.0]
    assert {seed for _, _, seed in listed} == {seen.first.seed}
    low = cells(seen, Wish(0.5, 1.0, "3 noise rates x 3 scales"))
    assert [scale for _, scale, _ in low[::3]] == [1.0, 3.0, 5.0]  # 1 and below: no guidance


def test_what_cannot_be_tried_is_one_line(
    seen: Look, session: Session, settings: Settings, file: Path
) -> None:
    with pytest.raises(UserError, match="^image: must be given, got none; drop one"):
        trying.look(session, settings, None, "cat", 0.5)
    with pytest.raises(UserError, match="^label: must be the class in words, got nothing"):
        trying.look(session, settings, file, "  ", 0.5)
    with pytest.raises(UserError, match=r"^noise rate: must be in \(0, 1\], got 0"):
        Wish(0)
    with pytest.raises(UserError, match="^prompt: must have a text, got none"):
        trying.generate(session, settings, seen, ((" ", 1.0),), Wish(0.5))
    assert spans_of([["a ", 1], ["", None], ["cat", "1.5"]]) == (("a ", 1.0), ("cat", 1.5))
    with pytest.raises(UserError, match="^prompt: weight of row 1 must be a number, got 'x'"):
        spans_of([["a", "x"]])


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("", 1, "^host: must be an address"),
        ("127.0.0.1", 0, r"^port: must be null or a whole number in \[1, 65535\], got 0"),
        ("127.0.0.1", "x", "^port: .* got 'x'; null takes"),
        ("127.0.0.1", True, "^port: .* got True"),
    ],
)
def test_bad_addresses_are_refused(host: str, port: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_address(host, port)
    check_address("127.0.0.1", None)


def test_a_missing_gradio_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^sip.studio: needs the package gradio; pip install .*"):
        require_gradio()


def test_uploads_are_gone_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "theirs")
    at_end: list[tuple[Any, ...]] = []
    monkeypatch.setattr("atexit.register", lambda *call, **options: at_end.append((call, options)))
    keep_uploads()
    assert os.environ["GRADIO_TEMP_DIR"] == "theirs" and not at_end
    del os.environ["GRADIO_TEMP_DIR"]
    keep_uploads()
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    (folder / "photo.png").touch()
    keep_uploads()  # of another studio of the process
    (((call, *arguments), options),) = at_end
    call(*arguments, **options)
    assert not folder.exists()


def test_a_store_in_a_bucket_stays_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sip.studio.settings.check_folders", lambda paths: None)
    monkeypatch.setenv("SIP_CACHE", str(tmp_path))
    config = composed("profile=embedded", "paths.store=s3://bucket/here", name="studio")
    found = Settings.of(config, [])
    assert str(found.arguments["store"]) == "s3://bucket/here"
    assert found.folder == tmp_path / "s3" / "bucket" / "here" / "studio"
    assert found.arguments["runs"] == found.folder / "runs"


def test_an_empty_prompt_is_refused(
    seen: Look, session: Session, settings: Settings, file: Path
) -> None:
    fields = (str(file), "three", 0.5, RULE, 7.5, "1 image")
    with pytest.raises(UserError, match="^prompt: must have a text, got none"):
        generated(session, settings, seen, *fields, [["", None]])
    state, *_, command, text = generated(session, settings, seen, *fields, [["a ", 1], ["x", 2]])
    assert state is seen and "prompts=table" in command and "prompts: table" in text


def test_the_settings_are_those_of_the_command_line() -> None:
    words = ["profile=embedded", "port=7000", "paths.runs=a", "images.num_steps=3", "+a.b=1"]
    words += ["dataset=csv", "dataset.path=a.csv"]
    config = composed("profile=embedded", name="studio")
    found = Settings.of(config, words)
    assert found.profile == "embedded" and found.overrides == ("images.num_steps=3", "+a.b=1")
    assert found.arguments["overrides"] == ["metrics=[]", *found.overrides]
    assert found.arguments["store"] == Path(config.paths.store)

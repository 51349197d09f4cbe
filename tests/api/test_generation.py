"""`sip.generate` and `sip.preview` are the command line's generation, without its state."""

import shlex
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.version import VersionBase
from omegaconf import OmegaConf
from PIL import Image

import sip
from sip.config.job import job
from tests.api.conftest import NAMES, SMALL
from tests.composing import CONF, composed

HEAVY = ("torch", "hydra", "numpy", "pandas", "diffusers", "transformers", "PIL")


def test_importing_sip_imports_nothing_heavy() -> None:
    code = f"import sip, sys; dir(sip); print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_each_image_names_its_original_and_how_it_was_generated(run: sip.Run, pairs: list) -> None:
    assert len(run) == 12
    assert [image.label for image in run] == [label for _, label in pairs for _ in range(2)]
    assert {image.class_name for image in run} == set(NAMES)
    for number, (original, label) in enumerate(pairs):
        first, second = run[2 * number : 2 * number + 2]
        assert first.original_image.tobytes() == original.tobytes()
        assert run.of(first.original) == run.of(first.sample_id) == [first, second]
        assert (first.variant, second.variant) == (0, 1)
        assert first.image.size == (32, 32)
        assert first.image.tobytes() != second.image.tobytes()
        assert NAMES[label] in first.prompt and first.caption in first.prompt
        assert first.candidates[0] == (first.caption, first.similarity)
        assert first.noise_rate == 0.5


def test_what_was_generated_is_found_again_and_the_command_line_is_the_same_job(
    run: sip.Run, pairs: list, place: Path
) -> None:
    again = sip.generate(
        pairs, class_names=NAMES, per_sample=2, store=place / "store", runs=place / "runs",
        progress=False, **SMALL,
    )  # fmt: skip
    assert again.folder == run.folder
    computed = {row["stage"]: row["computed"] for row in again.summary["stages"]}
    assert computed["images"] == computed["captions"] == computed["scores"] == 0
    python, option, module, *typed = shlex.split(str(run.command))
    assert (python, option, module) == ("python", "-m", "sip.generate")
    with job("generate", typed) as config:
        ours = OmegaConf.to_container(config, resolve=True)
    from sip.config.command import Command

    theirs = composed(*map(Command.for_hydra, typed))
    assert ours == OmegaConf.to_container(theirs, resolve=True)
    assert (run.folder / "config.yaml").read_text() == OmegaConf.to_yaml(OmegaConf.create(ours))


def test_a_program_keeps_its_own_hydra_and_sees_no_other_job(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), job_name="theirs", version_base="1.2"):
        theirs, version = GlobalHydra.instance().hydra, VersionBase.instance().getbase()
        with job("generate", ["seed=3"]) as config:
            assert config.seed == 3 and "hydra" not in config
            assert not HydraConfig.initialized()
        assert GlobalHydra.instance().hydra is theirs
        assert VersionBase.instance().getbase() is version
        assert compose("config").seed == 0
    from sip.config.provenance import command

    assert command() is None


def test_a_thread_that_is_not_the_first_generates_too(
    run: sip.Run, pairs: list, place: Path, capsys: pytest.CaptureFixture
) -> None:
    found = []

    def work() -> None:
        found.append(
            sip.preview(
                pairs[0][0],
                NAMES[0],
                noise_rate=0.5,
                num=2,
                store=place / "store",
                runs=place / "runs",
                progress=False,
                **SMALL,
            )  # fmt: skip
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (preview,) = found
    ours = run.of(run[0].original)
    assert [image.id for image in preview.images] == [image.id for image in ours]
    assert preview.image.tobytes() == ours[0].image.tobytes()
    assert preview.candidates == ours[0].candidates and preview.prompt == ours[0].prompt
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_arguments_are_the_settings_of_the_command_line(place: Path, pairs: list) -> None:
    preview = sip.preview(
        np.asarray(pairs[1][0]), NAMES[1], noise_rate=0.9, guidance_scale=2.5, progress=False,
        store=place / "store", runs=place / "runs", **SMALL,
    )  # fmt: skip
    assert preview.guidance_scale == 2.5
    assert preview.images[0].noise_rate == 0.9
    assert preview.original.tobytes() == pairs[1][0].tobytes()
    assert preview._repr_png_()[:4] == b"\x89PNG"


def test_the_module_of_the_command_line_does_not_hide_the_function() -> None:
    import sip.generate

    with pytest.raises(sip.UserError, match="data: must be a folder"):
        sip.generate(7)


def test_labels_that_are_others_in_the_run_are_said(
    pairs: list, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise sip.UserError("nothing")

    monkeypatch.setattr("sip.jobs.generate.finish", refuse)  # behind the remark
    settings = {"store": tmp_path / "store", "runs": tmp_path / "runs", "profile": "embedded"}
    for number, named in ((0, False), (1, True)):
        with pytest.raises(sip.UserError, match="nothing"):
            sip.generate([(pairs[0][0], number)], class_names=NAMES, **settings)
        assert ("labels       a class without an image" in capsys.readouterr().err) == named
    with pytest.raises(sip.UserError, match="nothing"):
        sip.generate([(pairs[0][0], 1)], class_names=NAMES, progress=False, **settings)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_rate": 2}, "prompts.noise_rate: must be"),
        ({"model": "sd16"}, "images=sd16: no such choice.*did you mean"),
        ({"overrides": ["imags.num_steps=2"]}, "imags.num_steps=2: no such key; write"),
        ({"overrides": "seed=1"}, "overrides: must be a list"),
        ({"per_sample": 0}, "images.per_sample: must be"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(
    arguments: dict, message: str, pairs: list, tmp_path: Path
) -> None:
    with pytest.raises(sip.UserError, match=message) as error:
        sip.generate(
            pairs, class_names=NAMES, store=tmp_path / "store", runs=tmp_path / "runs",
            progress=False, **({"profile": "embedded"} | arguments),
        )  # fmt: skip
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store" / "originals").exists()  # images are written when all is right


def test_a_store_that_cannot_be_made_is_one_line(pairs: list, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(sip.UserError, match="^paths.store: must be a folder that can be made"):
        sip.generate(pairs, class_names=NAMES, store=tmp_path / "file" / "store", **SMALL)


def test_an_unknown_argument_names_its_override() -> None:
    with pytest.raises(
        TypeError, match=r"'strength'; in overrides=\[...\]: prompts.noise_rate=0.5$"
    ):
        sip.generate([], strength=0.5)  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"generate\(\) got an unexpected keyword argument 'colour'"
    ):
        sip.Session().preview("a.png", "cat", colour=1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("plan=true", "^plan: must be false in a program, got true; use"),
        ("trainer.devices=2", "^trainer: must be one device in a program, got 'devices=2 num_no"),
        ("trainer.num_nodes=2", "^trainer: must be one device in .* got 'devices=1 num_nodes=2'"),
    ],
)
def test_plans_and_several_devices_are_for_the_command_line(
    override: str, message: str, pairs: list, place: Path
) -> None:
    settings = {"profile": "embedded", "store": place / "store", "runs": place / "runs"}
    with pytest.raises(sip.UserError, match=message) as error:
        sip.generate(pairs, class_names=NAMES, overrides=[override], **settings)
    command = str(error.value).partition("; use the command line: ")[2]
    assert command.startswith("python -m sip.generate dataset=csv ") and override in command


def test_a_tilde_is_the_home_folder(
    run: sip.Run, pairs: list, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(tmp_path)
    again = sip.generate(
        pairs, class_names=NAMES, per_sample=2, store="~/store", runs="~/runs", progress=False,
        **SMALL,
    )  # fmt: skip
    assert again.folder == run.folder and again.store == run.store
    opened = sip.Run(f"~/runs/{run.folder.name}", "~/store")
    assert opened.export("~/set") == place / "set" and (place / "set" / "README.md").is_file()
    assert not list(tmp_path.iterdir())


def test_a_run_shows_itself(run: sip.Run, tmp_path: Path) -> None:
    assert repr(run) == f"<sip.Run {run.folder}: 12 images of 6 originals>"
    assert run.contact_sheet(4).width < run.contact_sheet().width
    assert run._repr_png_() == (run.folder / "contact_sheet.png").read_bytes()
    table = run.to_pandas()
    assert len(table) == 12 and list(table.noise_rate) == [0.5] * 12
    folder = run.export(tmp_path / "set", originals="as_used")
    files = sorted(folder.rglob("*.png"))
    assert len(files) == 18 and {file.parent.name for file in files} == set(NAMES)
    with pytest.raises(sip.UserError, match="must be the folder of a finished run"):
        sip.Run(tmp_path / "nothing")


def test_an_export_of_no_images_is_refused_and_one_part_needs_no_list(
    run: sip.Run, tmp_path: Path
) -> None:
    with pytest.raises(sip.UserError, match="^format: must be one of images, got onnx; write it"):
        run.export(tmp_path / "set", "onnx")
    assert (run.export(tmp_path / "set", parts="train") / "train").is_dir()


def test_a_preview_has_a_number_of_its_own(run: sip.Run, pairs: list, place: Path) -> None:
    settings = {"store": place / "store", "runs": place / "runs", "progress": False, **SMALL}
    session = sip.Session(per_sample=1, **settings)
    preview = session.preview(pairs[0][0], NAMES[0], num=2, noise_rate=0.5)
    assert [image.variant for image in preview.images] == [0, 1]
    with pytest.raises(sip.UserError, match="^per_sample: must be left out of a preview, got 3"):
        sip.preview(pairs[0][0], NAMES[0], per_sample=3, **settings)


def test_images_that_were_changed_are_refused(run: sip.Run, pairs: list, tmp_path: Path) -> None:
    own = sip.generate(
        pairs[:1], class_names=NAMES, store=tmp_path / "store", runs=tmp_path / "runs",
        progress=False, **SMALL,
    )  # fmt: skip
    Image.new("RGB", (32, 32)).save(own[0].file)
    with pytest.raises(sip.UserError, match="is damaged"):
        _ = own[0].image
    settings = SMALL | {"overrides": [*SMALL["overrides"], "retry=damaged"]}
    again = sip.generate(
        pairs[:1], class_names=NAMES, store=tmp_path / "store", runs=tmp_path / "runs",
        progress=False, **settings,
    )  # fmt: skip
    assert again[0].image.getextrema() != ((0, 0),) * 3

"""`images=auto` and `images=edit` call diffusers' pipelines with the values of each row."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from omegaconf import OmegaConf

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.core.paths import conf_folder
from sip.images.auto import AutoImg2Img
from sip.images.edit import Edit
from sip.images.folder import PipelineFolder
from sip.images.pipeline_module import StockModule
from sip.images.pipelines import StockPipeline
from sip.prompts.base import Prompt, Span
from tests.images import flow_models
from tests.images.stock import TOLERANCE, assert_equal, call, stock

SCALES = (2.35, 2.2, 2.27, 5.0, 0.5, 1.0, 2.3)
ROUNDED = (2.25, 2.25, 2.25, 5.0, 1.0, 1.0, 2.25)
SMALL = {"revision": None, "dtype": "float32", "size": 32, "num_steps": 4}


def component(kind: type[StockPipeline], name: str, folder: Path, **changes: Any) -> Any:
    """Return a choice with a small model."""
    values = OmegaConf.to_container(OmegaConf.load(conf_folder() / "images" / f"{name}.yaml"))
    assert isinstance(values, dict)
    del values["_target_"]
    return kind(**values | SMALL | {"model": str(folder)} | changes)


@pytest.fixture
def rows(make_prompt: Callable[..., Prompt]) -> list[Prompt]:
    """Seven rows of unlike text and guidance; most guidance scales lie near each other."""
    return [
        make_prompt(
            index,
            guidance_scale=scale,
            spans=(Span(f"a photo of a {'bold ' * (index % 3)}nine", 1.0),),
        )
        for index, scale in enumerate(SCALES)
    ]


@pytest.fixture(scope="module")
def z_image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flow_models.save_z_image(tmp_path_factory.mktemp("z") / "model")


@pytest.mark.parametrize(
    ("fixture", "name"),
    [("model_folder", "StableDiffusion"), ("z_image_folder", "ZImage")],
)
def test_auto_calls_the_pipeline_for_rows_that_share_rate_and_rounded_guidance(
    request, rows, generate, fixture, name, capfd
):
    folder = request.getfixturevalue(fixture)
    generator = component(AutoImg2Img, "auto", folder)
    assert [generator.guidance(row) for row in rows] == list(ROUNDED)
    rows = [*rows, replace(rows[0], noise_rate=0.75), replace(rows[1], negative_prompt="thin")]
    assert len({generator.group(row) for row in rows}) == 5
    generator.examine(rows)
    assert "guidance scales are rounded to steps of 0.25" in capfd.readouterr().err
    module = generator.load(request.getfixturevalue("cpu"))
    generated = generate(module, rows, batch_size=7)
    pipeline = stock(getattr(diffusers, f"{name}Img2ImgPipeline"), folder)

    def expected(row):
        return call(pipeline, replace(row, guidance_scale=generator.guidance(row)), 4)

    assert_equal(generated, rows, expected)
    if name == "StableDiffusion":  # the same number of steps, with rates that divide it
        assert all(
            generated[row.image_id].unet_evaluations == generator.num_evaluations(row)
            for row in rows
        )


@pytest.fixture
def cpu():
    from sip.device.settings import Runtime

    return Runtime.cpu()


EDITORS = {
    "FluxKontextPipeline": lambda folder: flow_models.save_flux(
        folder, True, diffusers.FluxKontextPipeline
    ),
    "Flux2KleinPipeline": flow_models.save_klein,
}


@pytest.mark.parametrize("name", EDITORS)
def test_edit_gives_each_image_its_own_instruction_and_guidance(
    rows, generate, name, tmp_path, cpu, capfd
):
    folder = EDITORS[name](tmp_path / "model")
    generator = component(Edit, "edit", folder, instruction="another place: {prompt}", size=64)
    rows = rows[2:5]
    generator.examine([replace(rows[0], spans=(Span("nine", 1.5),))])
    said = capfd.readouterr().err
    assert "prompt weights are not used" in said and "the noise rate is not read" in said
    if name == "FluxKontextPipeline":  # CLIP reads its own length, whatever T5 is let through
        assert {one.name: one.length for one in generator._readers} == {"CLIP": 32, "T5": 512}
    generated = generate(generator.load(cpu), rows, batch_size=3)
    other = generate(generator.load(cpu), [replace(rows[0], noise_rate=0.1)])
    assert torch.equal(*(next(iter(g.values())).pixels for g in (generated, other)))
    pipeline = stock(getattr(diffusers, name), folder)
    own = {"max_area": 64**2, "_auto_resize": False} if "Kontext" in name else {}

    def expected(row):
        with torch.no_grad():
            return pipeline(
                image=read_rgb(row.source, 64),
                prompt=f"another place: {row.text}",
                guidance_scale=row.guidance_scale,
                num_inference_steps=4,
                height=64,
                width=64,
                generator=torch.Generator().manual_seed(row.seed),
                output_type="pt",
                **own,
            ).images[0]

    assert_equal(generated, rows, expected)
    if "Klein" in name:
        small = component(Edit, "edit", folder)
        with pytest.raises(UserError, match="images: Flux2KleinPipeline: Image too small: 32"):
            generate(small.load(cpu), rows[:1])
    guided = [4 if "Kontext" in name or row.guidance_scale <= 1 else 8 for row in rows]
    assert [generated[row.image_id].unet_evaluations for row in rows] == guided


def test_qwen_image_edit_shows_its_text_encoder_each_original(
    rows, generate, tmp_path, cpu, monkeypatch
):
    module = import_module("diffusers.pipelines.qwenimage.pipeline_qwenimage_edit")
    scaled = module.calculate_dimensions  # it sees originals at a megapixel
    monkeypatch.setattr(module, "calculate_dimensions", lambda area, ratio: scaled(64**2, ratio))
    folder = flow_models.save_qwen_image(tmp_path / "model", edits=True)
    generator = component(Edit, "edit", folder, size=64, guidance_argument="true_cfg_scale")
    rows = rows[2:5]
    pipeline = stock(diffusers.QwenImageEditPipeline, folder)

    def expected(row):
        with torch.no_grad():
            return pipeline(
                image=read_rgb(row.source, 64),
                prompt=generator.instruction.format(prompt=row.text),
                negative_prompt=row.negative_prompt,
                true_cfg_scale=row.guidance_scale,
                num_inference_steps=4,
                height=64,
                width=64,
                generator=torch.Generator().manual_seed(row.seed),
                output_type="pt",
            ).images[0]

    images = {row.image_id: expected(row) for row in rows}
    engine = generator.load(cpu)
    for batch_size in (3, 1):
        generated = generate(engine, rows, batch_size)
        assert_equal(generated, rows, lambda row: images[row.image_id])
    guided = [8 if row.guidance_scale > 1 else 4 for row in rows]
    assert [generated[row.image_id].unet_evaluations for row in rows] == guided
    seen = replace(rows[0], source=rows[1].source, source_sha256=rows[1].source_sha256)
    other = generate(engine, [seen])[seen.image_id].pixels
    assert (other - images[rows[0].image_id]).abs().max() > 3 * TOLERANCE  # the original counts


def test_an_unreadable_original_costs_its_own_row(model_folder, rows, generate, tmp_path, cpu):
    bad = replace(rows[3], source=str(tmp_path / "gone.png"), source_sha256="gone")
    generated = generate(component(AutoImg2Img, "auto", model_folder).load(cpu), [bad, rows[0]])
    assert generated[bad.image_id].reason == "unreadable"
    assert generated[rows[0].image_id].status == "ok"


def named(name: str, folder: Path) -> PipelineFolder:
    (folder / "model_index.json").write_text(f'{{"_class_name": "{name}"}}')
    return PipelineFolder(folder)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"),
        ("QwenImagePipeline", "QwenImageImg2ImgPipeline"),
        ("ChromaPipeline", "ChromaImg2ImgPipeline"),
        ("SanaSprintPipeline", "SanaSprintImg2ImgPipeline"),
        ("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"),
        ("Kandinsky3Img2ImgPipeline", "Kandinsky3Img2ImgPipeline"),
    ],
)
def test_auto_knows_the_pipeline_of_a_model(name, found, tmp_path):
    assert AutoImg2Img.pipeline_class(named(name, tmp_path)).__name__ == found


def test_models_that_do_not_fit_are_refused_in_one_line(tmp_path, model_folder):
    for name in (
        "PixArtSigmaPipeline",
        "FluxControlPipeline",
        "FluxKontextPipeline",
        "os",
        "ConfigMixin",
    ):
        with pytest.raises(UserError, match=f"with `strength` for, got a {name} in"):
            AutoImg2Img.pipeline_class(named(name, tmp_path))
    for name in ("StableDiffusionImg2ImgPipeline", "StableDiffusionPipeline", "os"):
        with pytest.raises(UserError, match=f"an editor by instruction, .* got a {name} in"):
            Edit.pipeline_class(named(name, tmp_path))
    with pytest.raises(UserError, match="instruction: must be a template with {prompt}"):
        component(Edit, "edit", model_folder, instruction="another place")
    wrong = component(AutoImg2Img, "auto", model_folder, guidance_argument="true_cfg_scale")
    with pytest.raises(UserError, match="one that StableDiffusionPipeline takes.* guidance_scale$"):
        wrong.require()


def test_a_size_that_the_pipeline_would_round_down_is_refused(model_folder, cpu):
    wrong = component(AutoImg2Img, "auto", model_folder, size=30)
    with pytest.raises(UserError, match="images.size: must be a multiple of 4 px .*, got 30"):
        wrong.load(cpu)


@pytest.mark.parametrize("tf32", [True, False])
def test_the_precision_on_a_gpu_is_that_of_the_runtime(model_folder, cpu, monkeypatch, tf32):
    monkeypatch.setattr(StockModule, "place", lambda self: None)  # there need not be one
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    try:
        component(AutoImg2Img, "auto", model_folder).load(replace(cpu, device="cuda", tf32=tf32))
        found = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert found == ("high" if tf32 else "highest", tf32)


def test_a_negative_prompt_that_no_argument_takes_is_refused_before_captions(
    rows, tmp_path, model_folder
):
    negative = replace(rows[0], negative_prompt="blurred")
    (tmp_path / "klein").mkdir()
    named("Flux2KleinPipeline", tmp_path / "klein")
    editor = component(Edit, "edit", tmp_path / "klein")
    with pytest.raises(UserError, match="negative_prompt: must be empty for Flux2KleinPipeline,"):
        editor.foresee([rows[0], negative])
    component(AutoImg2Img, "auto", model_folder).foresee([negative])


def test_a_noise_rate_without_steps_is_refused(model_folder, rows):
    generator = component(AutoImg2Img, "auto", model_folder)
    with pytest.raises(UserError, match=r"noise_rate: must be in \[0.25, 1\], .* got 0.2"):
        generator.check([replace(rows[0], noise_rate=0.2)])


def test_prompts_that_are_cut_are_counted_and_labels_refused(
    model_folder, z_image_folder, rows, capsys
):
    long = replace(rows[0], spans=(Span("thick, leaning, wide, heavy, " * 200, 1.0),))
    late = replace(long, class_name="nine", spans=(*long.spans, Span("a nine", 1.0)))
    clip = component(AutoImg2Img, "auto", model_folder)
    clip.examine([rows[0], long])
    said = capsys.readouterr().err
    assert "1 of 2 is longer than the text encoder's 32 tokens and is cut" in said
    with pytest.raises(UserError, match="have the class name within the 32 tokens"):
        clip.foresee([late])
    language = component(AutoImg2Img, "auto", z_image_folder)  # whose pipeline takes 512 tokens
    language.examine([replace(rows[0], class_name="nine")])
    assert "longer" not in capsys.readouterr().err
    with pytest.raises(UserError, match="have the class name within the 512 tokens"):
        language.examine([late])
    absent = component(AutoImg2Img, "auto", Path("no/such"))
    absent.examine([late])  # a plan without the model


def test_an_editor_reads_its_instruction_too(rows, tmp_path):
    folder = EDITORS["Flux2KleinPipeline"](tmp_path / "model")
    long = {"instruction": "make it bold, " * 300 + "{prompt}"}
    for changes, is_cut in ((long, True), ({}, False)):
        editor = component(Edit, "edit", folder, **changes)
        prompts = [replace(rows[0], class_name="nine")]
        if is_cut:
            with pytest.raises(UserError, match="have the class name within"):
                editor.foresee(prompts)
        else:
            editor.foresee(prompts)

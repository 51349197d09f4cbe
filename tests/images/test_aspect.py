"""`images.aspect=keep`: rows equal to the stock pipelines at the sizes of their originals.

The transformers are in `test_flow_families.py`.
"""

import io
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.core.shapes import Size
from sip.device.settings import Runtime
from sip.images.batches import Batch, read_batch
from sip.images.diffusemix_like import DiffuseMixLike
from sip.images.edit import Edit
from sip.images.inpaint import Inpaint
from sip.images.masks.stored import FileMasks
from sip.pipeline.makers import stored_row
from sip.prompts.base import Companion
from tests.images import flow_models, models
from tests.images.conftest import settings
from tests.images.stock import TOLERANCE, call, stock
from tests.images.test_stock_pipelines import component

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
STEPS = 4
KEEP = {"aspect": "keep", "num_steps": STEPS, "scheduler": "euler"}


@pytest.fixture(scope="module")
def folders(model_folder, tmp_path_factory):
    folder = models.save_sdxl(tmp_path_factory.mktemp("sdxl") / "model")
    return {"StableDiffusion": model_folder, "StableDiffusionXL": folder}


def assert_rows(generated, rows, expected):
    for row in rows:
        pixels = generated[row.image_id].pixels
        torch.testing.assert_close(pixels, expected[row.image_id], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["StableDiffusion", "StableDiffusionXL"])
def test_each_aspect_ratio_equals_the_stock_pipeline_at_its_size(
    make_img2img, make_txt2img, folders, shaped, generate, name
):
    twins = [replace(row, seed=row.seed + 9, guidance_scale=4.0) for row in shaped[:2]]
    folder = folders[name]
    for make, kind in ((make_img2img, "Img2ImgPipeline"), (make_txt2img, "Pipeline")):
        generator = make(model=str(folder), **KEEP, size=64)
        sizes = {row.image_id: generator.size_of(row) for row in [*shaped, *twins]}
        assert set(sizes.values()) == {(72, 56), (48, 80), (88, 40), (64, 64)}
        kind = getattr(diffusers, name + kind)
        pipeline = stock(kind, folder, diffusers.EulerDiscreteScheduler)
        generated = generate(generator, [*shaped, *twins])
        for row in [*shaped, *twins] if make is make_img2img else shaped[:1]:
            texts = {} if name == "StableDiffusion" else {"negative_prompt": None}
            image = call(pipeline, row, STEPS, sizes[row.image_id], **texts)
            assert_rows(generated, [row], {row.image_id: image})


def test_what_a_mask_keeps_is_scaled_as_its_original(folders, shaped, generate, tmp_path):
    rows = []
    for row in shaped[:3]:
        white = np.zeros((row.source_size.height, row.source_size.width), np.uint8)
        white[: len(white) // 2, 7:] = 255
        path = tmp_path / f"mask-{row.sample_id}.png"
        Image.fromarray(white).save(path)
        rows.append(replace(row, mask=Companion(f"mask-{row.sample_id}", str(path))))
    folder = folders["StableDiffusion"]
    values = settings(folder) | KEEP | {"scheduler": "ddim", "paste": False}
    generator = Inpaint(**values, masks=FileMasks(folder="masks", kept="black"))
    pipeline = stock(diffusers.StableDiffusionInpaintPipeline, folder)

    def expected(row):
        size = generator.size_of(row)
        mask = Image.open(row.mask.path)
        if row.source_size.width > 2 * row.source_size.height:
            mask = mask.crop((20, 0, 100, 40))  # 120 x 40 px
        mask = mask.resize(size, Image.Resampling.NEAREST)
        return call(pipeline, row, STEPS, size, mask_image=mask)

    assert_rows(generate(generator, rows), rows, {r.image_id: expected(r) for r in rows})


EDITORS = {
    "FluxKontextPipeline": lambda folder: flow_models.save_flux(
        folder, True, diffusers.FluxKontextPipeline
    ),
    "Flux2KleinPipeline": flow_models.save_klein,
}


@pytest.mark.parametrize("name", EDITORS)
def test_editors_get_the_size_of_each_original(shaped, generate, tmp_path, name):
    folder = EDITORS[name](tmp_path / "model")
    generator = component(
        Edit, "edit", folder, instruction="{prompt}", size=96, aspect="keep", aspect_step=16
    )
    rows = shaped[:2]
    pipeline = stock(getattr(diffusers, name), folder)
    own = {"max_area": 0, "_auto_resize": False} if "Kontext" in name else {}

    def expected(row):
        width, height = size = generator.size_of(row)
        values = own and own | {"max_area": size.area}
        with torch.no_grad():
            return pipeline(
                image=read_rgb(row.source, size),
                prompt=row.text,
                guidance_scale=row.guidance_scale,
                num_inference_steps=4,
                height=height,
                width=width,
                generator=torch.Generator().manual_seed(row.seed),
                output_type="pt",
                **values,
            ).images[0]

    generated = generate(generator.load(Runtime.cpu()), rows)
    assert_rows(generated, rows, {row.image_id: expected(row) for row in rows})


def test_a_short_image_of_another_shape_has_its_own_latents(make_img2img, shaped, generate):
    """Data sets of arrays know an image by its bytes, which plain ones of two shapes share."""
    wide, high = shaped[:2]
    high = replace(high, source_sha256=wide.source_sha256)
    assert replace(high, source_size=wide.source_size).image_id != high.image_id
    engine = make_img2img(**KEEP).load(Runtime.cpu())
    both = generate(engine, [wide, high])
    engine.clear()
    assert torch.equal(generate(engine, [high])[high.image_id].pixels, both[high.image_id].pixels)


def test_an_image_is_stored_at_its_originals_size(make_img2img, shaped, generate):
    generated = generate(make_img2img(**KEEP, size=48), shaped)
    sizes = []
    for row in shaped:
        stored = stored_row(generated[row.image_id], row, "png")
        sizes.append((stored["width"], stored["height"]))
        assert Image.open(io.BytesIO(stored["payload"])).size == sizes[-1]
    assert sizes == [(44, 33), (30, 46), (68, 34), (20, 20)]


def test_a_batch_of_one_shape_is_read_at_its_size(make_img2img, shaped):
    generator = make_img2img(**KEEP)
    batch = read_batch(shaped[:1], generator.size_of(shaped[0]))
    assert [tuple(pixels.shape) for pixels in batch.sources.values()] == [(3, 28, 36)]
    assert isinstance(batch, Batch)
    groups = {generator.group(row) for row in shaped}
    assert len(groups) == 4  # no two shapes in one tensor


def test_diffusemix_mixes_images_of_any_shape(model_folder, shaped, generate):
    values = settings(model_folder) | KEEP | {"fractal_weight": 0.2, "num_fractals": 5}
    generated = generate(DiffuseMixLike(**values), shaped[:1])
    assert generated[shaped[0].image_id].pixels.shape == (3, 28, 36)


def test_long_originals_are_named(make_img2img, shaped, capfd):
    make_img2img(**KEEP).examine([*shaped, replace(shaped[2], variant=1)])
    line = "1 original longer than 2:1: its central part is used"
    assert line in capfd.readouterr().err
    make_img2img().examine([replace(row, source_size=None) for row in shaped])
    assert "longer" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aspect_step": 8}, "aspect_step: must be null without images.aspect=keep, got 8"),
        ({"aspect_step": 6, "aspect": "keep"}, "must be a multiple of 4 px for this model and at"),
        ({"aspect_step": 12, "aspect": "keep"}, "at most 8, got 12; set null, or such a number"),
        ({"aspect": "own"}, "aspect: must be one of square, keep, got 'own'"),
    ],
)
def test_wrong_values_are_refused_in_one_line(make_img2img, changes, words):
    with pytest.raises(UserError, match=words) as caught:
        make_img2img(**changes).require()
    assert "\n" not in str(caught.value)


def test_sides_longer_than_the_models_places_are_refused(make_img2img, tmp_path):
    folder = models.save_sd3(tmp_path / "model")  # 16 places of 8 px
    values = {"model": str(folder), "scheduler": "euler", "num_steps": 4}
    make_img2img(**values, size=128).require()
    with pytest.raises(UserError, match="size: must be one with sides of at most 128 px"):
        make_img2img(**values, size=136).require()
    with pytest.raises(UserError, match="got 128; images.aspect=keep has sides of 176 px"):
        make_img2img(**values, size=128, aspect="keep").require()


def test_the_recipe_is_that_of_before_unless_the_ratio_is_kept(make_img2img):
    plain, kept = make_img2img().recipe(), make_img2img(aspect="keep").recipe()
    assert "aspect" not in plain and "aspect_step" not in plain
    assert kept == {**plain, "aspect": "keep"}


def test_an_original_of_unknown_size_counts_as_a_square(make_img2img, shaped):
    generator = make_img2img(**KEEP)
    for size in (None, Size(0, 0)):
        assert generator.size_of(replace(shaped[0], source_size=size)) == (32, 32)
        assert generator.stored_size(size) is None

"""Transformers with flow matching against diffusers' own pipelines, on tiny models.

Rows of unlike text, guidance and noise rate, in batches of 1, 3 and 7.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.images.folder import PipelineFolder
from sip.images.lengths import text_readers
from sip.prompts.base import Prompt, Span
from tests.images import flow_models as models
from tests.images.models import save_sd3
from tests.images.stock import TOLERANCE, assert_equal, call, stock

NUM_STEPS = 4
SCALES = (2.35, 1.1, 7.0, 3.5, 5.0, 1.7, 4.2, 0.5, 1.0)  # the last two: no guidance


@dataclass(frozen=True)
class Case:
    """A family.

    Attributes:
        name: Of its pipeline class, without "Pipeline".
        save: Saves a tiny model.
        guided: A row to the arguments that guide it in the stock pipeline.
    """

    name: str
    save: Callable[[Path], Path]
    guided: Callable[[Prompt], dict[str, Any]] = field(repr=False)


def true_cfg(row: Prompt) -> dict[str, Any]:
    return {"true_cfg_scale": row.guidance_scale, "negative_prompt": row.negative_prompt}


CASES = {
    "z_image": Case(
        "ZImage",
        models.save_z_image,
        lambda row: {"guidance_scale": max(row.guidance_scale - 1, 0)},
    ),
    "flux_dev": Case(
        "Flux",
        lambda folder: models.save_flux(folder, True),
        lambda row: {"negative_prompt": None},
    ),
    "flux_schnell": Case("Flux", lambda folder: models.save_flux(folder, False), true_cfg),
    "sd35": Case(
        "StableDiffusion3",
        lambda folder: save_sd3(folder, qk_norm="rms_norm", dual_attention_layers=(0,)),
        lambda row: {},
    ),
    "chroma": Case("Chroma", models.save_chroma, lambda row: {}),
    "qwen_image": Case("QwenImage", models.save_qwen_image, true_cfg),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.save(tmp_path_factory.mktemp("flow") / "model")


@pytest.fixture
def rows(make_prompt) -> list[Prompt]:
    """Nine rows: seven of one group, of unlike guidance, and two without guidance."""
    return [
        make_prompt(
            index,
            guidance_scale=scale,
            noise_rate=0.75 if scale <= 1 else 0.5,
            negative_prompt="" if index % 4 else "thin strokes",
            spans=(Span(f"a photo of a {'bold ' * (index % 3)}nine", 1.0),),
        )
        for index, scale in enumerate(SCALES)
    ]


@pytest.mark.parametrize("paradigm", ["img2img", "txt2img"])
def test_unlike_rows_equal_the_stock_pipeline(
    case, folder, make_img2img, make_txt2img, rows, generate, paradigm
):
    make, name = {
        "img2img": (make_img2img, f"{case.name}Img2ImgPipeline"),
        "txt2img": (make_txt2img, f"{case.name}Pipeline"),
    }[paradigm]
    generator = make(model=str(folder), scheduler="euler", num_steps=NUM_STEPS)
    engine = generator.load(Runtime.cpu())
    pipeline = stock(getattr(diffusers, name), folder)
    images = {row.image_id: call(pipeline, row, NUM_STEPS, **case.guided(row)) for row in rows}
    for batch_size in (7, 3, 1):
        generated = generate(engine, rows, batch_size)
        assert_equal(generated, rows, lambda row: images[row.image_id])
        assert all(
            generated[row.image_id].unet_evaluations == generator.num_evaluations(row)
            for row in rows
        )


def test_each_aspect_ratio_equals_the_stock_pipeline_at_its_size(
    case, folder, make_img2img, make_txt2img, shaped, generate
):
    twins = [replace(row, seed=row.seed + 9, guidance_scale=4.0) for row in shaped[:2]]
    rows = [*shaped, *twins]
    for make, kind in ((make_img2img, "Img2ImgPipeline"), (make_txt2img, "Pipeline")):
        values = {"num_steps": NUM_STEPS, "size": 64, "aspect": "keep"}
        generator = make(model=str(folder), scheduler="euler", **values)
        sizes = {row.image_id: generator.size_of(row) for row in rows}
        assert len(set(sizes.values())) == 4 and (64, 64) in sizes.values()
        pipeline = stock(getattr(diffusers, case.name + kind), folder)
        generated = generate(generator, rows)
        for row in rows if make is make_img2img else rows[:1]:
            size = sizes[row.image_id]
            image = call(pipeline, row, NUM_STEPS, size, **case.guided(row))
            assert image.shape == (3, size.height, size.width)
            pixels = generated[row.image_id].pixels
            torch.testing.assert_close(pixels, image, atol=TOLERANCE, rtol=0)


def test_weights_without_a_meaning_are_refused_in_one_line(case, folder, make_img2img, rows):
    generator = make_img2img(model=str(folder), scheduler="euler")
    weighted = replace(rows[0], spans=(Span("a photo of a ", 1.0), Span("nine", 1.5)))
    if case.name in ("Flux", "StableDiffusion3"):
        generator.check([weighted])
        return
    words = (
        f"prompts: must have weights of 1 for a {case.name}Pipeline, .* got 1.5 for 'nine'; "
        "set prompts.label_weight=1"
    )
    with pytest.raises(UserError, match=words):
        generator.check([weighted])
    generator.check(rows)


def test_a_text_fits_if_its_last_letter_is_read(case, folder, make_txt2img, rows):
    if case.name in ("ZImage", "QwenImage"):
        pytest.skip("a letter is a token here, so their templates are longer than the hub's")
    generator = make_txt2img(model=str(folder), scheduler="euler", num_steps=NUM_STEPS)
    engine = generator.load(Runtime.cpu())
    family = type(engine.models)
    (reader,) = (r for r in text_readers(PipelineFolder(folder), family) if not r.by_span)

    def spans(num: int, end: str) -> tuple[Span, ...]:
        return Span("é" + "x" * (num // 2), 1.0), Span("x" * (num - num // 2) + end, 1.0)

    def is_read(num: int) -> bool:
        ends = [replace(rows[0], spans=spans(num, end)) for end in "ab"]
        one, other = engine.texts.positive(ends)
        return not torch.equal(one, other)

    most = max(num for num in range(1, 1200) if reader.fits(spans(num, "a")))
    assert most > 200 and is_read(most) and not is_read(most + 1)

"""SDXL and SD3 against diffusers' own pipelines, on tiny models in the hub's layout."""

from dataclasses import replace

import pytest
import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.images.families import families
from sip.images.families.sd import StableDiffusion
from sip.prompts.base import Span
from sip.prompts.weighting.tokens import tokenize_whole
from tests.images import models
from tests.images.stock import assert_equal, call, compel_hidden, stock

# numpy 2, about how diffusers makes arrays of tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCALES = [0.5, 1.1, 7.0, 2.35]


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory):
    return models.save_sdxl(tmp_path_factory.mktemp("sdxl") / "model")


@pytest.fixture(scope="module")
def sd3_folder(tmp_path_factory):
    return models.save_sd3(tmp_path_factory.mktemp("sd3") / "model")


@pytest.fixture
def weighted(make_prompt):
    """Rows of mixed guidance; every fourth has a negative prompt."""
    return [
        make_prompt(
            index,
            guidance_scale=SCALES[index % 4],
            noise_rate=(0.5, 0.75)[index % 2],
            negative_prompt="" if index % 4 else "thin strokes",
        )
        for index in range(6)
    ]


@pytest.fixture
def plain(weighted):
    """The same without weights, so that the pipelines can embed the texts themselves."""
    return [replace(row, spans=(Span(row.text.split(",")[0], 1.0),)) for row in weighted]


def sdxl_negative(row):
    """SDXL's pipeline gives zeros for None, which is what "no text" means there."""
    return {"negative_prompt": row.negative_prompt or None}


@pytest.mark.parametrize("paradigm", ["img2img", "txt2img"])
def test_sdxl_equals_the_stock_pipeline(
    make_img2img, make_txt2img, sdxl_folder, plain, generate, paradigm
):
    make, pipeline_class = {
        "img2img": (make_img2img, StableDiffusionXLImg2ImgPipeline),
        "txt2img": (make_txt2img, StableDiffusionXLPipeline),
    }[paradigm]
    generator = make(model=str(sdxl_folder), scheduler="euler", num_steps=4)
    generated = generate(generator, plain, batch_size=6)
    pipeline = stock(pipeline_class, sdxl_folder, EulerDiscreteScheduler)
    assert_equal(generated, plain, lambda row: call(pipeline, row, 4, **sdxl_negative(row)))


def test_sdxl_that_encodes_the_empty_prompt_equals_the_stock_pipeline(
    make_txt2img, plain, generate, tmp_path
):
    folder = models.save_sdxl(tmp_path / "model", zeros_for_empty=False)
    generated = generate(make_txt2img(model=str(folder), num_steps=4), plain)
    pipeline = stock(StableDiffusionXLPipeline, folder)
    assert_equal(generated, plain, lambda row: call(pipeline, row, 4))


def test_sdxl_weights_spans_in_both_encoders_as_compel_does(
    make_img2img, sdxl_folder, weighted, generate
):
    generated = generate(make_img2img(model=str(sdxl_folder), num_steps=4), weighted, batch_size=6)
    pipeline = stock(StableDiffusionXLImg2ImgPipeline, sdxl_folder)

    def expected(row):
        with torch.no_grad():
            names = ("", "negative_", "pooled_", "negative_pooled_")
            texts = pipeline.encode_prompt(row.text, device="cpu", **sdxl_negative(row))
        texts = dict(zip((f"{name}prompt_embeds" for name in names), texts, strict=True))
        texts = {
            "prompt_embeds": texts["prompt_embeds"],
            "negative_prompt_embeds": texts["negative_prompt_embeds"],
            "pooled_prompt_embeds": texts["pooled_prompt_embeds"],
            "negative_pooled_prompt_embeds": texts["negative_pooled_prompt_embeds"],
        }
        unweighted = texts["prompt_embeds"]
        texts["prompt_embeds"] = torch.cat(
            [
                compel_hidden(pipeline.tokenizer, pipeline.text_encoder, row),
                compel_hidden(pipeline.tokenizer_2, pipeline.text_encoder_2, row),
            ],
            dim=-1,
        )
        assert (texts["prompt_embeds"] - unweighted).abs().max() > 0.1
        return call(pipeline, row, 4, **texts)

    assert_equal(generated, weighted, expected)


@pytest.mark.parametrize("paradigm", ["img2img", "txt2img"])
@pytest.mark.parametrize("with_t5", [True, False])
def test_sd3_equals_the_stock_pipeline(
    make_img2img, make_txt2img, plain, generate, tmp_path, paradigm, with_t5
):
    folder = models.save_sd3(tmp_path / "model", with_t5, dynamic_shift=not with_t5)
    make, pipeline_class = {
        "img2img": (make_img2img, StableDiffusion3Img2ImgPipeline),
        "txt2img": (make_txt2img, StableDiffusion3Pipeline),
    }[paradigm]
    # 7 steps at rate 0.5: this pipeline runs 4 of them, the others would run 3.
    generator = make(model=str(folder), scheduler="euler", num_steps=7)
    generated = generate(generator, plain, batch_size=6)
    absent = {} if with_t5 else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = stock(pipeline_class, folder, **absent)
    assert_equal(generated, plain, lambda row: call(pipeline, row, 7))


def test_sd3_weights_spans_in_its_clip_encoders_as_compel_does(make_txt2img, sd3_folder, weighted):
    engine = make_txt2img(model=str(sd3_folder), scheduler="euler").load(Runtime.cpu())
    with torch.no_grad():
        texts = engine.models.encode_texts(
            engine.settings.weighting, [row.spans for row in weighted]
        )
    family = engine.models
    hidden = texts[:, : -family.pooled_width].unflatten(1, (-1, family.width))
    length = family.text.tokenizer.model_max_length
    for number, text in enumerate((family.text, family.text_2)):
        part = hidden[:, :length, number * models.WIDTH : (number + 1) * models.WIDTH]
        for row, embedded in zip(weighted, part, strict=True):
            expected = compel_hidden(text.tokenizer, text.encoder, row)
            torch.testing.assert_close(embedded[None], expected, atol=1e-4, rtol=0)


def test_t5_weighs_a_span_by_its_distance_from_the_empty_prompt(make_txt2img, sd3_folder):
    engine = make_txt2img(model=str(sd3_folder), scheduler="euler").load(Runtime.cpu())
    t5 = engine.models.t5
    spans = (Span("a photo of a ", 1.0), Span("three", 1.5), Span(", bold lines", 1.0))
    flat = tuple(Span(span.text, 1.0) for span in spans)
    with torch.no_grad():
        weighted, unweighted = (
            t5.embed(engine.settings.weighting, [text])[0][0] for text in (spans, flat)
        )
        empty = t5.empty()[0][0]
    token = t5.tokenizer("three")["input_ids"][0]
    (place,) = (t5.tokens([flat]).ids[0] == token).nonzero()[:, 0].tolist()
    expected = unweighted.clone()
    expected[place] = empty[place] + 1.5 * (unweighted[place] - empty[place])
    torch.testing.assert_close(weighted, expected, atol=1e-5, rtol=0)


def test_a_whole_text_is_not_cut_at_its_spans():
    tokenizer = models.t5_tokenizer()
    spans = (Span("a photo of a ", 1.0), Span("three", 1.5), Span(", bold", 0.9), Span("", 0.5))
    tokens = tokenize_whole(tokenizer, [spans, ()], 16)
    assert tokens.ids[0].tolist()[:9] == tokenizer("a photo of a three, bold")["input_ids"] + [0]
    assert tokens.ids.shape == (2, 16) and torch.equal(tokens.ids[1:], tokens.empty)
    assert tokens.weights[0].tolist() == pytest.approx([1.0] * 4 + [1.5, 0.9, 0.9] + [1.0] * 9)
    assert tokens.lowered == [(0, 5, 6, 0.9)] and (tokens.weights[1] == 1).all()


def test_sdxl_counts_what_its_encoders_cut_and_refuses_a_cut_label(
    make_txt2img, sdxl_folder, make_prompt, capfd
):
    generator = make_txt2img(model=str(sdxl_folder))
    long = Span(", bold lines" * 12, 1.0)
    short = make_prompt(0)
    generator.examine([short, replace(short, spans=(*short.spans, long))])
    (line,) = capfd.readouterr().err.splitlines()
    assert "1 of 2 is longer than the text encoder's 32 tokens and is cut, the first: " in line
    with pytest.raises(UserError, match="class name within the 32 tokens .* for class 'three'"):
        generator.examine([replace(short, spans=(long, Span("three", 1.0)))])


def test_sd3_reads_in_t5_what_clip_cuts(make_txt2img, sd3_folder, make_prompt, capfd):
    generator = make_txt2img(model=str(sd3_folder), scheduler="euler")
    last = Span(", three", 1.0)
    row = make_prompt(0)
    clip, t5 = (replace(row, spans=(Span("bold lines " * times, 1.0), last)) for times in (20, 200))
    generator.examine([row, clip])
    (line,) = capfd.readouterr().err.splitlines()
    assert "1 of 2 is longer than the 32 tokens of the CLIP encoder and is cut" in line
    with pytest.raises(UserError, match="class name within the 256 tokens"):
        generator.examine([row, clip, t5])
    generator.examine([clip, replace(t5, spans=(last, *t5.spans))])
    clip_line, t5_line = capfd.readouterr().err.splitlines()
    assert "2 of 2 are longer than the 32 tokens of the CLIP encoder" in clip_line
    assert "1 of 2 is longer than the 256 tokens of the T5 encoder" in t5_line


@pytest.mark.parametrize("scheduler", ["ddim", "lcm"])
def test_sd3_refuses_other_schedulers(make_img2img, sd3_folder, scheduler):
    generator = make_img2img(model=str(sd3_folder), scheduler=scheduler)
    with pytest.raises(UserError, match=f"must be euler .* got '{scheduler}'"):
        generator.require()


def test_sd3s_sizes_are_whole_patches(make_img2img, sd3_folder):
    generator = make_img2img(model=str(sd3_folder), scheduler="euler", size=28)
    with pytest.raises(UserError, match="must be a multiple of 8 px .* got 28"):
        generator.require()


def test_an_unknown_class_lists_the_known_ones(make_img2img, tmp_path):
    folder = models.save_sd(tmp_path / "model")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "LuminaPipeline"))
    with pytest.raises(UserError, match="must be one of .*, got a LuminaPipeline in") as caught:
        make_img2img(model=str(folder)).require()
    assert all(name in str(caught.value) for name in families())


def test_a_family_is_one_class_and_nothing_is_edited(make_img2img, make_prompt, generate, tmp_path):
    class Toy(StableDiffusion):
        """Serves a pipeline class of its own, and sees the negative of each image."""

        pipelines = ("StableDiffusionPAGPipeline",)

        def decode(self, latents):
            return 1 - super().decode(latents)

    folder = models.save_sd(tmp_path / "model")
    row = make_prompt(0)
    plain = generate(make_img2img(model=str(folder)), [row])[row.image_id]
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", Toy.pipelines[0]))
    generator = make_img2img(model=str(folder))
    toy = generate(generator, [row])[row.image_id]
    assert generator.family is Toy
    torch.testing.assert_close(toy.pixels, 1 - plain.pixels)


@pytest.mark.parametrize("folder", ["sdxl_folder", "sd3_folder"])
def test_models_without_a_safety_checker_say_so(make_img2img, folder, request):
    folder = str(request.getfixturevalue(folder))
    generator = make_img2img(model=folder, scheduler="euler", safety_checker=True)
    with pytest.raises(
        UserError, match="images.safety_checker: must be false for .*, which has none"
    ):
        generator.require()

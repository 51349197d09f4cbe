"""diffusers' own pipelines and compel, called for one image at a time: the reference."""

import inspect

import torch
from compel import Compel, ReturnedEmbeddingsType
from compel.prompt_parser import Conjunction, FlattenedPrompt

from sip.core.image_io import read_rgb
from sip.core.shapes import Size

TOLERANCE = 1e-4


def stock(pipeline_class, folder, scheduler_class=None, **parts):
    """Load a pipeline; `scheduler_class` takes the place of its own."""
    pipeline = pipeline_class.from_pretrained(folder, dtype=torch.float32, **parts)
    if scheduler_class is not None:
        pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def compel_texts(pipeline, prompt):
    """Embed with compel itself, without its parser; for one text encoder."""
    compel = Compel(pipeline.tokenizer, pipeline.text_encoder)
    with torch.no_grad():
        positive, _ = compel.build_conditioning_tensor_for_conjunction(conjunction(prompt))
        negative = pipeline.encode_prompt(prompt.negative_prompt, "cpu", 1, False)[0]
    return {"prompt_embeds": positive, "negative_prompt_embeds": negative}


def compel_hidden(tokenizer, encoder, prompt):
    """Embed with compel as SDXL and SD3 need it, for one of their CLIP encoders."""
    kind = ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
    compel = Compel(tokenizer, encoder, returned_embeddings_type=kind)
    with torch.no_grad():
        return compel.build_conditioning_tensor_for_conjunction(conjunction(prompt))[0]


def conjunction(prompt):
    return Conjunction([FlattenedPrompt([(span.text, span.weight) for span in prompt.spans])])


def call(pipeline, prompt, num_steps=10, size=32, **kwargs):
    """Generate one image; without a text in `kwargs`, that of the prompt, unweighted."""
    width, height = Size.of(size)
    if "prompt_embeds" not in kwargs:
        kwargs = {"prompt": prompt.text, "negative_prompt": prompt.negative_prompt} | kwargs
    if "image" in inspect.signature(pipeline.__call__).parameters:
        kwargs |= {"image": read_rgb(prompt.source, size), "strength": prompt.noise_rate}
        if "height" in inspect.signature(pipeline.__call__).parameters:
            kwargs |= {"height": height, "width": width}
    else:
        kwargs |= {"height": height, "width": width}
    kwargs = {"guidance_scale": prompt.guidance_scale} | kwargs
    with torch.no_grad():
        return pipeline(
            num_inference_steps=num_steps,
            generator=torch.Generator("cpu").manual_seed(prompt.seed),
            output_type="pt",
            **kwargs,
        ).images[0]


def assert_equal(generated, prompts, expected):
    """Compare each row with what `expected` generates for its prompt."""
    images = [expected(row) for row in prompts]
    for row, image in zip(prompts, images, strict=True):
        assert generated[row.image_id].status == "ok"
        torch.testing.assert_close(generated[row.image_id].pixels, image, atol=TOLERANCE, rtol=0)
    spread = torch.stack(images)
    # The comparison is not of greys, nor of one image with itself.
    assert spread.std() > 0.05 and spread.std(0).mean() > 0.02

"""Weights in 8 bits: near the float model, the same in any batch, and known to the recipe."""

from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.images import quantization
from sip.prompts.base import Span
from tests.images import flow_models

# Largest mean difference of an image to the float32 model's, pixels in [0, 1]; of these tiny models
# with random weights it is 0.005 and 0.009 with int8, 0.030 and 0.047 with fp8.
BOUNDS = {"int8": 0.012, "fp8": 0.06}
pytestmark = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")


@pytest.fixture(params=["sd", "flux"])
def model(request, model_folder, tmp_path):
    """Settings of a U-Net, and of a transformer."""
    if request.param == "sd":
        return {"model": str(model_folder)}
    folder = flow_models.save_flux(tmp_path / "model", True)
    return {"model": str(folder), "scheduler": "euler"}


@pytest.mark.parametrize("name", BOUNDS)
def test_8_bit_weights_are_near_the_float_model(make_img2img, make_prompt, generate, model, name):
    rows = [
        make_prompt(index, guidance_scale=2.0 + index, spans=(Span(f"a {'bold ' * index}nine", 1),))
        for index in range(3)
    ]
    plain = generate(make_img2img(**model), rows)
    engine = make_img2img(**model, quantization=name).load(Runtime.cpu())
    kinds = {type(weight).__name__ for weight in engine.models.denoiser.parameters()}
    assert kinds == {"Parameter", {"int8": "Int8Tensor", "fp8": "Float8Tensor"}[name]}
    generated = generate(engine, rows)
    differences = [
        (generated[key].pixels - image.pixels).abs().mean().item() for key, image in plain.items()
    ]
    assert 1e-5 < max(differences) < BOUNDS[name], differences
    single = generate(engine, rows, batch_size=1)
    for key, image in generated.items():
        torch.testing.assert_close(image.pixels, single[key].pixels, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", BOUNDS)
def test_denoiser_and_every_text_encoder_are_quantised_and_nothing_else(name):
    parts = ("unet", "transformer", "text_encoder", "text_encoder_2", "vae", "safety_checker")
    models = {part: torch.nn.Sequential(torch.nn.Linear(16, 16)) for part in parts}
    pipeline = SimpleNamespace(components=models | {"tokenizer": object(), "scheduler": None})
    quantization.quantize(pipeline, name)
    kinds = {part: type(model[0].weight).__name__ for part, model in models.items()}
    kind = {"int8": "Int8Tensor", "fp8": "Float8Tensor"}[name]
    assert kinds == dict.fromkeys(parts[:4], kind) | dict.fromkeys(parts[4:], "Parameter")


def test_the_recipe_knows_it_and_one_line_names_what_is_missing(make_img2img, monkeypatch):
    generator = make_img2img(quantization="int8")
    assert generator.recipe() == make_img2img().recipe() | {"quantization": "int8"}
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^images.quantization: needs the package torchao; pip"):
        generator.require()
    with pytest.raises(
        UserError, match="quantization: must be one of int8, fp8 or null, got 'int4'"
    ):
        make_img2img(quantization="int4")

"""The presets with Hyper-SD's adapter, on tiny models where the hub's cache would hold the true."""

from pathlib import Path

import diffusers
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.images.img2img import Img2Img
from sip.prompts.base import Span
from sip.prompts.weighting.compel import CompelWeighting
from tests.composing import composed
from tests.images import models
from tests.images.stock import assert_equal, call, compel_texts, stock

CHANGED = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1")
PRESETS = {
    "sd15_hyper8": ("StableDiffusion", models.save_sd),
    "sdxl_hyper8": ("StableDiffusionXL", models.save_sdxl),
}
# numpy 2, about how diffusers makes arrays of tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def save_adapter(unet: torch.nn.Module, file: Path) -> None:
    """Save random factors under kohya's names."""
    torch.manual_seed(7)
    factors = {}
    for name, module in unet.named_modules():
        if name.endswith(CHANGED):
            outputs, inputs, *kernel = module.weight.shape
            start = f"lora_unet_{name.replace('.', '_')}"
            factors[f"{start}.lora_down.weight"] = torch.randn(2, inputs, *kernel) / 4
            factors[f"{start}.lora_up.weight"] = torch.randn(outputs, 2, *(1 for _ in kernel)) / 4
            factors[f"{start}.alpha"] = torch.tensor(1.0)
    file.parent.mkdir(parents=True)
    save_file(factors, file)


@pytest.fixture(params=PRESETS)
def preset(request, tmp_path, monkeypatch):
    """A generator as its YAML says, but for the size; its model's folder and its adapter's."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    config = composed(f"images={request.param}", "images.size=32").images

    def place(name: str, revision: str) -> Path:
        return tmp_path / f"models--{name.replace('/', '--')}" / "snapshots" / revision

    folder = place(config.model, config.revision)
    name, save = PRESETS[request.param]
    save(folder)
    file = place(config.lora.model, config.lora.revision) / config.lora.weight_name
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    save_adapter(unet, file)
    values = OmegaConf.to_container(config, resolve=True) | {"weighting": CompelWeighting()}
    del values["_target_"]
    return Img2Img(**values), name, folder, file


def test_eight_evaluations_equal_the_stock_pipeline(preset, make_prompt, generate):
    generator, name, folder, file = preset
    generator.require()
    rows = [
        make_prompt(
            index,
            guidance_scale=scale,
            noise_rate=rate,
            negative_prompt="thin strokes",
            spans=(Span(f"a photo of a {'bold ' * index}nine", 1.0),),
        )
        for index, (scale, rate) in enumerate([(5.0, 0.5), (8.0, 0.5), (6.5, 0.75)])
    ]
    assert [generator.num_evaluations(row) for row in rows] == [8, 8, 12]
    assert generator.schedule(512).timesteps.tolist() == [999, 874, 749, 624, 499, 374, 249, 124]
    generated = generate(generator, rows)
    pipeline = stock(getattr(diffusers, f"{name}Img2ImgPipeline"), folder)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    pipeline.load_lora_weights(file.parent, weight_name=file.name)
    pipeline.fuse_lora()
    assert_equal(generated, rows, lambda row: call(pipeline, row, 8))


def test_spacing_is_refused_by_schedules_without(make_img2img, tmp_path):
    trailing = {"timestep_spacing": "trailing"}
    recipes = [make_img2img(**changes).recipe() for changes in ({}, trailing)]
    assert recipes[1] == recipes[0] | trailing
    flow = {"model": str(models.save_sd3(tmp_path / "model")), "scheduler": "euler"}
    for changes in ({"scheduler": "lcm"}, flow):
        with pytest.raises(UserError, match=r"images.timestep_spacing: must be null for .*lcm"):
            make_img2img(**changes, **trailing).require()
        make_img2img(**changes).require()


def test_evaluations_are_foreseen_with_the_spacing_before_the_model_is_there(
    make_img2img, make_prompt
):
    values = {"model": "nobody/absent", "num_steps": 8, "guidance_interval": (0.95, 1)}
    row = make_prompt(0, noise_rate=1.0)
    evaluations = [
        make_img2img(**values, timestep_spacing=spacing).num_evaluations(row)
        for spacing in ("trailing", None)
    ]
    assert evaluations == [9, 8]  # the first step is at 1.0, or below 0.9 and not guided


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "unipc"])
def test_spacing_of_other_schedulers_equals_the_stock_pipeline(
    make_img2img, model_folder, make_prompt, generate, name
):
    from tests.images.test_reference import CLASSES

    rows = [make_prompt(index, guidance_scale=2.0 + index) for index in range(2)]
    generator = make_img2img(scheduler=name, timestep_spacing="trailing")
    generated = generate(generator.load(Runtime.cpu()), rows)
    pipeline = stock(diffusers.StableDiffusionImg2ImgPipeline, model_folder)
    config = pipeline.scheduler.config
    pipeline.scheduler = CLASSES[name].from_config(config, timestep_spacing="trailing")
    assert_equal(generated, rows, lambda row: call(pipeline, row, **compel_texts(pipeline, row)))

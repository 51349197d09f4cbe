"""Settings: which are refused, what is in the recipe, variants and adapters of the weights."""

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from typing import get_args

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.images import lora as lora_module
from sip.images.img2img import Img2Img
from sip.images.schedulers import SCHEDULERS, SchedulerName
from sip.prompts.weighting.scale import ScaleWeighting
from sip.weights.checksums import sha256_of
from sip.weights.loaded import loaded_weights
from tests.images.stock import assert_equal, call, compel_texts, stock

ONE_LEVEL = 1 / 255
WRONG = {
    "scheduler: must be one of ddim, euler, dpmpp_2m, unipc, lcm, got 'dim'": {"scheduler": "dim"},
    "dtype: must be one of float32, bfloat16, float16, got 'fp16'": {"dtype": "fp16"},
    "num_steps: must be a whole number >= 1, got 0": {"num_steps": 0},
    "guidance_interval: must be [low, high] with low <= high, got [0.5, 0.2]": {
        "guidance_interval": [0.5, 0.2]
    },
    "guidance_interval: must be a list of 2: in [0, 1] each, got 0.5": {"guidance_interval": 0.5},
    "max_failed: must be in [0, 1], got 5": {"max_failed": 5},
    "format: must be one of png, jpeg, webp, got 'gif'": {"format": "gif"},
    "storage: must be one of files, webdataset, got 'zip'": {"storage": "zip"},
    "lora: must be null or a mapping of model, revision, weight_name, scale, got ['model']": {
        "lora": {"model": "x"}
    },
    "lora.weight_name: must be a name that ends in .safetensors, got 'x.bin'": {
        "lora": {"model": "x", "revision": None, "weight_name": "x.bin", "scale": 1.0}
    },
    "lora.scale: must be a finite number, got nan": {
        "lora": {
            "model": "x",
            "revision": None,
            "weight_name": "x.safetensors",
            "scale": float("nan"),
        }
    },
}


def test_every_scheduler_name_has_a_scheduler():
    assert set(get_args(SchedulerName)) == set(SCHEDULERS)


@pytest.mark.parametrize("message", WRONG)
def test_wrong_settings_name_the_right_ones(make_img2img, message):
    with pytest.raises(UserError) as caught:
        make_img2img(**WRONG[message])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 30}, "images.size: must be a multiple of 4 px .* got 30"),
        ({"scheduler": "lcm", "num_steps": 60}, "images.num_steps: 60 with scheduler lcm"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_it_is_loaded(
    make_img2img, make_prompt, changes, message
):
    generator = make_img2img(**changes)
    for check in (generator.require, lambda: generator.check([make_prompt(0)])):
        with pytest.raises(UserError, match=message):
            check()


def test_missing_weights_are_named(make_img2img, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        make_img2img(model=str(tmp_path / "nowhere")).load(Runtime.cpu())
    with pytest.raises(UserError, match="nowhere"):
        make_img2img(model=str(tmp_path / "nowhere")).require()
    make_img2img().require()


CHANGES = [
    {"num_steps": 20},
    {"size": 64},
    {"dtype": "bfloat16"},
    {"scheduler": "euler"},
    {"guidance_interval": [0.2, 1]},
    {"vae_tiling": True},
    {"safety_checker": True},
    {"weighting": ScaleWeighting()},
    {"format": "webp"},
    {"variant": "fp16"},
]


def test_a_key_has_the_learnt_word_that_its_class_is_read_as(
    make_img2img, make_prompt, monkeypatch
):
    monkeypatch.setattr(Img2Img, "names", {"three": "<three>"})
    row = make_prompt(0)
    other = replace(row, label=1, class_name="seven")  # as with a wrong label
    assert row.image_id == other.image_id
    named, plain = make_img2img().completed([row, other], [])
    assert named.image_id != plain.image_id == other.image_id


def test_negative_prompts_that_are_not_read_are_counted(make_img2img, make_prompt, capfd):
    scales = (3.0, 1.0, 0.5)
    rows = [make_prompt(n, guidance_scale=s, negative_prompt="thin") for n, s in enumerate(scales)]
    make_img2img().examine([*rows, make_prompt(1, guidance_scale=1.0)])
    assert "the negative prompt of 2 images is not read: no guidance" in capfd.readouterr().err


def test_the_recipe_holds_what_changes_files_and_nothing_else(make_img2img, make_txt2img):
    recipe = make_img2img().recipe()
    assert json.loads(json.dumps(recipe)) == recipe
    recipes = [make_img2img(**changes).recipe() for changes in CHANGES]
    recipes += [recipe, make_txt2img().recipe()]
    assert len({json.dumps(one) for one in recipes}) == len(CHANGES) + 2
    same = make_img2img(
        per_sample=3, max_failed=0.5, storage="webdataset", guidance_interval=[0.0, 1.0]
    )
    assert same.recipe() == recipe


def test_a_variant_is_loaded_by_its_name(
    make_img2img, model_folder, make_prompt, generate, tmp_path
):
    pipeline = stock(StableDiffusionPipeline, model_folder)
    pipeline.save_pretrained(tmp_path / "fp16", variant="fp16")
    row = make_prompt(0)
    generated = generate(make_img2img(model=str(tmp_path / "fp16"), variant="fp16"), [row])
    plain = generate(make_img2img(), [row])
    assert torch.equal(generated[row.image_id].pixels, plain[row.image_id].pixels)
    with pytest.raises(UserError, match="safetensors"):
        make_img2img(model=str(tmp_path / "fp16")).load(Runtime.cpu())
    with pytest.raises(UserError, match="fp16"):
        make_img2img(variant="fp16").load(Runtime.cpu())


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("is_renamed", [False, True])
def test_weights_that_do_not_fill_a_model_are_refused(
    make_img2img, model_folder, tmp_path, part, is_renamed
):
    """The libraries go on with random numbers: other random numbers in every process."""
    folder = tmp_path / "lacking"
    shutil.copytree(model_folder, folder)
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    name = sorted(weights)[3]
    weight = weights.pop(name)
    if is_renamed:  # as a release of transformers did with a whole text encoder
        weights[f"text_model_of_old.{name}"] = weight
    save_file(weights, file, metadata={"format": "pt"})
    known = r", and 1 there are not known, first 'text_model_of_old\." if is_renamed else ";"
    words = rf"{part}: expected the weights of a \w+, 1 are missing, first '.+'{known}.*"
    with pytest.raises(UserError, match=words):
        make_img2img(model=str(folder)).load(Runtime.cpu())


@pytest.fixture
def lora(model_folder, tmp_path):
    """An adapter of the U-Net's attention with random weights."""
    if find_spec("peft") is None:
        pytest.skip("peft is not installed")
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(4)
    pipeline = stock(StableDiffusionPipeline, model_folder)
    pipeline.unet.add_adapter(
        LoraConfig(r=2, lora_alpha=4, init_lora_weights=False, target_modules=["to_q", "to_v"])
    )
    StableDiffusionPipeline.save_lora_weights(
        tmp_path / "lora", unet_lora_layers=get_peft_model_state_dict(pipeline.unet)
    )
    return {
        "model": str(tmp_path / "lora"),
        "revision": None,
        "weight_name": "pytorch_lora_weights.safetensors",
        "scale": 0.7,
    }


def test_a_lora_equals_the_stock_pipeline(make_img2img, model_folder, make_prompt, generate, lora):
    rows = [make_prompt(index) for index in range(3)]
    engine = make_img2img(lora=lora).load(Runtime.cpu())
    generated = generate(engine, rows)
    assert not any("lora" in name for name, _ in engine.named_parameters())  # fused
    pipeline = stock(StableDiffusionImg2ImgPipeline, model_folder)
    pipeline.load_lora_weights(lora["model"], weight_name=lora["weight_name"])
    pipeline.fuse_lora(lora_scale=lora["scale"])
    assert_equal(generated, rows, lambda row: call(pipeline, row, **compel_texts(pipeline, row)))
    plain = generate(make_img2img(), rows)
    assert (plain[rows[0].image_id].pixels - generated[rows[0].image_id].pixels).abs().max() > 0.01


def test_a_lora_is_known_by_its_content_and_scale(make_img2img, lora, tmp_path):
    recipe = make_img2img(lora=lora).recipe()
    copied = tmp_path / "elsewhere"
    copied.mkdir()
    name = lora["weight_name"]
    used = loaded_weights({"images": make_img2img(lora=lora)})
    assert used.keys() == {"images", "images.lora"}
    assert used["images.lora"].sha256 == {name: sha256_of(tmp_path / "lora" / name)}
    assert loaded_weights({"images": make_img2img()}).keys() == {"images"}
    (copied / name).write_bytes((tmp_path / "lora" / name).read_bytes())
    (copied / "other.safetensors").write_bytes(b"")
    assert make_img2img(lora=lora | {"model": str(copied)}).recipe() == recipe
    for changed in (lora | {"scale": 1.0}, lora | {"model": "some/name"}, None):
        assert make_img2img(lora=changed).recipe() != recipe


def test_a_lora_that_is_not_there_is_named(make_img2img, lora, tmp_path):
    for changes in ({"model": str(tmp_path)}, {"model": "some/name"}):
        with pytest.raises(UserError, match="pytorch_lora_weights.safetensors"):
            make_img2img(lora=lora | changes).require()


def test_without_peft_one_line_says_so(make_img2img, monkeypatch, tmp_path):
    monkeypatch.setattr(lora_module, "find_spec", lambda name: None)
    adapter = {"model": "x/y", "revision": None, "weight_name": "l.safetensors", "scale": 1.0}
    with pytest.raises(UserError, match=r"needs the package peft; pip install -e .*\[lora\]"):
        make_img2img(lora=adapter).require()


@pytest.mark.parametrize(
    "changes",
    [{"channels_last": True}, {"vae_slicing": True}, {"attention": "math"}, {"attention": "flash"}],
)
def test_device_settings_change_nothing_beyond_rounding(
    make_img2img, make_prompt, generate, changes
):
    rows = [make_prompt(index) for index in range(3)]
    generated = generate(make_img2img(), rows, runtime=Runtime.cpu(**changes))
    for image_id, row in generate(make_img2img(), rows).items():
        assert (generated[image_id].pixels - row.pixels).abs().max() <= ONE_LEVEL


def test_device_settings_are_applied(make_img2img):
    for is_on in (True, False):
        engine = make_img2img().load(Runtime.cpu(channels_last=is_on, vae_slicing=is_on))
        convolution = engine.models.denoiser.conv_in.weight
        assert convolution.is_contiguous(memory_format=torch.channels_last) == is_on
        assert engine.models.vae.use_slicing == is_on


def test_large_images_can_be_decoded_in_tiles(make_img2img, make_prompt, generate):
    row = make_prompt(0, noise_rate=0.2)
    engine = make_img2img(size=64, vae_tiling=True).load(Runtime.cpu())
    assert engine.models.vae.use_tiling
    assert generate(engine, [row])[row.image_id].pixels.shape == (3, 64, 64)

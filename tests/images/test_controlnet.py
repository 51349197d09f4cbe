"""`images=controlnet` against diffusers' pipelines; conditions against their libraries."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.functional import to_pil_image
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config
from transformers import DPTImageProcessor as Processor

from sip.core.errors import UserError
from sip.core.image_io import read_rgb, to_tensor
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.images.conditions.canny import Canny
from sip.images.conditions.depth import Depth
from sip.images.conditions.stored import ColumnConditions, FileConditions
from sip.images.controlnet import ControlNet
from sip.prompts.base import Span
from sip.weights.loaded import loaded_weights
from tests.dataset.trees import source
from tests.images import models
from tests.images.conftest import settings
from tests.images.models import SIZE
from tests.images.stock import TOLERANCE, assert_equal, call, stock

SCALES = [0.5, 1.1, 7.0, 2.35]
EDGES = Canny(low=40, high=90)
PIPELINES = {
    "sd": StableDiffusionControlNetImg2ImgPipeline,
    "sdxl": StableDiffusionXLControlNetImg2ImgPipeline,
}


@pytest.fixture(scope="module")
def folders(model_folder, tmp_path_factory):
    """Name -> (model, ControlNet)."""
    root = tmp_path_factory.mktemp("control")
    found = {"sd": model_folder, "sdxl": models.save_sdxl(root / "sdxl")}
    for name, folder in found.items():
        torch.manual_seed(3)
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 16))
        for weight in control.parameters():  # the added features are zero before a training
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.2)
        for weight in control.controlnet_cond_embedding.parameters():
            weight.data *= 3  # the condition decides as much as the text
        control.save_pretrained(root / f"{name}_control")
    return {name: (folder, root / f"{name}_control") for name, folder in found.items()}


@pytest.fixture
def rows(make_prompt):
    """Rows of mixed guidance, noise rate, seed, original and text."""
    return [
        make_prompt(
            index,
            spans=(Span(f"a photo of a {('three', 'seven', 'nine')[index % 3]}", 1.0),),
            guidance_scale=SCALES[index % 4],
            noise_rate=[0.5, 0.75, 1.0][index // 2 % 3],
            negative_prompt="" if index % 4 else "thin strokes",
        )
        for index in range(7)
    ]


@pytest.fixture
def make(folders):
    def made(name="sd", **changes):
        folder, control = folders[name]
        values = {
            "controlnet": str(control), "condition": EDGES, "conditioning_scale": 0.8,
            "control_interval": (0, 1), "num_steps": 4,
            "scheduler": "euler" if name == "sdxl" else "ddim",
        }  # fmt: skip
        return ControlNet(**(settings(folder) | values | changes))

    return made


@pytest.fixture(scope="module")
def expected(folders):
    """Return what the stock pipeline of a model generates for a row; each once."""
    pipelines, images = {}, {}

    def of(name, row, **changes):
        folder, control = folders[name]
        if name not in pipelines:
            network = ControlNetModel.from_pretrained(control)
            scheduler = EulerDiscreteScheduler if name == "sdxl" else None
            pipelines[name] = stock(PIPELINES[name], folder, scheduler, controlnet=network)
        key = (name, row.image_id, *sorted(map(repr, changes.items())))
        if key not in images:
            original = to_tensor([read_rgb(row.source, SIZE)])[0]
            options = {
                "control_image": to_pil_image(EDGES.load(Runtime.cpu())(original)),
                "controlnet_conditioning_scale": 0.8,
                "negative_prompt": row.negative_prompt or (None if name == "sdxl" else ""),
            }
            images[key] = call(pipelines[name], row, 4, **(options | changes))
        return images[key]

    return of


@pytest.mark.parametrize("name", ["sd", "sdxl"])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_each_row_equals_the_stock_pipeline(make, expected, rows, generate, name, batch_size):
    generated = generate(make(name), rows, batch_size)
    assert_equal(generated, rows, lambda row: expected(name, row))


def test_it_acts_in_its_part_of_the_steps_and_not_at_a_scale_of_0(
    make, make_img2img, expected, rows, generate
):
    part = generate(make(control_interval=(0, 0.5)), rows, 7)
    options = {"control_guidance_start": 0.0, "control_guidance_end": 0.5}
    assert_equal(part, rows, lambda row: expected("sd", row, **options))
    without = generate(make(conditioning_scale=0.0), rows, 7)
    plain = generate(make_img2img(num_steps=4), rows, 7)
    whole = generate(make(), rows, 7)
    for row in rows:
        image = without[row.image_id].pixels
        torch.testing.assert_close(image, plain[row.image_id].pixels, atol=1e-4, rtol=0)
        assert (image - whole[row.image_id].pixels).abs().max() > 0.05
        assert (image - part[row.image_id].pixels).abs().max() > 0.01


def test_conditions_have_the_shape_of_their_originals(make, folders, shaped, generate):
    generator = make(aspect="keep", size=64)
    folder, control = folders["sd"]
    pipeline = stock(PIPELINES["sd"], folder, controlnet=ControlNetModel.from_pretrained(control))
    generated = generate(generator, shaped)
    for row in shaped[:2]:
        size = generator.size_of(row)
        edges = EDGES.load(Runtime.cpu())(to_tensor([read_rgb(row.source, size)])[0])
        options = {"control_image": to_pil_image(edges), "controlnet_conditioning_scale": 0.8}
        image = call(pipeline, row, 4, size, **options)
        pixels = generated[row.image_id].pixels
        torch.testing.assert_close(pixels, image, atol=1e-4, rtol=0)


TEXT_TO_IMAGE = {
    "sd": StableDiffusionControlNetPipeline,
    "sdxl": StableDiffusionXLControlNetPipeline,
}


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_text_to_image_equals_the_stock_pipeline(make, folders, rows, generate, name):
    choice = {"scheduler": "euler" if name == "sdxl" else "lcm", "control_interval": (0, 0.5)}
    generator = make(name, from_noise=True, **choice)  # LCM's steps have noise of their own
    folder, control = folders[name]
    network = ControlNetModel.from_pretrained(control)
    scheduler = EulerDiscreteScheduler if name == "sdxl" else LCMScheduler
    pipeline = stock(TEXT_TO_IMAGE[name], folder, scheduler, controlnet=network)
    alone, together = (generate(generator, rows, size) for size in (1, 7))
    for row in rows:
        edges = EDGES.load(Runtime.cpu())(to_tensor([read_rgb(row.source, SIZE)])[0])
        image = pipeline(
            row.text,
            image=to_pil_image(edges),
            negative_prompt=row.negative_prompt or (None if name == "sdxl" else ""),
            guidance_scale=row.guidance_scale,
            num_inference_steps=4,
            controlnet_conditioning_scale=0.8,
            control_guidance_end=0.5,
            generator=torch.Generator().manual_seed(row.seed),
            output_type="pt",
        ).images[0]
        for generated in (alone, together):
            pixels = generated[row.image_id].pixels
            torch.testing.assert_close(pixels, image, atol=TOLERANCE, rtol=0)
    assert {generator.group(row)[0] for row in rows} == {0}  # whatever the noise rate
    assert generator.recipe() == make(name, **choice).recipe() | {"from_noise": True}


def test_evaluations_of_the_controlnet_are_counted(make, rows, monkeypatch, generate):
    generator = make(control_interval=(0, 0.5))
    seen = []
    forward = ControlNetModel.forward
    monkeypatch.setattr(
        ControlNetModel,
        "forward",
        lambda self, sample, *args, **more: (
            seen.append(len(sample)),
            forward(self, sample, *args, **more),
        )[1],
    )
    for row in rows[:4]:  # guided and not, with 2, 3 and 4 steps
        seen.clear()
        generate(generator, [row], 1)
        assert sum(seen) == generator.num_control_evaluations(row) > 0
    assert make().num_control_evaluations(rows[2]) == make().num_evaluations(rows[2])


@pytest.fixture
def stored(rows, tmp_path):
    """Samples of the rows, and a folder with a colourful condition of each original."""
    samples = []
    for number, row in enumerate(rows):
        width, height = read_rgb(row.source, None).size
        pixels = np.random.default_rng(number % 3).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{row.sample_id}.png")
        name = f"{row.sample_id}.jpg"
        samples.append(Sample(name, row.source, 0, "nine", "train", width, height, "sha"))
    return samples, tmp_path


def test_stored_conditions_are_read_as_they_are(make, expected, rows, generate, stored):
    samples, folder = stored
    generator = make(condition=FileConditions(folder=str(folder)))
    rows = [
        replace(row, sample_id=sample.sample_id) for row, sample in zip(rows, samples, strict=True)
    ]
    named = generator.completed(rows, samples)
    generated = generate(generator, named, 7)

    def image(row):
        control = read_rgb(str(folder / row.sample_id).replace(".jpg", ".png"), SIZE)
        return expected("sd", row, control_image=control)

    assert_equal(generated, named, image)
    assert generator.condition.load(Runtime.cpu()) is None
    assert not {row.image_id for row in rows} & {row.image_id for row in named}
    Image.new("RGB", (32, 32)).save(folder / "sample-0.png")
    again = make(condition=FileConditions(folder=str(folder))).completed(rows, samples)
    changed = [old != new for old, new in zip(named, again, strict=True)]
    assert changed == [True] + [False] * 6


def test_conditions_that_are_missing_or_do_not_fit_are_named(stored):
    samples, folder = stored
    condition = FileConditions(folder=str(folder))
    (folder / "sample-1.png").unlink()
    with pytest.raises(
        UserError, match=r"^images.condition: each image must have a condition"
    ) as e:
        condition.of(samples)
    assert "got none for 1 image: sample-1.jpg; add them, or set images/condition=canny" in str(
        e.value
    )
    Image.new("L", (20, 32)).save(folder / "sample-1.png")
    (folder / "sample-3.png").write_bytes(b"none")
    with pytest.raises(UserError, match="must be images of the shape .* got 2 files that do") as e:
        condition.of(samples)
    assert "20 x 32 px" in str(e.value) and "sample-3.png" in str(e.value)


def test_conditions_of_a_column_are_those_of_its_data_set(stored):
    samples, folder = stored
    table = folder / "list.csv"
    lines = [f"{row.path},nine,train,{row.sample_id[:-3]}png" for row in samples[:3]]
    table.write_text("\n".join(["path,label,split,pose", *lines]))
    dataset = source("csv", None, path=str(table))
    condition = ColumnConditions(dataset=dataset, column="pose")
    originals = dataset.samples("train")
    of_file = FileConditions(folder=str(folder)).of(samples[:3])
    keys = {row.path: of_file[row.sample_id].key for row in samples[:3]}
    found = condition.of(originals)
    assert originals and all(found[row.sample_id].key == keys[row.path] for row in originals)
    with pytest.raises(UserError, match="images.condition.column: must be one of path, label"):
        ColumnConditions(dataset=dataset, column="edges").of(originals)


def test_the_recipe_knows_condition_and_weights(make, folders, tmp_path):
    recipe = make().recipe()
    assert recipe["control"]["weights"]["sha256"] and recipe["condition"]["high"] == 90
    others = [
        make(conditioning_scale=0.5), make(condition=Canny(low=1, high=2)),
        make(control_interval=(0, 0.5)), make(controlnet=str(folders["sdxl"][1])),
    ]  # fmt: skip
    assert all(other.recipe() != recipe for other in others)
    named = make(controlnet={"model": str(folders["sd"][1])})
    assert named.recipe() == recipe
    assert "images.controlnet" in loaded_weights({"images": make()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"control_interval": (0.5, 0.5)}, "control_interval: must be .* with begin < end"),
        ({"conditioning_scale": -1.0}, "conditioning_scale: must be"),
        ({"controlnet": {"name": "x"}}, "controlnet: must be null or a mapping of model"),
    ],
)
def test_wrong_values_are_refused(make, changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_a_controlnet_of_another_model_is_refused_before_weights_are_read(make, folders, tmp_path):
    with pytest.raises(UserError, match="must be one for a StableDiffusionPipeline with"):
        make(controlnet=str(folders["sdxl"][1])).require()
    make().require()
    with pytest.raises(UserError, match="must be a ControlNetModel of diffusers, got UNet2D"):
        make(controlnet=str(folders["sd"][0] / "unet")).require()
    network = ControlNetModel.from_pretrained(folders["sd"][1])
    shape = dict(network.config) | {"conditioning_embedding_out_channels": (8, 16)}
    ControlNetModel.from_config(shape).save_pretrained(tmp_path / "shape")
    with pytest.raises(
        UserError, match="one whose condition has 4 px along a latent, got .* with 2"
    ):
        make(controlnet=str(tmp_path / "shape")).require()
    sd3 = models.save_sd3(tmp_path / "sd3")
    with pytest.raises(UserError, match=r"must be Stable Diffusion .* images=controlnet"):
        make(model=str(sd3), scheduler="euler").require()


def test_edges_are_those_of_opencv(source_images):
    image = read_rgb(source_images[2], SIZE)
    edges = Canny(low=100, high=200).load(Runtime.cpu())(to_tensor([image])[0])
    wanted = cv2.Canny(np.asarray(image), 100, 200)
    assert 0 < wanted.mean() < 255
    for channel in edges:
        assert np.array_equal(channel.numpy() * 255, wanted)
    with pytest.raises(UserError, match="low: must be at most high, which is 100, got 200"):
        Canny(low=200, high=100)


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    """A Depth Anything with random weights, in the hub's layout."""
    folder = tmp_path_factory.mktemp("depth")
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 28}
    outputs = {"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False, "patch_size": 14}
    config = DepthAnythingConfig(
        backbone_config=Dinov2Config(**small, **outputs, apply_layernorm=True),
        reassemble_hidden_size=32, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=4, patch_size=14,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    Processor(size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


def test_depth_is_that_of_transformers_scaled_to_the_image(depth_folder, source_images):
    image = read_rgb(source_images[0], SIZE)
    condition = Depth(model=str(depth_folder), revision=None, dtype="float32")
    condition.require()
    with torch.inference_mode():
        depth = condition.load(Runtime.cpu())(to_tensor([image])[0])
        model = DepthAnythingForDepthEstimation.from_pretrained(depth_folder).eval()
        inputs = Processor.from_pretrained(depth_folder)(images=image, return_tensors="pt")
        raw = model(**inputs).predicted_depth[None]
    assert raw.std() > 0
    raw = torch.nn.functional.interpolate(raw, (SIZE, SIZE), mode="bicubic")[0, 0]
    wanted = (raw - raw.min()) / (raw.max() - raw.min())
    assert depth.shape == (3, SIZE, SIZE)
    torch.testing.assert_close(depth[1], wanted, atol=1e-5, rtol=0)


def test_depth_conditions_are_the_same_in_every_batch(make, depth_folder, rows, generate):
    depth = Depth(model=str(depth_folder), revision=None, dtype="float32")
    one, all_ = (generate(make(condition=depth), rows, size) for size in (1, 7))
    edges = generate(make(), rows, 7)
    for row in rows:
        image = one[row.image_id].pixels
        torch.testing.assert_close(image, all_[row.image_id].pixels, atol=1e-4, rtol=0)
        assert (image - edges[row.image_id].pixels).abs().max() > 0.01
    assert "images.condition" in loaded_weights({"images": make(condition=depth)})


def test_another_kind_of_model_is_refused_as_a_source_of_depth(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="images.condition.model: must be a model for depth"):
        Depth(model=str(tmp_path), revision=None, dtype="float32").require()
    metric = {"architectures": ["DepthAnythingForDepthEstimation"]}
    text = json.dumps(metric | {"depth_estimation_type": "metric"})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="must be a model for inverse depth"):
        Depth(model=str(tmp_path), revision=None, dtype="float32").require()


def test_the_plans_memory_has_both_networks(make, make_img2img, folders):
    control = ControlNetModel.from_pretrained(folders["sd"][1])
    both, plain = make().memory(), make_img2img().memory()
    assert both.parameters == plain.parameters + control.num_parameters()
    assert both.line().startswith("diffusion + sd_control: ")

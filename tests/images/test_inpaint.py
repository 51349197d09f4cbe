"""`images=inpaint` against diffusers' inpainting pipelines; masks and what they must be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
)
from PIL import Image
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    ViTImageProcessor,
)

from sip.core.errors import UserError
from sip.core.image_io import read_rgb, to_tensor
from sip.dataset.base import Sample
from sip.dataset.csv_file import CsvFile
from sip.dataset.huggingface import HuggingFace
from sip.device.settings import Runtime
from sip.images.inpaint import Inpaint
from sip.images.masks.clipseg import ClipSeg
from sip.images.masks.files import read_mask
from sip.images.masks.stored import ColumnMasks, FileMasks
from sip.prompts.base import Companion, Span
from sip.stack.tokenizers import clip_tokenizer
from tests.images import models
from tests.images.conftest import settings
from tests.images.models import SIZE
from tests.images.stock import assert_equal, call, stock

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCALES = [0.5, 1.1, 7.0, 2.35]
SUBSET = {"shots": None, "fraction": None, "imbalance": None, "label_noise": None, "seed": 0}
RATES = [0.5, 0.75, 1.0]


@pytest.fixture(scope="module")
def folders(model_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("inpaint")
    torch.manual_seed(0)
    reading = models.save_sd(root / "reading", denoiser=models.inpainting_unet())
    index = reading / "model_index.json"
    name = '"StableDiffusionPipeline"'
    index.write_text(index.read_text().replace(name, '"StableDiffusionInpaintPipeline"'))
    return {
        "sd": model_folder,
        "sd reads": reading,
        "sdxl": models.save_sdxl(root / "sdxl"),
        "sdxl reads": models.save_sdxl(root / "sdxl_reads", in_channels=9),
    }


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Three masks of different shapes, as (path, white pixels)."""
    folder = tmp_path_factory.mktemp("masks")
    white = np.zeros((3, SIZE, SIZE), np.uint8)
    white[0, 4:20, 6:30] = 255
    white[1, :, :13] = 255
    white[2, 10:27, 3:9] = 255
    paths = [str(folder / f"{number}.png") for number in range(3)]
    for path, pixels in zip(paths, white, strict=True):
        Image.fromarray(pixels).save(path)
    return [Companion(f"mask-{number}", path) for number, path in enumerate(paths)]


@pytest.fixture
def rows(make_prompt, masks):
    """Rows of mixed guidance, noise rate, seed, original and mask."""
    return [
        make_prompt(
            index,
            spans=(Span(f"a photo of a {('three', 'seven', 'nine')[index % 3]}", 1.0),),
            guidance_scale=SCALES[index % 4],
            noise_rate=RATES[index // 2 % 3],
            negative_prompt="" if index % 4 else "thin strokes",
            mask=masks[(index + index // 3) % 3],
        )
        for index in range(7)
    ]


@pytest.fixture
def make(folders):
    def made(name="sd", kept="black", **changes):
        values = {"paste": False, "masks": FileMasks(folder="masks", kept=kept), "num_steps": 4}
        return Inpaint(**(settings(folders[name]) | values | changes))

    return made


def expect(pipeline, row, **kwargs):
    return call(pipeline, row, 4, mask_image=Image.open(row.mask.path), **kwargs)


@pytest.fixture(scope="module")
def expected(folders):
    """Return what the stock pipeline of a model generates for a row; each once."""
    pipelines, images = {}, {}

    def of(name, row):
        is_xl = name.startswith("sdxl")
        if name not in pipelines:
            kind = StableDiffusionXLInpaintPipeline if is_xl else StableDiffusionInpaintPipeline
            scheduler = EulerDiscreteScheduler if is_xl else None
            pipelines[name] = stock(kind, folders[name], scheduler)
        if (name, row.image_id) not in images:
            texts = {"negative_prompt": row.negative_prompt or None} if is_xl else {}
            images[name, row.image_id] = expect(pipelines[name], row, **texts)
        return images[name, row.image_id]

    return of


@pytest.mark.parametrize("name", ["sd", "sd reads", "sdxl", "sdxl reads"])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_each_row_equals_the_stock_pipeline(make, expected, rows, generate, name, batch_size):
    scheduler = "euler" if name.startswith("sdxl") else "ddim"
    generated = generate(make(name, scheduler=scheduler), rows, batch_size)
    assert_equal(generated, rows, lambda row: expected(name, row))


@pytest.mark.parametrize("name", ["sd", "sd reads"])
def test_noise_of_later_steps_comes_after_that_of_the_masked_image(
    make, folders, rows, generate, name
):
    generated = generate(make(name, scheduler="lcm"), rows, 7)
    pipeline = stock(StableDiffusionInpaintPipeline, folders[name], LCMScheduler)
    assert_equal(generated, rows, lambda row: expect(pipeline, row))


@pytest.mark.parametrize("kept", ["white", "black"])
def test_pasted_pixels_are_the_original_and_the_others_are_generated(make, rows, generate, kept):
    pasted = generate(make(kept=kept, paste=True), rows, 4)
    plain = generate(make(kept=kept), rows, 4)
    for row in rows:
        white = read_mask(row.mask.path, SIZE)[0] == 1
        stays = white if kept == "white" else ~white
        original = torch.tensor(np.asarray(read_rgb(row.source, SIZE))).permute(2, 0, 1) / 255
        got = pasted[row.image_id].pixels
        assert torch.equal(got[:, stays], original[:, stays])
        assert torch.equal(got[:, ~stays], plain[row.image_id].pixels[:, ~stays])
        assert (got - original)[:, ~stays].abs().max() > 0.05


def test_the_mask_is_part_of_the_key(rows, masks):
    row = rows[0]
    assert replace(row, mask=replace(row.mask, path="elsewhere")).image_id == row.image_id
    ids = {replace(row, mask=mask).image_id for mask in [*masks, None]}
    assert len(ids) == 4


def test_a_model_that_reads_a_mask_gets_one(folders, make_img2img, rows):
    with pytest.raises(UserError, match="images: must be inpaint for .* set images=inpaint"):
        make_img2img(model=str(folders["sd reads"])).check(rows)


def test_other_models_are_refused(make, rows, tmp_path):
    folder = models.save_sd3(tmp_path / "sd3")
    with pytest.raises(UserError, match=r"must be Stable Diffusion .* images=inpaint"):
        make(model=str(folder), scheduler="euler").check(rows)


def sample(name, width=40, height=30):
    return Sample(name, f"/data/{name}", 0, "seven", "train", width, height, "sha")


def save(folder, name, pixels):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_files_are_looked_up_by_the_image_and_known_by_content(tmp_path):
    pixels = np.zeros((15, 20), np.uint8)  # half the size: the same shape
    pixels[3:6] = 255
    for name in ("train/seven/a.png", "train/nine/b.png"):
        save(tmp_path, name, pixels)
    samples = [sample("train/seven/a.jpg"), sample("train/nine/b.jpg")]
    found = FileMasks(folder=str(tmp_path), kept="white").of(samples)
    assert [mask.path for mask in found.values()] == [
        str(tmp_path / "train/seven/a.png"),
        str(tmp_path / "train/nine/b.png"),
    ]
    assert len({mask.key for mask in found.values()}) == 1
    save(tmp_path, "train/nine/b.png", 255 - pixels)
    again = FileMasks(folder=str(tmp_path), kept="white").of(samples)
    assert again["train/nine/b.jpg"].key != found["train/nine/b.jpg"].key


def test_missing_masks_are_named_together(tmp_path):
    save(tmp_path, "a.png", np.eye(30, 40, dtype=np.uint8) * 255)
    samples = [sample(f"{name}.jpg") for name in "abc"]
    with pytest.raises(UserError, match="got none for 2 images: b.jpg, c.jpg; add them") as caught:
        FileMasks(folder=str(tmp_path), kept="white").of(samples)
    assert "\n" not in str(caught.value)


def test_masks_that_do_not_fit_are_named_together(tmp_path):
    half = np.zeros((30, 40), np.uint8)
    half[:15] = 255
    save(tmp_path, "good.png", half)
    save(tmp_path, "square.png", half[:, :30])
    save(tmp_path, "ones.png", half // 255)
    save(tmp_path, "full.png", np.full_like(half, 255))
    save(tmp_path, "alpha.png", np.dstack([half] * 4))
    (tmp_path / "broken.png").write_bytes(b"none")
    names = ("good", "square", "ones", "full", "alpha", "broken")
    with pytest.raises(UserError, match="got 5 files that do not fit") as caught:
        FileMasks(folder=str(tmp_path), kept="white").of([sample(f"{n}.jpg") for n in names])
    for text in ("30 x 30 px", "grey levels of 0 .. 1", "keeps the whole", "transparency"):
        assert text in str(caught.value)


def test_a_column_of_paths_gives_the_masks(tmp_path):
    pixels = np.zeros((6, 8), np.uint8)
    pixels[2:] = 255
    for name in ("1.png", "2.png", "m/1.png"):
        save(tmp_path, name, pixels)
    table = tmp_path / "list.csv"
    table.write_text("path,label,split,mask\n1.png,a,train,m/1.png\n2.png,b,train,\n")
    dataset = CsvFile(
        path=str(table),
        root=None,
        path_column="path",
        label_column="label",
        split_column="split",
        val_fraction=0.0,
        test_fraction=0.0,
        split_seed=0,
        prompt_names={},
        **SUBSET,
    )
    masks = ColumnMasks(dataset=dataset, column="mask", kept="white")
    first, second = dataset.samples("train")
    assert masks.of([first])["1.png"].path == str(tmp_path / "m/1.png")
    with pytest.raises(UserError, match=r"\(column mask of the data set\), got none for .* 2.png"):
        masks.of([first, second])
    with pytest.raises(UserError, match="images.masks.column: must be one of path, label"):
        ColumnMasks(dataset=dataset, column="nothing", kept="white").of([first])


def test_a_column_of_images_gives_the_masks(tmp_path):
    datasets = pytest.importorskip("datasets")
    images = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    pixels = np.zeros((2, 6, 8), np.uint8)
    pixels[0, 2:], pixels[1, :, :3] = 255, 255
    columns = {"image": images, "label": ["a", "b"], "mask": [*map(Image.fromarray, pixels)]}
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Value("string"), "mask": datasets.Image()}
    )
    table = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"train": table}).save_to_disk(str(tmp_path / "data"))
    dataset = HuggingFace(
        path=str(tmp_path / "data"),
        config=None,
        revision=None,
        root=str(tmp_path / "root"),
        splits={"train": "train", "val": None, "test": None},
        image_column="image",
        label_column="label",
        val_fraction=0.0,
        test_fraction=0.0,
        split_seed=0,
        prompt_names={},
        pretrain_fraction=None,
        train_part="train",
        **SUBSET,
    )
    samples = dataset.samples("train")
    found = ColumnMasks(dataset=dataset, column="mask", kept="white").of(samples)
    for sample, white in zip(samples, pixels, strict=True):
        mask = read_mask(found[sample.sample_id].path, None)[0]
        assert torch.equal(mask, torch.from_numpy(white / 255).float())
    with pytest.raises(UserError, match="images.masks.column: must be one of"):
        ColumnMasks(dataset=dataset, column="nothing", kept="white").of(samples)


@pytest.fixture(scope="module")
def clipseg_folder(tmp_path_factory):
    """A tiny CLIPSeg with random weights, in the hub's layout."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("clipseg") / "model"
    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    tokenizer = clip_tokenizer()
    text = small | {"num_hidden_layers": 2, "vocab_size": len(tokenizer)}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPSegConfig(
        text_config=text | ends,
        vision_config=small | {"num_hidden_layers": 4, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        reduce_dim=8,
        extract_layers=[0, 1, 2],
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    model = CLIPSegForImageSegmentation(config)
    with torch.no_grad():
        model.decoder.transposed_convolution.weight.mul_(50)
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    image_processor = ViTImageProcessor(size=size, do_normalize=True)
    CLIPSegProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder


def clipseg(folder, **changes):
    values = {"model": str(folder), "revision": None, "dtype": "float32", "kept": "white"}
    return ClipSeg(**(values | {"text": "a photo of a {label}", "threshold": 0.5} | changes))


def test_clipseg_marks_what_transformers_gives_it(clipseg_folder, source_images):
    segmenter = clipseg(clipseg_folder).load(Runtime.cpu())
    processor = CLIPSegProcessor.from_pretrained(clipseg_folder, backend="pil")
    model = CLIPSegForImageSegmentation.from_pretrained(clipseg_folder)
    image = read_rgb(source_images[0], SIZE)
    with torch.no_grad():
        inputs = processor(text=["a photo of a seven"], images=[image], return_tensors="pt")
        probability = model(**inputs).logits.view(SIZE, SIZE).sigmoid()
        found = segmenter.mask(to_tensor([image])[0], "a photo of a seven")
    assert torch.equal(found[0], (probability >= 0.5).float())
    assert 0.1 < found.mean() < 0.9


def test_masks_of_a_model_are_the_same_in_every_batch(make, clipseg_folder, make_prompt, generate):
    masks = clipseg(clipseg_folder)
    rows = [make_prompt(index, noise_rate=0.75) for index in range(3)]
    samples = [replace(sample(row.sample_id), class_name=row.class_name) for row in rows]
    found = masks.of(samples)
    assert len({mask.key for mask in found.values()}) == 3  # of three classes
    rows = [replace(row, mask=found[row.sample_id]) for row in rows]
    alone, together = (
        generate(make("sd reads", masks=masks, paste=True), rows, num) for num in (1, 3)
    )
    for row in rows:
        first, second = alone[row.image_id].pixels, together[row.image_id].pixels
        torch.testing.assert_close(first, second, atol=1e-4, rtol=0)

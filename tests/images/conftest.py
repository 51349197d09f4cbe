"""A tiny Stable Diffusion with random weights, and lists of prompts for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from sip.config.cli import conf_folder
from sip.core.shapes import Size
from sip.device.settings import Runtime
from sip.images.base import ImageResult
from sip.images.batches import group_rows, read_batch
from sip.images.img2img import Img2Img
from sip.images.module import ImageModule
from sip.images.settings import DiffusionSettings
from sip.images.txt2img import Txt2Img
from sip.prompts.base import Prompt, Span
from sip.prompts.weighting.compel import CompelWeighting
from tests.images import models
from tests.images.models import SIZE

NUM_STEPS = 10


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_sd(tmp_path_factory.mktemp("model") / "diffusion")


@pytest.fixture(scope="session")
def source_images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three source images; the last is neither square nor of the right size."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = []
    for index, (height, width) in enumerate([(8, 8), (8, 8), (12, 9)]):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((width * 4, height * 4), Image.Resampling.BICUBIC)
        paths.append(str(folder / f"{index}.png"))
        image.save(paths[-1])
    return paths


@pytest.fixture
def make_prompt(source_images):
    def make(index: int, **changes) -> Prompt:
        words = ("three", "seven", "nine")[index % 3]
        values = {
            "sample_id": f"sample-{index}",
            "source": source_images[index % 3],
            "source_sha256": f"sha-{index % 3}",
            "label": index % 3,
            "class_name": words,
            "variant": index // 3,
            "spans": (
                Span("a photo of a ", 1.0),
                Span(words, 1.5),
                Span(", ", 1.0),
                Span("bold lines (wide)", 0.9),
            ),
            "negative_prompt": "",
            "guidance_scale": 3.0,
            "noise_rate": 0.5,
            "seed": 1000 + index,
            "caption": None,
            "similarity": None,
        }
        return Prompt(**(values | changes))

    return make


@pytest.fixture
def shaped(make_prompt, tmp_path):
    """Four rows whose originals are wide, high, longer than 2:1 and square."""
    rng = np.random.default_rng(1)
    rows = []
    for index, size in enumerate([Size(44, 33), Size(30, 46), Size(120, 40), Size(20, 20)]):
        pixels = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
        path = tmp_path / f"{index}.png"
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
        values = {"source": str(path), "source_sha256": f"shape-{index}", "source_size": size}
        values |= {"guidance_scale": (2.35, 7.0, 1.1, 3.5)[index]}
        spans = (Span(f"a photo of a {'bold ' * (index % 3)}nine", 1.0),)
        rows.append(make_prompt(index, spans=spans, **values))
    return rows


def settings(model_folder: Path, **changes) -> dict:
    """Return the values of conf/images/img2img.yaml with a small model."""
    values = OmegaConf.to_container(OmegaConf.load(conf_folder() / "images" / "img2img.yaml"))
    del values["_target_"]
    small = {"model": str(model_folder), "revision": None, "num_steps": NUM_STEPS, "size": SIZE}
    small |= {"scheduler": "ddim"}
    return values | small | {"dtype": "float32", "weighting": CompelWeighting()} | changes


@pytest.fixture
def make_img2img(model_folder):
    return lambda **changes: Img2Img(**settings(model_folder, **changes))


@pytest.fixture
def make_txt2img(model_folder):
    return lambda **changes: Txt2Img(**settings(model_folder, **changes))


@pytest.fixture
def generate():
    """Generate the images of a list, with a component or an engine; return them by image id."""

    def generate_all(
        generator: DiffusionSettings | ImageModule,
        prompts: list[Prompt],
        batch_size: int = 4,
        runtime: Runtime | None = None,
    ) -> dict[str, ImageResult]:
        if isinstance(generator, ImageModule):
            engine, settings = generator, generator.settings
        else:
            settings = generator
            settings.check(prompts)
            engine = settings.load(runtime or Runtime.cpu())
        rows: list[ImageResult] = []
        with torch.inference_mode():
            for batch in group_rows(prompts, batch_size, settings.group):
                size = settings.size_of(batch[0]) if settings.reads_source else None
                rows += engine.predict_step(read_batch(batch, size, num_full=batch_size))
        by_id = {row.image_id: row for row in rows}
        assert len(by_id) == len(rows)
        return by_id

    return generate_all

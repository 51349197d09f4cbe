"""A tiny Stable Diffusion, a folder of images of two classes, and adaptations of a few steps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig
from PIL import Image

from sip.adapt import watch
from sip.adapt.job import Adaptation
from tests.composing import composed
from tests.images import models
from tests.images.conftest import generate

__all__ = ["generate"]  # a fixture here too

CLASSES = ("three", "nine")
STEPS = 4
QUICK = (
    f"method.steps={STEPS}",
    "method.batch_size=2",
    "method.validate_every=2",
    "method.validation_steps=2",
    "images.size=32",
    "images.scheduler=ddim",
    "images.num_steps=4",
    "runtime.device=cpu",
    "runtime.num_threads=1",
    "dataset.test_fraction=0",
    "dataset.val_fraction=0",
)

LORA = (
    *("method.train_text_encoder=true", "method.lr=0.02", "method.alpha=8", "method.accumulate=2"),
    "method.targets=[to_k,to_out.0,ff.net.2,conv1]",
)
Configure = Callable[..., DictConfig]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_sd(tmp_path_factory.mktemp("model") / "diffusion")


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of each class; those of a class are alike."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        base = rng.integers(0, 256, (8, 8, 3))
        (folder / name).mkdir()
        for number in range(3):
            pixels = (base + rng.integers(-20, 20, base.shape)).clip(0, 255).astype(np.uint8)
            image = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)
            image.save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def configure(model_folder: Path, image_folder: Path) -> Configure:
    """Return a function that returns the configuration of a short adaptation."""

    def make(folder: Path, *overrides: str, model: Path = model_folder) -> DictConfig:
        words = (
            *("dataset=image_folder", f"dataset.root={image_folder}", f"images.model={model}"),
            *(word for word in QUICK if word.partition("=")[0] not in _keys(overrides)),
            *overrides,
        )
        return composed(*words, name="adapt", folder=folder)

    return make


def _keys(overrides: tuple[str, ...]) -> set[str]:
    return {word.partition("=")[0] for word in overrides}


def adapted(config: DictConfig) -> Path:
    """Adapt; return the run folder."""
    work = Adaptation(config)
    work.run()
    (folder,) = Path(config.paths.runs).glob(f"adapt-*-{work.method.name}-*")
    return folder


@pytest.fixture(scope="session")
def lora_run(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an unbroken LoRA training, of U-Net and text encoder."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(watch, "LOG_EVERY", 1)
        return adapted(configure(tmp_path_factory.mktemp("lora"), *LORA))


@pytest.fixture(scope="session")
def words_run(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a textual inversion."""
    folder = tmp_path_factory.mktemp("words")
    return adapted(configure(folder, "method=textual_inversion", "method.lr=0.5"))

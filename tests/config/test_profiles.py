"""The paper's profile: all of it composes, and without weights it stops before any work."""

from itertools import product
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from sip.config.build import build
from sip.core.errors import UserError
from sip.jobs.train import train
from sip.pipeline.offline import Offline
from tests.composing import composed

CONF = Path(__file__).resolve().parents[2] / "conf"
DATASETS = (
    "cifar10", "cifar100", "caltech101", "stanford_cars", "flowers102", "oxford_pets", "dtd",
)  # fmt: skip
BACKBONES = ("resnet50", "vit", "clip_vit")


def config(folder: Path, *overrides: str) -> DictConfig:
    return composed(*overrides, folder=folder)


@pytest.mark.parametrize(("dataset", "backbone"), list(product(DATASETS, BACKBONES)))
def test_every_cell_of_the_paper_composes_and_builds(
    tmp_path: Path, dataset: str, backbone: str
) -> None:
    job = config(
        tmp_path, f"+exp={backbone}_sip", "profile=paper", f"dataset={dataset}", "logger=csv"
    )
    OmegaConf.to_container(job, resolve=True, throw_on_missing=True)
    assert job.dataset.name == dataset or job.dataset.reader
    assert build(job.backbone).name == job.profile.backbone[backbone].name
    assert build(job.augmentation).offline.generates
    recipe = build(job.classifier)
    assert (
        recipe.lr == job.profile.classifier["scratch" if backbone == "resnet50" else "finetune"].lr
    )
    offline = Offline(job)
    assert offline.recipe()["images"]["weights"]["revision"] == job.profile.diffusion.revision
    assert (offline.writer.label_weight, offline.writer.caption_weight) == (1.5, 0.9)


def test_missing_weights_stop_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="Salesforce/blip-image-captioning-base") as error:
        train(config(tmp_path, "+exp=resnet50_sip", "profile=paper", "logger=csv"))
    assert str(error.value).startswith("weights: 3 models not on this disk")
    assert "download" in str(error.value)
    assert not (tmp_path / "runs").exists()

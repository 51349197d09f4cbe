"""profile=cifar10: it composes, says what makes its models, and its commands have their help."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sip.config.build import build
from sip.core.errors import UserError
from sip.jobs.train_job import TrainJob
from sip.stack.folder import folder_of
from sip.weights.source import require
from tests.composing import composed
from tests.stack.made_up import CONF, write_parquet

ROOT = Path(__file__).parents[2]
SWEEPS = sorted(file.stem for file in (CONF / "sweep").glob("cifar10*.yaml"))


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18", "resnet_mini"])
@pytest.mark.parametrize("source", ["cifar10", "cifar10_parquet", "huggingface"])
def test_it_composes_with_each_source(tmp_path: Path, backbone: str, source: str) -> None:
    column = ["dataset.label_column=class_name"] if source == "huggingface" else []
    data = [] if source == "cifar10" else [f"dataset.path={write_parquet(tmp_path / 'cifar10')}"]
    config = composed(
        "profile=cifar10", f"dataset={source}", f"backbone={backbone}", *column, *data,
        f"paths.data={tmp_path / 'data'}", "augmentation=none", "dataset.shots=null",
    )  # fmt: skip
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    dataset = build(config.dataset)
    assert dataset.pretrain_fraction == 0.8 and dataset.all_splits[0] == "pretrain"
    assert build(config.backbone).stem == (None if backbone == "resnet_mini" else "3x3_s1")
    if data:
        assert dataset.class_names == ("frog", "ship")
        sizes = [len(dataset.samples(part)) for part in ("pretrain", "train", "val", "test")]
        assert sizes == [64, 12, 4, 8]  # 80: 0.8, and 0.2 of the rest
        assert TrainJob(config).recipe["dataset"]["pretrain_fraction"] == 0.8


def test_without_its_models_it_names_the_command(tmp_path: Path) -> None:
    config = composed("profile=cifar10", f"profile.stack={tmp_path}/models/cifar10-small")
    with pytest.raises(UserError, match="-> python -m sip.stack.build profile=cifar10 size=small"):
        require(config.profile.diffusion.model, None)
    assert config.backbone.stem == "3x3_s1"
    tiny = composed("profile=cifar10", "backbone=vit").backbone.weights
    assert tiny == "models/cifar10-tiny/vit"
    with pytest.raises(UserError, match="size=tiny"):
        require(tiny, None)
    own = r"profile=own profile\.name=flowers dataset\.root=FOLDER size=small"
    with pytest.raises(UserError, match=own):
        require("models/flowers-small/vit", None)


def test_a_stack_of_ones_own_has_a_profile() -> None:
    names = ("profile=own", "profile.name=flowers", "dataset.root=images")
    config = composed(*names, "backbone=clip_vit", "augmentation=sip")
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert config.backbone.weights == "models/flowers-tiny/clip_vit"
    assert config.dataset._target_.endswith("ImageFolder")
    built = composed(*names, "size=small", name="stack")
    assert folder_of(built) == Path("models/flowers-small")
    assert folder_of(composed("folder=here", name="stack")) == Path("here")


def test_resnet18s_check_of_the_trainer_states_the_usual_recipe() -> None:
    config = composed("+exp=cifar10_resnet18")
    recipe = build(config.classifier)
    passes = recipe.steps * recipe.batch_size / 49_000
    assert passes == pytest.approx(30, abs=0.1)
    assert config.dataset.pretrain_fraction is None and config.dataset.shots is None
    assert config.augmentation.sample.padding == 4
    assert (recipe.lr, config.backbone.stem) == (0.1, "3x3_s1")


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_name_what_exists(name: str) -> None:
    params = composed(name=f"sweep/{name}", hydra=True).hydra.sweeper.params
    groups, keys = {"augmentation", "backbone", "captions"}, []
    for key, values in params.items():
        (override,) = OverridesParser.create().parse_overrides([f"{key}={values}"])
        chosen = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
        if key in groups:
            assert all((CONF / key / f"{value}.yaml").exists() for value in chosen), chosen
        else:
            keys.append(f"{key}={(chosen or [values])[-1]}")
    composed("profile=cifar10", *keys)


@pytest.mark.parametrize("module", ["build", "quality"])
def test_help_answers_without_heavy_imports(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"sip.stack.{module}", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "sip.stack.build" in done.stdout and "cifar10" in done.stdout
    keys = OmegaConf.load(CONF / "stack.yaml").keys() - {"defaults", "paths"}
    listed = dict(re.findall(r"^(\w+): .*?  # (.+)$", done.stdout, re.MULTILINE))
    assert keys == listed.keys() and all(len(meaning) > 5 for meaning in listed.values())
    groups = re.findall(r"^([a-z/]+): [\w, ]+$", done.stdout, re.MULTILINE)
    assert groups == ["dataset", "logger", "profile", "runtime"]
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)

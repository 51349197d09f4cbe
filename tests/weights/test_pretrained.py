"""Loading converts the weights, and never fills a model with random numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from sip.core.component import Component, component, known_by
from sip.core.errors import UserError
from sip.weights.pretrained import Pretrained, load_transformer


@component
class Tower(Component, Pretrained):
    """A frozen component with a model."""

    model: str = known_by("weights")
    revision: str | None = None
    dtype: str = "float32"

    def _load_processor(self, folder: Path) -> Any:
        return folder.name


Tower.model_class = CLIPModel


@pytest.fixture
def clip(tmp_path: Path) -> CLIPModel:
    size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    text = {**size, "num_hidden_layers": 1, "vocab_size": 9}
    config = CLIPConfig(text_config=text, vision_config={**size, "num_hidden_layers": 1})
    model = CLIPModel(config).half()
    model.save_pretrained(tmp_path)
    return model


def test_a_frozen_component_loads_and_drops_its_model(clip: CLIPModel, tmp_path: Path) -> None:
    tower = Tower(str(tmp_path))
    tower.require()
    assert tower.network is None and Tower.network is None
    tower.load("cpu")
    network = tower.network
    assert tower.processor == tmp_path.name
    assert torch.equal(network.logit_scale, clip.logit_scale.float())
    tower.load("cpu")
    assert tower.network is network
    tower.clear()
    assert tower.network is None
    tower.load("cpu")
    assert torch.equal(tower.network.logit_scale, network.logit_scale)
    assert tower == Tower(str(tmp_path))
    assert tower.recipe()["weights"] == tower.weights and "model" not in tower.recipe()


def test_unknown_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected one of float32, .*, came 'int8'"):
        load_transformer(CLIPModel, str(tmp_path), None, "int8", "cpu")


def test_loading_converts_and_never_fills_with_random_numbers(
    clip: CLIPModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded = load_transformer(CLIPModel, str(tmp_path), None, "float32", "cpu")
    assert loaded.dtype == torch.float32 and not loaded.training
    assert torch.equal(loaded.visual_projection.weight, clip.visual_projection.weight.float())
    assert "Loading" not in capfd.readouterr().err

    changed = json.loads((tmp_path / "config.json").read_text())
    changed["text_config"]["num_hidden_layers"] = 2
    (tmp_path / "config.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match="expected the weights of a CLIPModel, 16 are missing"):
        load_transformer(CLIPModel, str(tmp_path), None, "float32", "cpu")

"""Loading converts the weights, and never fills a model with random numbers."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from sip.core.errors import UserError
from sip.weights.pretrained import Pretrained, load_transformer


class Tower(Pretrained):
    """A component with a model."""

    model_class: ClassVar[str] = "CLIPModel"

    def _processor(self, folder: Path) -> Any:
        return folder.name


@pytest.fixture
def clip(tmp_path: Path) -> CLIPModel:
    size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    text = {**size, "num_hidden_layers": 1, "vocab_size": 9}
    config = CLIPConfig(text_config=text, vision_config={**size, "num_hidden_layers": 1})
    model = CLIPModel(config).half()
    model.save_pretrained(tmp_path)
    return model


def test_a_component_reads_a_new_model_each_time(clip: CLIPModel, tmp_path: Path) -> None:
    tower = Tower(str(tmp_path), None, "float32")
    tower.require()
    network = tower.read_network("cpu")
    assert tower.read_processor() == tmp_path.name
    assert torch.equal(network.logit_scale, clip.logit_scale.float())
    assert tower.read_network("cpu") is not network
    assert tower == Tower(str(tmp_path), None, "float32")
    assert tower.recipe()["weights"] == tower.weights and "model" not in tower.recipe()


def test_unknown_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dtype: must be one of float32, .*, got 'int8'"):
        Tower(str(tmp_path), None, "int8")


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

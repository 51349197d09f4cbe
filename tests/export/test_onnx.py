"""The ONNX file gives PyTorch's logits for any number of images, with nothing else to know."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from sip.backbone.saved import SavedClassifier
from sip.classifier.predictor import Predictor
from sip.core.errors import UserError
from sip.export import onnx
from tests.backbone.test_saved import BACKBONES, NAMES, make, store
from tests.commands import run_module


@pytest.mark.parametrize("kind", ["resnet_mini", "vit"])
def test_onnxruntime_gives_our_logits_of_an_image(kind: str, tmp_path: Path) -> None:
    store(make(*BACKBONES[kind]), tmp_path / "run")
    output = tmp_path / "model.onnx"
    given = [f"run={tmp_path / 'run'}", "format=onnx", f"output={output}"]
    if kind == "resnet_mini":
        ended = run_module("sip.export", given, tmp_path / "said")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(f"{output}: the classifier as ONNX, opset 18; its logits")
        assert ended.stderr == ""
    else:
        assert onnx.export_onnx(tmp_path / "run", output) < 1e-4
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["class_names"]) == list(NAMES)
    side = int(facts["input_size"])
    predictor = Predictor(SavedClassifier.of(tmp_path / "run"), "cpu")
    for num in (1, 7):
        levels = np.random.default_rng(num).integers(0, 256, (num, 3, side, side), np.uint8)
        (logits,) = session.run(["logits"], {"images": levels.astype(np.float32) / 255})
        np.testing.assert_allclose(logits, predictor.logits(levels), atol=1e-4, rtol=1e-4)
    assert [file.name for file in tmp_path.glob("*model*")] == ["model.onnx"]


def test_what_is_of_images_is_refused(tmp_path: Path) -> None:
    given = [f"run={tmp_path}", "format=onnx", f"output={tmp_path}/model.onnx", "parts=[val]"]
    ended = run_module("sip.export", given, tmp_path / "said")
    assert ended.returncode == 2
    assert "parts: must be left out with format=onnx, which writes the cl" in ended.stderr


def test_other_logits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(make(*BACKBONES["resnet_mini"]), tmp_path)
    real = torch.nn.Module.eval

    def other(module: torch.nn.Module) -> torch.nn.Module:
        module = real(module)
        if isinstance(module, onnx.Normalised):
            module.register_forward_hook(lambda m, i, out: out + (0.01 if seen() else 0.0))
        return module

    def seen() -> bool:
        return not torch.compiler.is_exporting()

    monkeypatch.setattr(torch.nn.Module, "eval", other)
    with pytest.raises(UserError, match=r"logits must be PyTorch's up to 0.0001, got a difference"):
        onnx.export_onnx(tmp_path, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*model.onnx*"))


def test_a_network_that_torch_does_not_export_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(make(*BACKBONES["resnet_mini"]), tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such\n\noperator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(UserError, match=r"^format=onnx: must be .* got \w+: no such operator; ch"):
        onnx.export_onnx(tmp_path, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*model.onnx*"))


def test_refusals_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there.onnx").touch()
    for name in ("there.onnx", "model.pt"):
        with pytest.raises(UserError, match="output: must be a new file that ends in .onnx"):
            onnx.export_onnx(tmp_path, tmp_path / name)
    with pytest.raises(UserError, match="^output: must be in a folder that is there"):
        onnx.export_onnx(tmp_path, tmp_path / "a" / "b" / "model.onnx")
    with pytest.raises(UserError, match="run: must be the folder of a finished run"):
        onnx.export_onnx(tmp_path, tmp_path / "model.onnx")
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UserError, match=r"needs the packages onnxscript; pip .*\[onnx\]"):
        onnx.export_onnx(tmp_path, tmp_path / "model.onnx")

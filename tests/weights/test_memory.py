"""Memory by arithmetic: headers, a described network, and the published architectures agree."""

import json
from pathlib import Path

import huggingface_hub.constants
import pytest
from safetensors.numpy import load_file
from transformers import Qwen2_5_VLConfig

from sip.captions.blip import Blip
from sip.captions.vlm import ChatModel
from sip.weights.memory import described_parameters, memory_of

MINIATURE = Path(__file__).parents[2] / "sip" / "miniature" / "captioner"
SETTINGS = {
    "revision": None, "sampling": "nucleus", "top_p": 0.9, "num_beams": 1, "num_captions": 4,
    "min_tokens": 5, "max_tokens": 40, "seed": 0, "dtype": "bfloat16",
}  # fmt: skip
QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"


def blip(model: str) -> Blip:
    return Blip(model=model, **SETTINGS)


def qwen() -> ChatModel:
    return ChatModel(model=QWEN, instruction="Say it.", max_side=768, **SETTINGS)


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_headers_and_the_described_network_agree() -> None:
    stored = blip(str(MINIATURE)).memory().parameters
    described = described_parameters(MINIATURE, "BlipForConditionalGeneration")
    assert stored and stored == pytest.approx(described, rel=0.01)  # next to weights, positions


def test_a_captioner_of_7_billion_is_stated_without_its_weights(no_cache: Path) -> None:
    line = "Qwen2.5-VL-7B-Instruct: 8.3 B parameters, 15.4 GiB in bfloat16"
    assert qwen().memory_line() == line  # of the published architecture
    folder = no_cache / f"models--{QWEN.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
    text = {
        "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={**vision, "out_hidden_size": 3584},
        tie_word_embeddings=False,
    )
    config.save_pretrained(folder / "snapshots" / ("0" * 40))
    memory = qwen().memory()
    assert memory.parameters == 8_292_166_656  # as its card counts
    # 2 x 28 layers x 4 heads x 128 x 2 bytes, for 729 tokens of the image, 25 of the text, 40
    assert qwen().memory_line() == (
        f"{line}; 0.17 GiB for each image of a batch: keys and values of 4 x 794 tokens"
    )


@pytest.mark.parametrize("files", [["config"], ["processor_config"], []])
def test_code_of_a_model_is_not_offered_to_be_run(
    files: list[str], no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = no_cache / "models--some--model"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    code = {"auto_map": {name: "evil.Code" for name in ("AutoConfig", "AutoProcessor")}}
    for name in ("config", "processor_config"):
        values = {"model_type": "evil"} | (code if name in files else {})
        (snapshot / f"{name}.json").write_text(json.dumps(values))
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail(question))
    model = ChatModel(model="some/model", instruction="Say it.", max_side=768, **SETTINGS)
    unknown = "model: size unknown before its weights are on this disk; "
    assert model.memory_line().startswith(unknown)


def test_unknown_models_and_whole_pipelines(no_cache: Path) -> None:
    unknown = memory_of("some/model", None, "bfloat16")
    assert unknown.line() == "model: size unknown before its weights are on this disk"
    known = memory_of("stable-diffusion-v1-5/stable-diffusion-v1-5", None, "float16").line()
    assert known == "stable-diffusion-v1-5: 1.1 B parameters, 2.0 GiB in float16"


def test_a_pipeline_is_the_sum_of_the_parts_that_are_loaded() -> None:
    folder = MINIATURE.parent / "diffusion"
    parts = {
        file.parent.name: sum(tensor.size for tensor in load_file(file).values())
        for file in folder.glob("*/*.safetensors")
    }
    assert set(parts) == {"text_encoder", "unet", "vae"}
    number = sum(parts.values())
    whole = memory_of(str(folder), None, "float32")
    assert whole.parameters == number
    assert whole.line() == (
        f"diffusion: {number / 1e6:.0f} M parameters, {number * 4 / 2**20:.2g} MiB in float32"
    )
    without = memory_of(str(folder), None, "float32", without=("vae",))
    assert without.parameters == number - parts["vae"]


def test_keys_and_values_of_an_encoder_decoder() -> None:
    line = blip(str(MINIATURE)).memory_line()
    assert "for each image of a batch: keys and values of 4 x " in line

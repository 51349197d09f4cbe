"""Prompts that are cut and adapters that do not fit are found before any image is generated."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sip.core.errors import UserError
from sip.images.families.sd import StableDiffusion
from sip.images.folder import PipelineFolder
from sip.images.lengths import TextReader, cut_prompts, require_labels, text_readers
from sip.images.lora_fit import check_fit, check_words
from sip.pipeline.components import trial_prompt
from sip.prompts.base import Prompt, Span
from sip.weights.source import PACKAGE_PARENT

FOLDER = PipelineFolder(PACKAGE_PARENT / "sip" / "miniature" / "diffusion")
LONG = "thick strokes, leaning left, wide, heavy at the top, " * 5


def prompt(*texts: str, label: str = "five", negative: str = "") -> Prompt:
    spans = tuple(Span(text, 1.0) for text in texts)
    return replace(trial_prompt(0.5), class_name=label, spans=spans, negative_prompt=negative)


@pytest.fixture(scope="module")
def readers() -> list[TextReader]:
    return text_readers(FOLDER, StableDiffusion)


def test_cut_prompts_are_counted_and_named(readers: list[TextReader]) -> None:
    short, long = prompt("a photo of a ", "five"), prompt("a photo of a ", "five", LONG)
    assert cut_prompts(readers, [short]) == []
    (line,) = cut_prompts(readers, [short, long, long])
    assert line.startswith("2 of 3 are longer than the text encoder's 32 tokens and are cut, the f")
    assert "'a photo of a fivethick" in line
    (line,) = cut_prompts(readers, [prompt("five", negative=LONG)])
    assert line.startswith("prompts.negative_prompt is longer than")


def test_the_limit_is_exact(readers: list[TextReader]) -> None:
    (reader,) = readers
    num = [n for n in range(1, 60) if reader.fits((Span(" seven" * n, 1.0),))][-1]
    assert len(reader.tokenizer(" seven" * num).input_ids) <= 32
    assert len(reader.tokenizer(" seven" * (num + 1)).input_ids) > 32
    for letters in ("qz" * 30, f"é{'qz' * 30}"):  # a token each; the second needs the tokenizer
        tokens = [len(reader.tokenizer(letters[:num]).input_ids) for num in range(1, 60)]
        wanted = [num for num, length in enumerate(tokens, 1) if length <= 32]
        for whole in (reader, replace(reader, by_span=False)):  # as diffusers' pipelines read
            fit = [num for num in range(1, 60) if whole.fits((Span(letters[:num], 1.0),))]
            assert fit == wanted and 32 in tokens and 1 < len(fit) < 59


def test_a_label_that_is_cut_is_refused(readers: list[TextReader]) -> None:
    require_labels(readers, [prompt("a photo of a ", "five", LONG), prompt("no label")])
    for cut in (prompt(LONG, "five"), prompt("a photo of ", LONG, label=LONG)):
        with pytest.raises(UserError, match="class name within the 32 tokens") as caught:
            require_labels(readers, [cut])
        assert "\n" not in str(caught.value)
    longer = [*readers, replace(readers[0], length=500)]  # as T5 next to CLIP
    require_labels(longer, [prompt(LONG, "five")])
    assert "the 32 tokens of the CLIP encoder" in cut_prompts(longer, [prompt(LONG, "five")])[0]


def test_a_tokenizer_without_a_length_has_the_encoders(tmp_path: Path) -> None:
    shutil.copytree(FOLDER.path, tmp_path / "model")
    file = tmp_path / "model" / "tokenizer" / "tokenizer_config.json"
    file.write_text(file.read_text().replace("model_max_length", "another_key"))
    (reader,) = text_readers(PipelineFolder(tmp_path / "model"), StableDiffusion)
    assert reader.length == 32


@pytest.fixture(scope="module")
def module() -> tuple[str, int]:
    """A module of the U-Net that adapters change, and its width."""
    with safe_open(FOLDER.path / "unet" / "diffusion_pytorch_model.safetensors", "pt") as weights:
        key = next(key for key in weights.keys() if key.endswith("attn1.to_q.weight"))  # noqa: SIM118
        return key.removesuffix(".weight"), int(weights.get_slice(key).get_shape()[0])


def keys(style: str, module: str) -> list[str]:
    if style == "kohya":
        start = f"lora_unet_{module.replace('.', '_')}"
        return [f"{start}.lora_down.weight", f"{start}.lora_up.weight"]
    if style == "diffusers":
        return [f"unet.{module}.lora.down.weight", f"unet.{module}.lora.up.weight"]
    return [f"unet.{module}.lora_A.weight", f"unet.{module}.lora_B.weight"]


def adapter(tmp_path: Path, *names: list[str], width: int) -> Path:
    tensors = {}
    for down, up in names:
        tensors |= {down: torch.ones(4, width), up: torch.ones(width, 4)}
    save_file(tensors, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("style", ["kohya", "diffusers", "peft"])
def test_an_adapter_fits_in_whole_in_part_or_not(
    tmp_path: Path, module: tuple[str, int], style: str, capfd: pytest.CaptureFixture[str]
) -> None:
    name, width = module
    fitting, strange = keys(style, name), keys(style, name.replace("attn1", "attn9"))
    check_fit(adapter(tmp_path, fitting, width=width), FOLDER, StableDiffusion)
    assert "adapter" not in capfd.readouterr().err
    check_fit(adapter(tmp_path, fitting, strange, width=width), FOLDER, StableDiffusion)
    assert "1 of its 2 modules are in the model; 1 are not" in capfd.readouterr().err
    with pytest.raises(UserError, match="of whose 1 modules none is in the model"):
        check_fit(adapter(tmp_path, strange, width=width), FOLDER, StableDiffusion)
    with pytest.raises(UserError, match="made for another size"):
        check_fit(adapter(tmp_path, fitting, width=width + 1), FOLDER, StableDiffusion)


def test_learnt_words_have_a_vector_each(tmp_path: Path) -> None:
    width = FOLDER.config("text_encoder")["hidden_size"]
    file = tmp_path / "learned_embeds.safetensors"
    for shape in ((width,), (1, width)):
        save_file({"<five>": torch.ones(shape)}, file)
        check_words(file, FOLDER, StableDiffusion)
    save_file({"<five>": torch.ones(3, width)}, file)
    with pytest.raises(UserError, match="words of one vector each, got .* with 3 for <five>"):
        check_words(file, FOLDER, StableDiffusion)


def test_an_adapter_of_another_family_is_refused(tmp_path: Path) -> None:
    start = "transformer.transformer_blocks.0.attn.to_q"
    names = [f"{start}.lora_A.weight", f"{start}.lora_B.weight"]
    with pytest.raises(UserError, match="none is in the model, the first transformer"):
        check_fit(adapter(tmp_path, names, width=64), FOLDER, StableDiffusion)


@pytest.mark.parametrize("start", ["base_model.model.", "base_model.model.unet."])
def test_an_adapter_as_peft_writes_it_is_refused(
    tmp_path: Path, module: tuple[str, int], start: str
) -> None:
    name, width = module
    names = [f"{start}{name}.lora_A.weight", f"{start}{name}.lora_B.weight"]
    with pytest.raises(
        UserError, match="as diffusers writes it, got .* save_lora_weights"
    ) as error:
        check_fit(adapter(tmp_path, names, width=width), FOLDER, StableDiffusion)
    assert "\n" not in str(error.value)

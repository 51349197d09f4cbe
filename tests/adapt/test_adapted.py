"""Adapted generators: what diffusers' own loaders make of them, and what SIP generates."""

from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.images.adapted import AdapterRecord
from sip.images.naming import encoded_as
from sip.images.txt2img import Txt2Img
from sip.jobs.splits import num_learnt
from sip.pipeline.offline import Offline
from sip.prompts.base import Prompt, Span
from sip.weights import hub
from sip.weights.checksums import sha256_of
from sip.weights.missing import Missing, MissingWeightsError
from tests.adapt.conftest import CLASSES, STEPS, adapted
from tests.composing import composed
from tests.images import models
from tests.images.conftest import settings
from tests.images.stock import assert_equal, stock

NUM_STEPS = 4


def prompt(label: int) -> Prompt:
    name = CLASSES[label]
    spans = (Span(f"a photo of a {name}", 1.0),)
    return Prompt(name, "", name, label, name, 0, spans, "", 3.0, 1.0, label, None, None)


PROMPTS = [prompt(0), prompt(1)]


def generator(model: Path, **changes) -> Txt2Img:
    return Txt2Img(**settings(model, num_steps=NUM_STEPS, **changes))


def stock_image(pipeline, row: Prompt, text: str):
    return pipeline(
        text,
        num_inference_steps=NUM_STEPS,
        guidance_scale=row.guidance_scale,
        generator=torch.Generator().manual_seed(row.seed),
        height=32,
        width=32,
        output_type="pt",
    ).images[0]


def test_a_lora_is_read_by_the_stock_pipeline_which_generates_the_same(
    lora_run, model_folder, generate, capsys
):
    adapter = generator(model_folder, lora=str(lora_run))
    adapter.require()
    adapter.examine(PROMPTS)
    assert "are not and change nothing" not in capsys.readouterr().err
    generated = generate(adapter, PROMPTS)
    pipeline = stock(diffusers.StableDiffusionPipeline, model_folder)
    plain = [stock_image(pipeline, row, row.text) for row in PROMPTS]
    pipeline.load_lora_weights(lora_run)
    file = load_file(lora_run / "pytorch_lora_weights.safetensors")
    applied = sum(name.endswith("lora_A.default_0.weight")
                  for part in (pipeline.unet, pipeline.text_encoder)
                  for name, _ in part.named_parameters())  # fmt: skip
    assert len(file) == 2 * applied
    assert_equal(generated, PROMPTS, lambda row: stock_image(pipeline, row, row.text))
    changed = [(generated[row.image_id].pixels - before).abs().max() for row, before in
               zip(PROMPTS, plain, strict=True)]  # fmt: skip
    assert min(changed) > 0.01


def test_learnt_words_are_read_by_the_stock_pipeline_and_stand_for_the_labels(
    words_run, model_folder, generate
):
    record = AdapterRecord.read(words_run)
    assert record.names == {"nine": "<nine>", "three": "<three>"} and record.steps == STEPS
    adapter = generator(model_folder, lora=str(words_run))
    adapter.require()
    adapter.examine(PROMPTS)
    generated = generate(adapter, PROMPTS)
    pipeline = stock(diffusers.StableDiffusionPipeline, model_folder)
    own = pipeline.text_encoder.get_input_embeddings().weight.clone()
    words = load_file(words_run / "learned_embeds.safetensors")
    pipeline.load_textual_inversion([{word: vector} for word, vector in words.items()])
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[: len(own)], own)
    for word, vector in words.items():
        start = own[pipeline.tokenizer(word[1:-1], add_special_tokens=False).input_ids].mean(0)
        assert not torch.allclose(vector, start)  # it moved
    texts = {"three": "a photo of a <three>", "nine": "a photo of a <nine>"}
    assert_equal(generated, PROMPTS, lambda row: stock_image(pipeline, row, texts[row.class_name]))
    plain = generate(generator(model_folder), PROMPTS)
    assert not torch.allclose(plain[PROMPTS[0].image_id].pixels,
                              generated[PROMPTS[0].image_id].pixels, atol=0.01)  # fmt: skip


def test_the_recipe_knows_an_adapter_by_content_not_by_place(lora_run, words_run, model_folder,
                                                             tmp_path):  # fmt: skip
    recipes = []
    for number, run in enumerate((lora_run, lora_run, words_run)):
        copy = tmp_path / str(number)
        copy.mkdir()
        for file in run.iterdir():
            if file.is_file():
                (copy / file.name).write_bytes(file.read_bytes())
        recipes.append(generator(model_folder, lora=str(copy)).recipe()["adapter"])
    assert recipes[0] == recipes[1] != recipes[2]
    assert "names" not in recipes[0]["weights"]
    assert recipes[2]["weights"]["names"] == {"nine": "<nine>", "three": "<three>"}
    assert str(tmp_path) not in str(recipes)


@pytest.mark.parametrize("run", ["lora_run", "words_run"])
def test_an_adapter_of_another_model_is_refused(run, request, tmp_path):
    other = models.save_sd(tmp_path / "other", noise=models.v_prediction())
    scheduler = other / "scheduler" / "scheduler_config.json"
    assert "v_prediction" in scheduler.read_text()
    weights = other / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    save_file({name: value + 1e-3 for name, value in state.items()}, weights)
    adapter = generator(other, lora=str(request.getfixturevalue(run)))
    line = r"images.lora: must be an adapter of .*other, got .*, which was adapted from .*diffusion"
    with pytest.raises(UserError, match=line) as refused:
        adapter.require()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "fits"),
    [("stable-diffusion-v1-5/stable-diffusion-v1-5", False), ("somebody/unknown", True)],
)
def test_an_adapter_of_another_model_is_refused_before_weights(
    lora_run, tmp_path, monkeypatch, model, fits
):
    asked = []

    def fetch(name, *_):
        asked.append(name)
        raise MissingWeightsError.of(Missing(name, ""))

    monkeypatch.setattr(hub, "fetch", fetch)
    words = [f"images.lora={lora_run}", f"images.model={model}", "captions.model=a/b"]
    config = composed(*words, folder=tmp_path)
    line = "MISSING  images" if fits else rf"^images.lora: must be an adapter of {model}, got"
    with pytest.raises(UserError, match=line):
        Offline(config).require()
    assert ("a/b" in asked) is fits


@pytest.mark.parametrize(
    ("arm", "run", "method"),
    [("da_fusion_like", "lora_run", "textual_inversion"),
     ("datadream_like", "words_run", "lora or dreambooth_lora")],
)  # fmt: skip
def test_an_arm_takes_adapters_of_its_methods_only(arm, run, method, request, tmp_path):
    folder = request.getfixturevalue(run)
    arm = (f"augmentation={arm}", f"images.lora={folder}", "images.model=a/b", "captions.model=a/b")
    line = rf"images.lora: must be an adapter of method={method} for this arm, got .* of method="
    with pytest.raises(UserError, match=line):
        Offline(composed(*arm, folder=tmp_path)).require()
    with pytest.raises(MissingWeightsError):
        Offline(composed(*arm, "images.needs_lora=false", folder=tmp_path)).require()


def test_a_folder_that_is_no_adapter_is_refused(model_folder, tmp_path):
    line = r"^images.lora: must be the folder of a run of sip.adapt, with pytorch_lora_weights.saf"
    with pytest.raises(UserError, match=line):
        generator(model_folder, lora=str(model_folder)).require()
    file = tmp_path / "pytorch_lora_weights.safetensors"
    file.touch()
    with pytest.raises(UserError, match=rf"^images.lora: .*; give .*: images.lora={tmp_path}$"):
        generator(model_folder, lora=str(file)).require()
    for name in ("runs/nothing", "nothing"):
        with pytest.raises(UserError, match=rf"^images.lora: must be the folder .*'{name}'"):
            generator(model_folder, lora=name).require()
    mapping = {"model": "runs/x", "revision": None, "weight_name": "a.safetensors", "scale": 1.0}
    with pytest.raises(MissingWeightsError, match=r"MISSING  images.lora  runs/x"):
        generator(model_folder, lora=mapping).require()
    (tmp_path / "adapter.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapter.json: must be what sip.adapt writes"):
        generator(model_folder, lora=str(tmp_path)).require()


def test_the_label_is_replaced_where_it_first_stands_as_a_word():
    spans = (Span("a photo of a ", 1.0), Span("Cat", 1.5), Span(", a cat", 0.9))
    names = {"cat": "<cat>", "photo": "x"}
    replaced = encoded_as(spans, "cat", names)
    assert replaced == (spans[0], Span("<cat>", 1.5), spans[2])
    scattered = (Span("scatter", 1.0),)
    assert encoded_as(scattered, "cat", names) == scattered
    assert encoded_as(spans, "dog", names) == spans
    (special,) = encoded_as((Span("an f.1 (old)", 1.0),), "f.1 (old)", {"f.1 (old)": "<f>"})
    assert special.text == "an <f>"


def test_dreambooth_reads_the_identifier_and_keeps_class_images(configure, tmp_path):
    config = configure(tmp_path, "method=dreambooth_lora", "method.num_prior=2")
    run = adapted(config)
    record = AdapterRecord.read(run)
    assert record.names == {"nine": "sks nine", "three": "sks three"}
    assert len(list((tmp_path / "store").glob("images/txt2img-*/shards/*/*.png"))) == 4


def test_images_of_val_and_test_that_an_adapter_learnt_are_counted(lora_run, image_folder):
    record = AdapterRecord.read(lora_run)
    files = sorted(image_folder.glob("*/*.png"))
    assert record.learnt == tuple(sorted(sha256_of(file) for file in files))
    rows = [Sample(f.stem, str(f), 0, "x", "test", 32, 32, sha256_of(f)) for f in files[:2]]
    new = replace(rows[0], sha256="0" * 64)
    parts = {"train": rows, "val": [new], "test": [*rows, new]}
    assert num_learnt(record.learnt, parts) == {"val": 0, "test": 2}
    assert num_learnt(record.learnt, {"train": rows, "val": [], "test": []}) == {}

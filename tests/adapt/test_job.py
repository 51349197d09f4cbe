"""What is refused before work, what a plan says, and which texts and images are learnt."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from sip.adapt.data import ExampleStream, Learnt, encode_images
from sip.adapt.job import Adaptation
from sip.adapt.method import TextualInversion
from sip.adapt.model import LoadedModel
from sip.adapt.module import AdaptModule
from sip.adapt.names import placeholders
from sip.adapt.plan import plan_lines
from sip.adapt.watch import Watch
from sip.core.errors import UserError
from sip.core.image_io import read_rgb, to_tensor
from sip.images.families.sd import StableDiffusion
from sip.images.txt2img import Txt2Img
from sip.prompts.base import Span
from tests.adapt.conftest import CLASSES, LORA, adapted
from tests.composing import composed
from tests.docs.pages import ROOT
from tests.images import models
from tests.images.conftest import settings


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method.rank=0"], r"method.rank: must be a whole number >= 1, got 0"),
        (["method.warmup_steps=4"], r"method.warmup_steps: must be < steps \(4\), got 4"),
        (["method.templates=[a photo]"], r"method.templates: must be a template with \{label\}"),
        (["method.targets=[to_q,nothing]"], r"method.targets: must be ends of names .*, got "
         r"'?nothing'?; the names end in .*conv1.*to_q"),
        (["method.precision=16-mixed"], r"method.precision: must be 32-true or bf16-mixed on"),
        (["images.dtype=float16"], r"images.dtype: must be float32 or bfloat16 for a training"),
        (["images.dtype=float16", "method.precision=bf16-mixed"], r"images.dtype: must be float32"),
        (["images.lora=runs/x"], r"images.lora: must be null, as the model itself is adapted"),
        (["images=sd_turbo"], r"images: must be Stable Diffusion 1.x, 2.x or XL, not distilled to "
         r"few steps, to be adapted, got 'stabilityai/sd-turbo'; choose images=sd15"),
        (["images=retrieved"], r"images: must be a diffusion model on SIP's engine, got 'Retr"),
        (["dataset.shots=0"], r"dataset.shots: must be a whole number >= 1.*, got 0"),
        (["method.templates=null", "prompts=empty", "captions=class_name"],
         r"prompts: must be texts that name the class"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(configure, tmp_path, overrides, said):
    if overrides[0].startswith("images="):
        config = composed(*overrides, name="adapt", folder=tmp_path)
    else:
        config = configure(tmp_path, *overrides)
    with pytest.raises(UserError, match=said) as refused:
        Adaptation(config).run()
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("store/adapters/*/shards/*"))


def test_trackers_know_what_is_trained(configure, tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def see(*args, job_type, **named):
        assert job_type == "adapter"
        raise Seen

    monkeypatch.setattr("sip.tracking.loggers.start_run", see)
    monkeypatch.setattr("sip.tracking.safely.Safely.__call__", lambda self, call: call())
    with pytest.raises(Seen):
        Adaptation(configure(tmp_path, "logger=wandb")).run()


@pytest.mark.parametrize("flips", [True, False])
def test_latents_are_in_memory_once(model_folder, image_folder, flips):
    family = LoadedModel(Txt2Img(**settings(model_folder)), "cpu").family
    files = sorted(image_folder.glob("*/*.png"))[:2]
    latents = encode_images(family, [Learnt(str(file), "", "", ()) for file in files], 32, flips)
    assert latents.shape[:2] == (2, 2)
    assert latents.untyped_storage().nbytes() == latents[:, : 1 + flips].numel() * 4
    for pair, file in zip(latents, files, strict=True):
        pixels = to_tensor([read_rgb(str(file), 32)])
        views = [pixels, pixels.flip(-1) if flips else pixels]
        assert all(map(torch.equal, pair, [family.encode(view)[0] for view in views]))


@pytest.mark.parametrize(
    ("save", "method", "said"),
    [
        (models.save_sd3, "lora", "must be a Stable Diffusion 1.x, 2.x or XL to be adapted"),
        (models.save_sdxl, "textual_inversion", "method: must be lora or dreambooth_lora for a"),
        (lambda folder: models.save_sd(folder, denoiser=models.inpainting_unet()), "lora",
         "got one for inpainting"),
        (lambda folder: models.save_sd(folder, denoiser=models.distilled_unet()), "lora",
         "got one distilled to few steps"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_adapted_are_refused(configure, tmp_path, save, method, said):
    model = save(tmp_path / "other")
    with pytest.raises(UserError, match=said) as refused:
        Adaptation(configure(tmp_path, f"method={method}", model=model))
    assert "\n" not in str(refused.value)


def test_presets_say_whether_their_model_can_be_adapted():
    """Those of another family have no U-Net: their text encoders are no CLIP."""
    presets = [file.stem for file in (ROOT / "conf" / "images").glob("*.yaml")]
    found = {name for name in presets if composed(f"images={name}").images.get("adaptable")}
    assert found == {
        *("img2img", "txt2img", "inpaint", "diffusemix_like", "controlnet"),
        *("sd15", "sd15_canny", "sd15_depth", "sd15_hyper8", "sd15_lcm", "sd21"),
        *("sdxl", "sdxl_canny", "sdxl_depth", "sdxl_hyper8"),
    }


def test_a_plan_counts_and_measures_and_makes_nothing(configure, tmp_path, lora_run):
    overrides = ("method=dreambooth_lora", "method.num_prior=2", "method.accumulate=3")
    lines = plan_lines(Adaptation(configure(tmp_path, *overrides)))
    assert lines["to learn"] == "6 images of 2 classes"
    assert lines["class images"] == "4 to generate, 0 cached; 32 U-Net evaluations"
    assert lines["optimiser steps"] == "4, of 2 images, 3 times"
    assert lines["images through the U-Net"] == "48 forward, 48 backward"
    assert re.match(r"about [\d.]+ \w+, by 3 measured steps", lines["time to train"])
    assert lines["memory"].endswith("at most in these steps")
    assert not list(tmp_path.glob("store/*/*/shards/*")) and not (tmp_path / "runs").exists()
    cached = plan_lines(Adaptation(configure(lora_run.parents[1], *LORA)))
    assert cached["to train"] == "nothing, the adapter is cached" and len(cached) == 2


def test_only_the_training_part_with_its_shots_is_learnt(configure, tmp_path):
    split = ("dataset.shots=1", "dataset.test_fraction=0.34", "dataset.val_fraction=0.34")
    rows = Adaptation(configure(tmp_path, *split)).rows()
    work = Adaptation(configure(tmp_path, *split))
    held_out = {row.path for part in ("val", "test") for row in work.dataset.samples(part)}
    assert len(rows) == 2 and len(held_out) == 4
    assert held_out.isdisjoint(row.path for row in rows)


def test_texts_of_the_prompts_are_learnt_if_there_is_no_template(configure, tmp_path):
    config = configure(
        tmp_path,
        "method.templates=null",
        "prompts=real_guidance",
        "prompts.template='some {label}'",
    )
    assert [row.texts for row in Adaptation(config).rows()] == [
        ((Span(f"some {name}", 1.0),),) for name in sorted(CLASSES) for _ in range(3)
    ]


def test_sdxl_is_adapted_too(configure, tmp_path):
    model = models.save_sdxl(tmp_path / "xl")
    run = adapted(configure(tmp_path, "method.train_text_encoder=true", model=model))
    generator = Txt2Img(**settings(model, lora=str(run)))
    generator.require()
    generator._adapter_fits  # noqa: B018


def test_arms_that_rest_on_an_adapter_are_refused_without(model_folder):
    with pytest.raises(UserError, match=r"images.lora: must be an adapter of your classes .* null"):
        Txt2Img(**settings(model_folder, needs_lora=True)).require()
    Txt2Img(**settings(model_folder, needs_lora=False)).require()
    for arm in ("da_fusion_like", "datadream_like"):
        assert composed(f"augmentation={arm}").images.needs_lora
    assert not composed("augmentation=sip").images.needs_lora


class Vocabulary:
    def get_vocab(self):
        return {"<cat>": 1}


def test_learnt_words_are_new_and_different():
    names = placeholders(["cat", "Cat", "tabby cat (old)", "?"], [Vocabulary()])
    assert list(names.values()) == ["<cat-2>", "<cat-3>", "<tabby-cat-old>", "<class>"]
    assert isinstance(names, dict) and TextualInversion.pools is False


def stream(**changes) -> ExampleStream:
    texts = ((Span("a", 1.0),), (Span("b", 1.0),))
    rows = [Learnt("", str(number), "cat", texts) for number in range(3)]
    rows.append(Learnt("", "prior", "cat", texts[:1], is_prior=True))
    values = {"length": 30, "flip_prob": 0.5, "prior_weight": 0.25, "num_times": 1000}
    latents = torch.arange(8.0).view(4, 2, 1, 1, 1).expand(4, 2, 8, 2, 2)
    more = {"num_channels": 4, "seed": 0}
    return ExampleStream(rows, latents, [row.texts for row in rows], texts,
                         **values | more | changes)  # fmt: skip


def test_the_stream_depends_on_seed_and_position_only():
    first, second = stream(), stream(length=60)
    for position in (17, 3, 29):
        for one, other in zip(first[position], second[position], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(first[3][0].noise, stream(seed=1)[3][0].noise)
    assert not torch.equal(first[3][0].noise, first[4][0].noise)


def test_every_pass_has_every_image_mirrored_or_not_next_to_one_of_the_prior():
    examples = [stream()[position] for position in range(30)]
    for start in range(0, 30, 3):
        numbers = {float(own.latents[0, 0, 0]) // 2 for own, _ in examples[start : start + 3]}
        assert numbers == {0.0, 1.0, 2.0}
    assert {float(own.latents[0, 0, 0]) % 2 for own, _ in examples} == {0.0, 1.0}
    assert {float(prior.latents[0, 0, 0]) // 2 for _, prior in examples} == {3.0}
    assert [float(one.weight) for one in examples[0]] == [1.0, 0.25]
    assert {int(own.text) for own, _ in examples} == {0, 1}
    assert {int(prior.text) for _, prior in examples} == {0}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weighs_the_image_alike_in_both_predictions(prediction):
    noise = DDPMScheduler(prediction_type=prediction)

    class Module(AdaptModule):
        def __init__(self):
            self.__dict__["noise"] = noise
            self.__dict__["method"] = type("M", (), {"min_snr": 5.0})

    times = torch.tensor([0, 500, 999])
    alphas = noise.alphas_cumprod[times].double()
    expected = []
    for alpha in alphas.tolist():
        snr = alpha / (1 - alpha)
        expected.append(min(snr, 5) / (snr if prediction == "epsilon" else snr + 1))
    found = AdaptModule._weights(Module(), times).tolist()
    assert all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(found, expected, strict=True))


def test_prompts_that_are_too_many_to_be_held_are_embedded_as_they_come(
    configure, tmp_path, monkeypatch
):
    words = ("method.steps=3", "method.validate_every=null", "method.num_validation=1")
    words += ("method.templates=['a {label}','the {label}']", "method.precision=bf16-mixed")
    encode, numbers = StableDiffusion.encode_texts, []

    def count(self, weighting, prompts):
        assert not torch.is_autocast_enabled("cpu")
        numbers.append(len(prompts))
        return encode(self, weighting, prompts)

    monkeypatch.setattr(StableDiffusion, "encode_texts", count)
    weights = []
    for kept, num in ((4, 4), (3, 3 * 2)):  # each of the prompts once; those of each step
        monkeypatch.setattr(StableDiffusion, "texts_kept", kept)
        run = adapted(configure(tmp_path / str(kept), *words))
        weights.append((run / "pytorch_lora_weights.safetensors").read_bytes())
        assert sum(numbers) == num
        numbers.clear()
    assert weights[0] == weights[1]


def test_targets_are_refused_before_class_images_are_generated(configure, tmp_path):
    words = ("method=dreambooth_lora", "method.targets=[nothing]")
    with pytest.raises(UserError, match="method.targets: must be ends of names of the U-Net's"):
        Adaptation(configure(tmp_path, *words))


def test_losses_of_a_checkpoint_go_to_the_device_of_those_to_come():
    watch = Watch()
    watch.load_state_dict({"steps": [], "losses": [], "recent": torch.ones(2)})
    module = SimpleNamespace(device=torch.device("meta"))
    watch.on_train_start(SimpleNamespace(max_steps=4, global_step=2), module)
    watch.bar.close()
    assert [loss.device.type for loss in watch._recent] == ["meta", "meta"]


@pytest.mark.parametrize(
    ("method", "half"),
    [("lora", "float16"), ("textual_inversion", "float16"), ("textual_inversion", "bfloat16")],
)
def test_validation_images_of_half_precision_are_those_of_full(method, half, configure, tmp_path):
    words = (f"method={method}", "method.steps=1", "method.num_validation=1")
    words += ("method.precision=32-true",)
    sheets = []
    for dtype in (half, "float32"):
        run = adapted(configure(tmp_path / dtype, f"images.dtype={dtype}", *words))
        with Image.open(run / "validation" / "step-000000.png") as image:
            sheets.append(np.asarray(image).astype(int))
    assert np.abs(sheets[0] - sheets[1]).mean() < 8 and sheets[0].std() > 0

"""What the engine promises beside the pixels themselves."""

import json
import logging
from collections import Counter

import pytest
import torch

from sip.common.errors import UserError
from sip.images.trainer import trainer_device
from sip.prompts.base import Span
from sip.prompts.weighting.compel import CompelWeighting
from sip.prompts.weighting.scale import ScaleWeighting

ONE_LEVEL = 1 / 255


class BrokenFor(CompelWeighting):
    """Gives NaN embeddings to the prompts that hold a word's token."""

    token: int

    def __call__(self, encode, tokens):
        embedded = super().__call__(encode, tokens)
        embedded[(tokens.ids == self.token).any(1)] = float("nan")
        return embedded


@pytest.fixture
def unlike(make_prompt):
    return [
        make_prompt(index, guidance_scale=1.0 + index % 4, noise_rate=(0.2, 0.3)[index % 2])
        for index in range(8)
    ]


def test_a_picture_does_not_depend_on_its_batch(make_img2img, unlike, draw):
    generator = make_img2img()
    together = draw(generator, unlike, batch_size=8)
    backwards = draw(make_img2img(), unlike[::-1], batch_size=3)
    for row in unlike:
        alone = draw(generator, [row])[row.image_id].pixels
        for drawn in (together, backwards):
            assert (drawn[row.image_id].pixels - alone).abs().max() <= ONE_LEVEL


def test_the_same_seed_gives_the_same_noise_at_every_noise_rate(make_img2img, make_prompt, draw):
    generator, noises = make_img2img(), []
    noise = generator.noise
    generator.noise = lambda generators: noises.append(noise(generators)) or noises[-1]
    draw(generator, [make_prompt(0, noise_rate=rate) for rate in (0.3, 0.7)])
    sample_low, noise_low, sample_high, noise_high = noises
    assert torch.equal(sample_low, sample_high) and torch.equal(noise_low, noise_high)
    assert not torch.equal(sample_low, noise_low)


def test_evaluations_are_those_that_the_unet_made(make_img2img, make_txt2img, unlike, draw):
    for generator in (make_img2img(), make_txt2img()):
        generator.load("cpu")
        samples = []
        generator.unet.register_forward_pre_hook(lambda _, args: samples.append(len(args[0])))  # noqa: B023
        drawn = draw(generator, unlike)
        assert sum(row.unet_evaluations for row in drawn.values()) == sum(samples)
        for row in unlike:
            assert drawn[row.image_id].unet_evaluations == generator.num_evaluations(row)


@pytest.mark.parametrize(
    ("scale", "rate", "expected"), [(1.0, 0.3, 3), (0.2, 0.7, 7), (1.001, 0.3, 6), (7.0, 1.0, 20)]
)
def test_evaluations_by_hand(make_img2img, make_prompt, draw, scale, rate, expected):
    row = make_prompt(0, guidance_scale=scale, noise_rate=rate)
    assert draw(make_img2img(), [row])[row.image_id].unet_evaluations == expected


def test_nothing_is_computed_twice(make_img2img, make_prompt, draw):
    generator = make_img2img()
    generator.load("cpu")
    counts: Counter[str] = Counter()

    def count(name):
        return lambda _, args: counts.update({name: len(args[0])})

    generator.text_encoder.register_forward_pre_hook(count("texts"))
    generator.vae.encoder.register_forward_pre_hook(count("originals"))
    # 4 variants of each of 3 originals; each original has one prompt, with one lowered span.
    draw(generator, [make_prompt(index) for index in range(12)], batch_size=4)
    assert counts["originals"] == 3
    prompts, lowered = 3, 3
    empties = 3  # one beside each call: two batches bring new prompts, one call embeds "no text"
    assert counts["texts"] <= prompts + lowered + empties + 1


def test_the_sink_gets_each_row_once_and_batch_by_batch(make_img2img, unlike):
    calls = []
    make_img2img().draw(unlike, 2, calls.append)
    assert all(1 <= len(rows) <= 2 for rows in calls)
    ids = [row.image_id for rows in calls for row in rows]
    assert sorted(ids) == sorted(row.image_id for row in unlike)


def test_an_error_of_the_sink_ends_the_run(make_img2img, unlike):
    def full(rows):
        raise UserError("disk full")

    with pytest.raises(UserError, match="disk full"):
        make_img2img().draw(unlike, 2, full)


def test_an_unreadable_source_fails_alone(make_img2img, make_prompt, draw, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    bad = [
        make_prompt(0, source=str(broken), source_sha256="broken", seed=1),
        make_prompt(0, source=str(tmp_path / "gone.png"), source_sha256="gone", seed=2),
    ]
    good = [make_prompt(1), make_prompt(2)]
    drawn = draw(make_img2img(), [bad[0], *good, bad[1]])
    for row in good:
        assert drawn[row.image_id].status == "ok"
    for row, name in zip(bad, ("broken.png", "gone.png"), strict=True):
        failed = drawn[row.image_id]
        assert failed.status == "failed" and name in failed.error
        assert failed.pixels is None and failed.unet_evaluations == 0


def test_a_batch_of_unreadable_sources_fails(make_img2img, make_prompt, draw, tmp_path):
    row = make_prompt(0, source=str(tmp_path / "gone.png"), source_sha256="gone")
    assert draw(make_img2img(), [row])[row.image_id].status == "failed"


def test_txt2img_needs_no_source(make_txt2img, make_prompt, draw, tmp_path):
    row = make_prompt(0, source=str(tmp_path / "gone.png"), source_sha256="gone")
    assert draw(make_txt2img(), [row])[row.image_id].status == "ok"


def test_pixels_that_are_not_finite_fail_alone(make_img2img, make_prompt, draw):
    weighting = BrokenFor()
    generator = make_img2img(weighting=weighting)
    generator.load("cpu")
    weighting.token = generator.tokenizer("nine", add_special_tokens=False)["input_ids"][0]
    rows = [make_prompt(index) for index in range(3)]
    drawn = draw(generator, rows)
    assert [drawn[row.image_id].status for row in rows] == ["ok", "ok", "failed"]
    failed = drawn[rows[2].image_id]
    assert failed.pixels is None and "not finite" in failed.error
    assert failed.unet_evaluations == 10  # they were made, though in vain


@pytest.mark.parametrize("rate", [0.0, 0.05, 1.2])
def test_a_noise_rate_without_steps_stops_before_any_work(make_img2img, make_prompt, draw, rate):
    generator = make_img2img()
    prompts = [make_prompt(0), make_prompt(1, noise_rate=rate)]
    with pytest.raises(UserError, match=rf"noise_rate: expected 0.1 to 1, .* came {rate:g}"):
        draw(generator, prompts)
    assert generator.loaded_on is None


def test_wrong_settings_name_the_right_ones(make_img2img):
    with pytest.raises(UserError, match="images.scheduler: expected one of ddim, came 'dim'"):
        make_img2img(scheduler="dim")
    with pytest.raises(UserError, match="images.dtype: expected one of float32, bfloat16"):
        make_img2img(dtype="fp16")
    with pytest.raises(UserError, match="images.size: expected a multiple of 4 px .* came 30"):
        make_img2img(size=30).load("cpu")


def test_missing_weights_are_named(make_img2img, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        make_img2img(model=str(tmp_path / "nowhere")).load("cpu")
    with pytest.raises(UserError, match="nowhere"):
        make_img2img(model=str(tmp_path / "nowhere")).require()
    make_img2img().require()


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", {"accelerator": "cpu", "devices": 1}),
        ("cuda", {"accelerator": "cuda", "devices": [0]}),
        ("cuda:1", {"accelerator": "cuda", "devices": [1]}),
    ],
)
def test_lightning_runs_on_the_device_that_was_loaded_on(device, expected):
    assert trainer_device(torch.device(device)) == expected


@pytest.mark.gpu
def test_the_gpu_draws_as_the_cpu_does(make_img2img, unlike, draw):
    on_gpu = make_img2img()
    on_gpu.load("cuda")
    first, again = draw(on_gpu, unlike), draw(on_gpu, unlike)
    for image_id, row in draw(make_img2img(), unlike).items():
        assert (first[image_id].pixels - row.pixels).abs().max() < 0.02
        assert torch.equal(first[image_id].pixels, again[image_id].pixels)


def test_an_empty_list_draws_nothing(make_img2img):
    generator = make_img2img()
    generator.draw([], 4, pytest.fail)
    assert generator.loaded_on is None


def test_no_text_at_all_can_be_drawn(make_img2img, make_prompt, draw):
    row = make_prompt(0, spans=(), guidance_scale=1.0)
    same = make_prompt(0, spans=(), guidance_scale=5.0)
    drawn = draw(make_img2img(), [row, same])
    distance = drawn[row.image_id].pixels - drawn[same.image_id].pixels
    assert distance.abs().max() < 1e-4  # guidance between two empty prompts changes nothing


def test_bfloat16_draws_nearly_the_same(make_img2img, make_prompt, draw):
    row = make_prompt(0, guidance_scale=1.5)
    half = draw(make_img2img(dtype="bfloat16"), [row])[row.image_id].pixels
    full = draw(make_img2img(), [row])[row.image_id].pixels
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.02


def test_the_recipe_holds_what_changes_pixels_and_nothing_else(make_img2img, make_txt2img):
    recipe = make_img2img().recipe()
    assert json.loads(json.dumps(recipe)) == recipe
    for changes in ({"num_steps": 20}, {"size": 64}, {"dtype": "bfloat16"}):
        assert make_img2img(**changes).recipe() != recipe
    assert make_img2img(weighting=ScaleWeighting()).recipe() != recipe
    assert make_txt2img().recipe() != recipe
    several = make_img2img(per_sample=3)
    several.trainer_kwargs = {"accelerator": "gpu", "devices": 2}
    assert several.recipe() == recipe


def test_lightning_keeps_quiet_and_the_safety_checker_is_mentioned(
    make_img2img, make_prompt, draw, capfd, caplog
):
    with caplog.at_level(logging.INFO):
        draw(make_img2img(), [make_prompt(0)])
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records] == [
        "images: the safety checker is off, drawn pictures are not screened"
    ]


def test_weights_are_not_trained(make_img2img, make_prompt, draw):
    generator = make_img2img()
    draw(generator, [make_prompt(0, spans=(Span("nine", 1.0),))])
    assert not any(weight.requires_grad for weight in generator.parameters())

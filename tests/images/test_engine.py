"""What the engine promises next to the pixels themselves."""

from collections import Counter

import pytest
import torch

from sip.core.errors import UserError
from sip.core.shapes import Size
from sip.device.settings import Runtime
from sip.images.batches import Batch, group_rows, read_batch
from sip.images.schedulers import SCHEDULERS
from sip.prompts.base import Span
from tests.images import flow_models
from tests.images.models import SIZE, save_sd3

ONE_LEVEL = 1 / 255


@pytest.fixture
def unlike(make_prompt):
    return [
        make_prompt(index, guidance_scale=1.0 + index % 4, noise_rate=(0.2, 0.3)[index % 2])
        for index in range(8)
    ]


def count_rows(module):
    """Return a list to which each forward pass adds its number of rows."""
    rows = []
    module.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    return rows


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_image_does_not_depend_on_its_batch_nor_on_those_before(
    make_img2img, unlike, generate, scheduler
):
    engine = make_img2img(scheduler=scheduler).load(Runtime.cpu())
    together = generate(engine, unlike, batch_size=8)
    backwards = generate(engine, unlike[::-1], batch_size=3)
    for row in unlike:
        single = generate(engine, [row])[row.image_id].pixels
        for images in (together, backwards):
            assert (images[row.image_id].pixels - single).abs().max() <= 1e-4


def test_the_same_seed_gives_the_same_noise_at_every_noise_rate(
    make_img2img, make_prompt, generate
):
    engine, noises = make_img2img().load(Runtime.cpu()), []
    noise = engine.noise
    engine.noise = lambda *args: noises.append(noise(*args)) or noises[-1]
    generate(engine, [make_prompt(0, noise_rate=rate) for rate in (0.3, 0.7)])
    (sample_low, noise_low), (sample_high, noise_high) = noises
    assert torch.equal(sample_low, sample_high) and torch.equal(noise_low, noise_high)
    assert not torch.equal(sample_low, noise_low)


def test_noise_is_that_of_the_rows_own_seed(make_img2img):
    engine = make_img2img().load(Runtime.cpu())
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    first, second = engine.noise(generators, 2, Size(40, 24))
    own = torch.Generator().manual_seed(8)
    for generated in (first, second):
        assert torch.equal(generated[1], torch.randn(4, 6, 10, generator=own))


@pytest.mark.parametrize("interval", [[0, 1], [0.1, 0.25], [0.95, 1]])
def test_evaluations_are_those_that_the_unet_made(
    make_img2img, make_txt2img, unlike, generate, interval
):
    for generator in (
        make_img2img(guidance_interval=interval),
        make_txt2img(guidance_interval=interval),
    ):
        planned = [generator.num_evaluations(row) for row in unlike]  # nothing is loaded yet
        engine = generator.load(Runtime.cpu())
        rows = count_rows(engine.models.denoiser)
        generated = generate(engine, unlike)
        assert [generated[row.image_id].unet_evaluations for row in unlike] == planned
        assert sum(rows) == sum(planned)


@pytest.mark.parametrize(
    ("scale", "rate", "expected"), [(1.0, 0.3, 3), (0.2, 0.7, 7), (1.001, 0.3, 6), (7.0, 1.0, 20)]
)
def test_evaluations_by_hand(make_img2img, make_prompt, generate, scale, rate, expected):
    row = make_prompt(0, guidance_scale=scale, noise_rate=rate)
    assert generate(make_img2img(), [row])[row.image_id].unet_evaluations == expected


def test_evaluations_of_an_interval_by_hand(make_img2img, make_prompt):
    generator = make_img2img(guidance_interval=[0.2, 0.5])
    # Timesteps 401, 301, 201, 101, 1 of 1000: three of them lie in the interval.
    row = make_prompt(0, noise_rate=0.5)
    assert generator.num_evaluations(row) == 5 + 3
    unguided = make_prompt(0, noise_rate=0.2, guidance_scale=5.0)  # 101 and 1: none does
    assert generator.num_evaluations(unguided) == 2
    assert generator.group(unguided) == generator.group(
        make_prompt(1, noise_rate=0.2, guidance_scale=1.0)
    )
    assert generator.group(row) != generator.group(make_prompt(0, guidance_scale=1.0))


def test_nothing_is_computed_twice(make_img2img, make_prompt, generate):
    engine = make_img2img().load(Runtime.cpu())
    counts: Counter[str] = Counter()

    def count(name):
        return lambda _, args: counts.update({name: len(args[0])})

    engine.models.text.encoder.register_forward_pre_hook(count("texts"))
    engine.models.vae.encoder.register_forward_pre_hook(count("originals"))
    # 4 variants of each of 3 originals; each original has one prompt, with one lowered span.
    generate(engine, [make_prompt(index) for index in range(12)], batch_size=4)
    prompts, lowered, empty = 3, 3, 1
    assert counts == {"originals": 3, "texts": prompts + lowered + empty}


@pytest.mark.parametrize("compiled", [False, True])
def test_a_fresh_engine_goes_on_with_the_same_bytes(
    make_img2img, make_prompt, generate, monkeypatch, compiled
):
    """What is cached, or ran before, decides no bit: texts and originals recur across batches.

    These models are too small for rounding to depend on the number of rows, so they are made to.
    """
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **kwargs: None)
    runtime = Runtime.cpu(compile=compiled)
    prompts = [
        make_prompt(
            index,
            spans=make_prompt(index * 2 // 3).spans,
            negative_prompt=("", "thin strokes", "bold")[index % 3],
            guidance_scale=1.0 + index % 4,
        )
        for index in range(9)
    ]
    generator, size = make_img2img(), SIZE
    batches = list(group_rows(prompts, 4, generator.group))
    assert len(batches) > 2

    def load():
        engine = generator.load(runtime)
        encode_texts, encode = engine.models.text._encode, engine.models.encode
        denoise = engine.models.predict

        def texts(ids, mask):
            hidden, pooled = encode_texts(ids, mask)
            return hidden * (1 + 0.01 * len(ids)), pooled

        engine.models.text._encode = texts
        engine.models.encode = lambda pixels: encode(pixels) + 0.01 * len(pixels)
        engine.models.predict = lambda *args: denoise(*args) * (1 + 0.01 * len(args[0]))
        return engine

    def run(engine, batch):
        with torch.inference_mode():
            return [row.pixels for row in engine.predict_step(read_batch(batch, size, num_full=4))]

    unbroken = load()
    expected = [run(unbroken, batch) for batch in batches]
    for num_done in range(1, len(batches)):
        fresh = load()
        for batch, images in zip(batches[num_done:], expected[num_done:], strict=True):
            for image, same in zip(run(fresh, batch), images, strict=True):
                assert torch.equal(image, same)


def test_originals_that_no_row_needs_any_more_are_dropped(make_img2img, make_prompt):
    engine = make_img2img().load(Runtime.cpu())
    batch = read_batch([make_prompt(0), make_prompt(1)], engine.settings.size)
    engine.predict_step(batch)
    assert len(engine.posteriors) == 2
    last = frozenset({"sha-0", "never seen"})
    engine.predict_step(Batch(batch.prompts, batch.sources, {}, last))
    assert len(engine.posteriors) == 1


def test_rows_come_back_in_their_order(make_img2img, make_prompt):
    engine = make_img2img().load(Runtime.cpu())
    rows = [make_prompt(index) for index in (2, 0, 1)]
    batch = read_batch(rows, engine.settings.size)
    batch.unreadable["sha-0"] = "broken"
    generated = engine.predict_step(batch)
    assert [one.image_id for one in generated] == [row.image_id for row in rows]
    assert [one.status for one in generated] == ["ok", "failed", "ok"]


def test_no_text_at_all_can_be_generated(make_img2img, make_prompt, generate):
    row = make_prompt(0, spans=(), guidance_scale=1.0)
    same = make_prompt(0, spans=(), guidance_scale=5.0)
    generated = generate(make_img2img(), [row, same])
    distance = generated[row.image_id].pixels - generated[same.image_id].pixels
    assert distance.abs().max() < 1e-4  # guidance between two empty prompts changes nothing


def test_bfloat16_generates_nearly_the_same(make_img2img, make_prompt, generate):
    row = make_prompt(0, guidance_scale=1.5)
    half = generate(make_img2img(dtype="bfloat16"), [row])[row.image_id].pixels
    full = generate(make_img2img(), [row])[row.image_id].pixels
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.02


def test_weights_are_not_trained(make_img2img, make_prompt, generate):
    engine = make_img2img().load(Runtime.cpu())
    generate(engine, [make_prompt(0, spans=(Span("nine", 1.0),))])
    assert not any(weight.requires_grad for weight in engine.parameters())


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_a_noise_rate_without_steps_stops_before_any_work(make_img2img, make_prompt, rate):
    for generator in (make_img2img(), make_img2img(model="not/here")):  # there or not
        prompts = [make_prompt(0), make_prompt(1, noise_rate=rate)]
        with pytest.raises(UserError, match=rf"noise_rate: must be in \[0.1, 1\], .* got {rate}"):
            generator.check(prompts)


@pytest.mark.gpu
def test_the_gpu_generates_as_the_cpu_does(make_img2img, unlike, generate):
    on_gpu = make_img2img().load(Runtime.cpu(device="cuda"))
    first = generate(on_gpu, unlike)
    again = generate(on_gpu, unlike)
    for image_id, row in generate(make_img2img(), unlike).items():
        assert (first[image_id].pixels - row.pixels).abs().max() < 0.02
        assert torch.equal(first[image_id].pixels, again[image_id].pixels)


@pytest.mark.gpu
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_step_waits_for_the_gpu(make_img2img, make_prompt, scheduler):
    engine = make_img2img(scheduler=scheduler).load(Runtime.cpu(device="cuda"))
    batch = read_batch([make_prompt(index) for index in range(4)], engine.settings.size)
    predict, decode = engine.models.predict, engine.models.decode

    def strict(*args):
        torch.cuda.set_sync_debug_mode("error")
        return predict(*args)

    def free(latents):
        torch.cuda.set_sync_debug_mode("default")
        return decode(latents)

    with torch.inference_mode():
        engine.predict_step(batch)  # what is done at the first call only
        engine.models.predict, engine.models.decode = strict, free
        try:
            generated = engine.predict_step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(one.status == "ok" for one in generated)


def test_short_batches_are_filled_up_where_calls_are_compiled(
    make_img2img, make_prompt, generate, monkeypatch
):
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **kwargs: compiled.append((self, kwargs))
    )
    prompts = [make_prompt(index, guidance_scale=1.0 + index % 2) for index in range(13)]
    generator = make_img2img()
    engine = generator.load(Runtime.cpu(compile=True))
    family = engine.models
    assert compiled == [
        (part, {"dynamic": False})
        for part in (family.denoiser, family.vae.encoder, family.vae.decoder)
    ]
    rows = count_rows(family.denoiser)
    loaded_images, originals = count_rows(family.vae.decoder), count_rows(family.vae.encoder)
    generated = generate(engine, prompts, 4)
    assert len(list(group_rows(prompts, 4, generator.group))) == 4
    assert set(rows) == {4, 8} and set(loaded_images) == {4} and originals == [1, 1, 1]
    for row in prompts:  # the rows that fill up count for nothing
        assert generated[row.image_id].unet_evaluations == generator.num_evaluations(row)
    for image_id, row in generate(generator, prompts, 4).items():
        assert (generated[image_id].pixels - row.pixels).abs().max() <= ONE_LEVEL


@pytest.mark.parametrize("sizes", [(4, 1), (1, 3), (3, 4)])
def test_what_did_not_fit_into_memory_is_not_filled_up_to(
    make_img2img, make_prompt, monkeypatch, sizes
):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **kwargs: None)
    engine = make_img2img().load(Runtime.cpu(compile=True))
    decode = engine.models.decode
    rows = count_rows(engine.models.vae.decoder)

    def limited(latents):
        if len(latents) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return decode(latents)

    engine.models.decode = limited
    for size in sizes:
        prompts = [make_prompt(n) for n in range(size)]
        images = engine.predict_step(read_batch(prompts, SIZE, num_full=4))
        assert [image.image_id for image in images] == [row.image_id for row in prompts]
    assert set(rows) == {2}


def test_only_repeated_blocks_are_compiled_if_there_are_such(
    make_img2img, model_folder, monkeypatch, tmp_path
):
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **kwargs: compiled.append(type(self).__name__)
    )
    for folder, blocks in {
        model_folder: ["BasicTransformerBlock"],
        flow_models.save_z_image(tmp_path / "z"): ["ZImageTransformerBlock"],
        save_sd3(tmp_path / "sd3"): ["SD3Transformer2DModel"],  # names no blocks
    }.items():
        compiled.clear()
        scheduler = "ddim" if folder == model_folder else "euler"
        generator = make_img2img(model=str(folder), scheduler=scheduler)
        engine = generator.load(Runtime.cpu(compile="blocks"))
        assert sorted(set(compiled)) == sorted([*blocks, "Decoder", "Encoder"])
        denoiser = {type(part).__name__ for part in engine.models.denoiser.modules()}
        assert set(blocks) <= denoiser


def test_graphs_are_of_the_denoiser_and_each_pass_of_it_begins_a_step(
    make_img2img, make_prompt, generate, monkeypatch
):
    modes, steps = [], []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **kwargs: modes.append(kwargs.get("mode"))
    )
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: steps.append(1))
    engine = make_img2img().load(Runtime.cpu(compile="graphs"))
    assert modes == ["reduce-overhead", None, None]  # the latents of originals are kept
    generate(engine, [make_prompt(0)])
    assert len(steps) == 5


@pytest.mark.slow
@pytest.mark.parametrize("compiles", [True, "blocks"])
def test_a_compiled_engine_generates_the_same(make_img2img, make_prompt, generate, compiles):
    rows = [make_prompt(index) for index in range(4)]
    compiled = generate(make_img2img(), rows, 3, Runtime.cpu(compile=compiles, channels_last=True))
    for image_id, row in generate(make_img2img(), rows).items():
        assert (compiled[image_id].pixels - row.pixels).abs().max() <= ONE_LEVEL

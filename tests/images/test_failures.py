"""Images that are no good: recorded with a reason, and never the end of a run."""

import pytest
import torch

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.images.base import REASONS
from sip.images.safety import ERRORS, judge
from sip.prompts.weighting.compel import CompelWeighting
from tests.images import models


class BrokenFor(CompelWeighting):
    """Gives NaN embeddings to the prompts that hold a word's token."""

    token: int

    def __call__(self, encode, tokens, empty=None):
        embedded = super().__call__(encode, tokens, empty)
        embedded[(tokens.ids == self.token).any(1)] = float("nan")
        return embedded


def test_every_reason_has_a_line():
    assert set(REASONS) == {*ERRORS, "unreadable"}


def test_an_unreadable_source_fails_alone(make_img2img, make_prompt, generate, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    bad = [
        make_prompt(0, source=str(broken), source_sha256="broken", seed=1),
        make_prompt(0, source=str(tmp_path / "gone.png"), source_sha256="gone", seed=2),
    ]
    good = [make_prompt(1), make_prompt(2)]
    generated = generate(make_img2img(), [bad[0], *good, bad[1]])
    for row in good:
        assert generated[row.image_id].status == "ok" and generated[row.image_id].reason is None
    for row, name in zip(bad, ("broken.png", "gone.png"), strict=True):
        failed = generated[row.image_id]
        assert failed.status == "failed" and failed.reason == "unreadable"
        assert name in failed.error
        assert failed.pixels is None and failed.unet_evaluations == 0


def test_a_batch_of_unreadable_sources_fails(make_img2img, make_prompt, generate, tmp_path):
    row = make_prompt(0, source=str(tmp_path / "gone.png"), source_sha256="gone")
    assert generate(make_img2img(), [row])[row.image_id].status == "failed"


def test_txt2img_needs_no_source(make_txt2img, make_prompt, generate, tmp_path):
    row = make_prompt(0, source=str(tmp_path / "gone.png"), source_sha256="gone")
    assert generate(make_txt2img(), [row])[row.image_id].status == "ok"


def test_pixels_that_are_not_finite_fail_alone(make_img2img, make_prompt, generate):
    weighting = BrokenFor()
    engine = make_img2img(weighting=weighting).load(Runtime.cpu())
    tokenizer = engine.models.text.tokenizer
    weighting.token = tokenizer("nine", add_special_tokens=False)["input_ids"][0]
    rows = [make_prompt(index) for index in range(3)]
    generated = generate(engine, rows)
    assert [generated[row.image_id].status for row in rows] == ["ok", "ok", "failed"]
    failed = generated[rows[2].image_id]
    assert failed.pixels is None and failed.reason == "not finite"
    assert "not finite" in failed.error
    assert failed.unet_evaluations == 10  # they were made, though in vain


@pytest.mark.parametrize("paradigm", ["img2img", "txt2img"])
def test_black_images_fail(make_img2img, make_txt2img, make_prompt, generate, paradigm):
    generator = {"img2img": make_img2img, "txt2img": make_txt2img}[paradigm]()
    engine = generator.load(Runtime.cpu())
    with torch.no_grad():
        engine.models.vae.decoder.conv_out.weight.zero_()
        engine.models.vae.decoder.conv_out.bias.fill_(-1.0)
    row = make_prompt(0)
    failed = generate(engine, [row])[row.image_id]
    assert failed.reason == "black" and failed.pixels is None and "black" in failed.error


def test_an_image_is_black_if_no_pixel_is_above_one_level():
    pixels = torch.zeros(4, 3, 2, 2)
    pixels[0, 0, 0, 0] = 1 / 255
    pixels[1, 0, 0, 0] = 2 / 255
    pixels[2] = float("nan")
    pixels[3, 1, 1, 1] = float("inf")
    assert judge(pixels, None) == ["black", None, "not finite", "not finite"]


@pytest.mark.parametrize(("threshold", "reason"), [(-1.5, "flagged"), (1.5, None)])
def test_the_safety_checker_fails_what_it_flags(
    make_img2img, make_prompt, generate, tmp_path, capsys, threshold, reason
):
    checker = models.safety_checker(threshold)
    folder = models.save_sd(tmp_path / "model", checker=checker)
    rows = [make_prompt(0), make_prompt(1)]
    generated = generate(make_img2img(model=str(folder), safety_checker=True), rows)
    assert {generated[row.image_id].reason for row in rows} == {reason}
    said = capsys.readouterr().err
    assert "safety" not in said and "NSFW" not in said  # it is on, and says nothing of its own
    if reason:
        assert generated[rows[0].image_id].pixels is None
        assert generated[rows[0].image_id].unet_evaluations == 10


def test_the_safety_checker_sees_what_the_stock_pipeline_shows_it(make_img2img, tmp_path):
    checker = models.safety_checker(0.0)
    folder = models.save_sd(tmp_path / "model", checker=checker)
    engine = make_img2img(model=str(folder), safety_checker=True).load(Runtime.cpu())
    torch.manual_seed(0)
    pixels = torch.rand(6, 3, 32, 32).round()
    seen = []
    checker = engine.checker.checker
    checker.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["clip_input"]), with_kwargs=True
    )
    engine.checker.flagged(pixels)
    extractor = engine.checker.extractor
    expected = extractor([image * 255 for image in pixels], return_tensors="pt").pixel_values
    torch.testing.assert_close(seen[0], expected, atol=0.02, rtol=0)


def test_the_safety_checker_is_off_and_one_line_says_so(make_img2img, make_prompt, generate, capfd):
    engine = make_img2img().load(Runtime.cpu())
    generate(engine, [make_prompt(0)])
    generate(engine, [make_prompt(1)])
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "images       the safety checker is off: generated images are not screened\n"


def test_a_folder_without_a_safety_checker_says_so(make_img2img):
    with pytest.raises(
        UserError, match="images.safety_checker: must be false for .*, which has none, got true"
    ):
        make_img2img(safety_checker=True).require()

"""What all writers check: numbers that are not finite end the run, in one line."""

from typing import Any

import pytest

from sip.core.errors import UserError
from sip.prompts.base import Prompt, Span, ranked_captions
from sip.prompts.guidance.constant import Constant
from sip.prompts.guidance.linear import Linear
from sip.prompts.guidance.quadratic import Quadratic
from tests.prompts.test_label_caption import CAPTIONS, COSINES, SAMPLES, make

NAN, INFINITY = float("nan"), float("inf")


class Own:
    """A rule from outside of the package."""

    needs_similarity = True

    def __init__(self, scale: object, usual: object = 1.0) -> None:
        self.scale, self.usual = scale, usual

    def recipe(self) -> dict:
        return {"class": "own"}

    def __call__(self, similarity: float | None) -> float:
        return self.scale if similarity == 0.32 else self.usual  # type: ignore[return-value]


class Failing(Own):
    """A rule with a bug."""

    def __call__(self, similarity: float | None) -> float:
        if similarity == 0.32 or self.usual is None:
            raise ZeroDivisionError("division\nby zero")
        return 1.0


class Unread(Own):
    """A rule that reads no similarity."""

    needs_similarity = False


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Own(NAN, NAN), "Own must give a finite number for any image, got nan for similarity 0.0"),
        (Own(1.0, -1), "Own must give a number of 0 or more for any image, got -1 for similar"),
        (Failing(0, None), "Failing must give a number for any image, got ZeroDivisionError: divi"),
        (
            Unread(0, "7"),
            "Unread must give a finite number for any image, got '7' for similarity N",
        ),
        (Quadratic(1.0, 0.0, -2.0, "quantile"), "Quadratic must give a number of 0 or more for an"),
    ],
)
def test_a_guidance_rule_that_never_gives_a_number_is_refused_when_built(
    rule: Any, message: str
) -> None:
    with pytest.raises(UserError, match=rf"^prompts.guidance: [\w.]+\.{message}"):
        make(guidance=rule)


@pytest.mark.parametrize("scale", [NAN, INFINITY, None, "7"])
def test_a_guidance_rule_must_give_a_number(scale: object) -> None:
    with pytest.raises(UserError) as error:
        make(guidance=Own(scale)).write(SAMPLES, CAPTIONS, COSINES, 1)
    assert str(error.value) == (
        f"prompts.guidance: {__name__}.Own must give a finite number for s0 of class cat, "
        f"got {scale!r} for similarity 0.32; fix the rule"
    )


def test_a_negative_guidance_scale_is_refused() -> None:
    with pytest.raises(UserError, match="must give a number of 0 or more for s0 .*, got -0.5 for"):
        make(guidance=Own(-0.5)).write(SAMPLES, CAPTIONS, COSINES, 1)
    with pytest.raises(UserError, match="scale: must be a number >= 0, got -3"):
        Constant(-3)
    with pytest.raises(UserError, match="low: must be a number >= 0, got -1"):
        Linear(low=-1, high=7, scaling="clipscore")
    assert make(guidance=Own(0)).write(SAMPLES, CAPTIONS, COSINES, 1)[0].guidance_scale == 0


def test_a_guidance_rule_that_fails_is_named_with_its_sample() -> None:
    with pytest.raises(UserError) as error:
        make(guidance=Failing(0)).write(SAMPLES, CAPTIONS, COSINES, 1)
    assert str(error.value) == (
        f"prompts.guidance: {__name__}.Failing must give a number for s0 of class cat, got "
        "ZeroDivisionError: division by zero for similarity 0.32; fix the rule (debug=true prints "
        "the traceback)"
    )


def test_what_is_no_guidance_rule_is_refused_when_built() -> None:
    with pytest.raises(UserError, match="guidance: must be a rule .* got '.*object'; add recipe"):
        make(guidance=object())


@pytest.mark.parametrize("rate", [NAN, -0.1, 1.1])
def test_a_writer_must_give_a_noise_rate(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = make()
    monkeypatch.setattr(type(writer), "rate", lambda *_: rate)
    with pytest.raises(UserError, match=rf"noise_rate of s0 must be in \[0, 1\], got {rate}; fix"):
        writer.write(SAMPLES, CAPTIONS, COSINES, 1)


def test_similarities_must_be_finite() -> None:
    with pytest.raises(UserError, match="similarities of s0 must be finite numbers, got nan"):
        ranked_captions(SAMPLES[0], ["a", "b"], [0.2, NAN])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("guidance_scale", {"guidance_scale": NAN}),
        ("similarity", {"similarity": -INFINITY}),
        ("weight of 'cat'", {"spans": (Span("a ", 1.0), Span("cat", NAN))}),
    ],
)
def test_rows_of_any_writer_are_checked(name: str, changes: dict) -> None:
    values = {
        **{"sample_id": "s7", "source": "/x.png", "source_sha256": "x", "label": 0},
        **{"class_name": "cat", "variant": 0, "spans": (), "negative_prompt": "", "seed": 0},
        **{"guidance_scale": 1.0, "noise_rate": 0.5, "caption": None, "similarity": None},
    }
    with pytest.raises(UserError, match=f"^prompts: {name} of s7 must be a finite number, got"):
        Prompt(**values | changes)

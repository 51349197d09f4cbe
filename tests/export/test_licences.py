"""The data card states the licence that a model's choice states, else what is known."""

from sip.export.licences import licence_text


def test_the_choices_own_licence_comes_first() -> None:
    sd15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    old = {"weights": {"name": sd15}}
    new = {"weights": {"name": "some/model"}, "license": "apache-2.0"}
    silent = {"weights": {"name": "other/model"}}
    text = licence_text({"images": new, "scores": silent, "captions": {"inner": old}}, "flowers")
    assert "| model `some/model` | apache-2.0 |" in text
    assert f"| model `{sd15}` | creativeml-openrail-m |" in text
    assert (
        "| model `other/model` | unknown |" in text and "| data set `flowers` | unknown |" in text
    )

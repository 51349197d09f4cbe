"""The provenance in an image's file: read back by Pillow and an XML parser; pixels stay."""

import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from sip.core.image_io import ENCODERS
from sip.export.main import Options, export
from sip.export.provenance import GENERATED, stamped

FACTS = {
    "prompt": 'a photo of a "dog" & <cat>, größe 犬 \x07', "negative_prompt": "",
    "guidance_scale": 7.25, "noise_rate": 0.5, "seed": 2**62 + 1, "source_sha256": "ab" * 32,
    "file": "/home/somebody/private.png",
}  # fmt: skip
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
XMP = "{http://ns.adobe.com/xap/1.0/}"


def encoded(name: str, size: tuple[int, int] = (17, 9), **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **(ENCODERS[name] | options))
    return buffer.getvalue()


FILES = {
    "png": lambda: encoded("png"),
    "jpeg": lambda: encoded("jpeg"),
    "webp": lambda: encoded("webp"),
    "webp with losses": lambda: encoded("webp", lossless=False),
    "webp with a header": lambda: encoded("webp", exif=Image.Exif().tobytes(), lossless=False),
}


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def xmp_of(image: Image.Image) -> ET.Element:
    packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    (described,) = ET.fromstring(packet).iter(f"{RDF}Description")
    return described


@pytest.mark.parametrize("name", FILES)
def test_it_is_read_back_and_pixels_stay(name: str) -> None:
    data = FILES[name]()
    made = stamped(data, FACTS, "org/model", "0123456789")
    before, after = opened(data), opened(made)
    assert after.format == before.format and after.size == before.size
    assert after.tobytes() == before.tobytes()
    described = xmp_of(after)
    assert described.get(f"{IPTC}DigitalSourceType") == GENERATED
    values = json.loads(described.get(f"{XMP}Label", ""))
    assert values["model"] == "org/model" and values["recipe"] == "0123456789"
    kept = {name: FACTS[name] for name in ("guidance_scale", "noise_rate", "seed", "source_sha256")}
    assert kept.items() <= values.items()
    assert values["prompt"] == FACTS["prompt"]
    (text,) = described.iter(f"{RDF}li")
    assert text.text == 'a photo of a "dog" & <cat>, größe 犬 '
    if before.format == "PNG":
        assert after.info["Description"] == FACTS["prompt"]
        assert after.info["Software"].startswith("SIP ")
    else:
        exif = after.getexif()
        assert exif[0x0131].startswith("SIP ") and exif[0x010E].startswith('a photo of a "dog" &')
    assert b"somebody" not in made


def test_a_prompt_of_any_length_fits() -> None:
    made = stamped(
        encoded("jpeg"), FACTS | {"prompt": '"犬' * 50_000, "negative_prompt": "&" * 9000}, "m", "r"
    )
    assert len(json.loads(xmp_of(opened(made)).get(f"{XMP}Label", ""))["prompt"]) == 2500


def test_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="PNG, a JPEG or a WebP"):
        stamped(b"GIF89a", FACTS, "m", "r")


@pytest.mark.parametrize("choice", ["embedded", "none"])
def test_an_export_embeds_it_unless_told_not_to(
    options: Callable[..., Options], choice: str
) -> None:
    made = options(provenance=choice, originals="as_used")
    export(made)
    files = sorted(made.output.rglob("*.png"))
    marked = [file for file in files if "Comment" in opened(file.read_bytes()).info]
    assert (len(marked), len(files)) == ((7, 17) if choice == "embedded" else (0, 17))
    for file in marked:
        values = json.loads(opened(file.read_bytes()).info["Comment"])
        assert values["prompt"] == "a photo of é dog" and values["seed"] > 2**62

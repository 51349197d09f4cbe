"""How an image was made, inside its file: PNG text, EXIF and XMP, without touching the pixels.

XMP says that it was generated (`Iptc4xmpExt:DigitalSourceType`, IPTC Photo Metadata Standard
2023.1) and carries all values as JSON; EXIF, or the text of a PNG, has program and prompt for
viewers. The parts of the file that hold pixels are copied as they are.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from sip import __version__
from sip.core.text import as_json

PROGRAM = f"SIP {__version__}"
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NAMES = ("prompt", "negative_prompt", "guidance_scale", "noise_rate", "seed", "source_sha256")
LONGEST = 2500  # characters of a prompt; a segment of a JPEG holds 65,533 bytes
NO_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")

PNG, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
XMP_OF_JPEG, EXIF_OF_JPEG = b"http://ns.adobe.com/xap/1.0/\0", b"Exif\0\0"
EXIF_FLAG, ALPHA_FLAG, XMP_FLAG = 0x08, 0x10, 0x04  # of WebP's VP8X
SOFTWARE, DESCRIPTION = 0x0131, 0x010E  # EXIF tags


def stamped(data: bytes, facts: Mapping[str, Any], model: str, recipe: str) -> bytes:
    """Return an image file with its provenance.

    Args:
        data: PNG, JPEG or WebP as `sip.core.image_io` encodes them.
        facts: Values of `sip.export.source.COLUMNS`.
        model: Name of what generated it.
        recipe: Fingerprint of the recipe of the images.

    Raises:
        ValueError: It is none of these formats.
    """
    known = {"program": PROGRAM, "model": model, "recipe": recipe}
    values = known | {name: facts.get(name) for name in NAMES}
    for name in ("prompt", "negative_prompt"):
        values[name] = str(values[name] or "")[:LONGEST]
    prompt = str(values["prompt"])
    stated = {name: value for name, value in values.items() if value not in (None, "")}
    text = as_json(stated)
    xmp = _xmp(prompt, text)
    suffix = suffix_of(data)
    if suffix == ".png":
        return _png(data, {"Software": PROGRAM, "Description": prompt, "Comment": text}, xmp)
    if suffix == ".jpg":
        return _jpeg(data, _exif(prompt), xmp)
    if suffix == ".webp":
        return _webp(data, _exif(prompt), xmp)
    raise ValueError("must be a PNG, a JPEG or a WebP")


def suffix_of(data: bytes) -> str | None:
    """Return the ending for a generated image's file, by its first bytes; None for others."""
    if data.startswith(PNG):
        return ".png"
    if data.startswith(JPEG_START):
        return ".jpg"
    return ".webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _xmp(prompt: str, text: str) -> bytes:
    """Return an XMP packet."""
    comment = quoteattr(NO_XML.sub("", text))
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmp:CreatorTool="{PROGRAM}" Iptc4xmpExt:DigitalSourceType="{GENERATED}"'
        f" xmp:Label={comment}>"
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">'
        f"{escape(NO_XML.sub('', prompt))}</rdf:li></rdf:Alt></dc:description>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def _exif(prompt: str) -> bytes:
    """Return an EXIF block, without JPEG's header."""
    exif = Image.Exif()
    exif[SOFTWARE] = PROGRAM
    exif[DESCRIPTION] = prompt.encode("ascii", "replace").decode()  # EXIF 2 knows ASCII only
    return exif.tobytes().removeprefix(EXIF_OF_JPEG)


def _png(data: bytes, texts: Mapping[str, str], xmp: bytes) -> bytes:
    """Add iTXt chunks behind the header, which is the first chunk."""
    end = len(PNG) + 12 + struct.unpack(">I", data[len(PNG) : len(PNG) + 4])[0]
    chunks = [_itxt(name, text.encode()) for name, text in texts.items() if text]
    chunks.append(_itxt("XML:com.adobe.xmp", xmp))
    return data[:end] + b"".join(chunks) + data[end:]


def _itxt(name: str, text: bytes) -> bytes:
    body = b"iTXt" + name.encode() + b"\0\0\0\0\0" + text
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _jpeg(data: bytes, exif: bytes, xmp: bytes) -> bytes:
    """Add two segments behind the start, and behind JFIF's, which must come first."""
    at = len(JPEG_START)
    if data[at : at + 2] == b"\xff\xe0":
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    parts = (EXIF_OF_JPEG + exif, XMP_OF_JPEG + xmp)
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(p) + 2) + p for p in parts)
    return data[:at] + segments + data[at:]


def _webp(data: bytes, exif: bytes, xmp: bytes) -> bytes:
    """Make the simple container an extended one with both blocks at its end."""
    chunks = list(_webp_chunks(data))
    with_header = chunks[0][0] == b"VP8X"
    if with_header:
        flags, canvas = chunks[0][1][0], chunks[0][1][4:10]
        chunks = [c for c in chunks[1:] if c[0] not in (b"EXIF", b"XMP ")]
    else:
        flags, canvas = _webp_canvas(*chunks[0])
    flags |= EXIF_FLAG | XMP_FLAG
    header = bytes([flags, 0, 0, 0]) + canvas
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in [(b"VP8X", header), *chunks, (b"EXIF", exif), (b"XMP ", xmp)]
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _webp_canvas(name: bytes, content: bytes) -> tuple[int, bytes]:
    """Return flags and size, as VP8X has them, of a file with a single image."""
    if name == b"VP8L":
        bits = struct.unpack("<I", content[1:5])[0]
        width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF  # each less 1
        flags = ALPHA_FLAG if bits >> 28 & 1 else 0
    else:
        width, height = (n & 0x3FFF for n in struct.unpack("<HH", content[6:10]))
        width, height, flags = width - 1, height - 1, 0
    return flags, width.to_bytes(3, "little") + height.to_bytes(3, "little")

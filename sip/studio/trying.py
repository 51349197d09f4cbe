"""Try a setting on one image: captions, prompt, guidance, and images for several settings."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.api.generation import Preview
from sip.api.run import Run, RunImage
from sip.api.session import Session
from sip.config.command import Command
from sip.core.csv_table import csv_text
from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.hashing import digest
from sip.core.text import key_of
from sip.studio.settings import Settings

Spans = tuple[tuple[str, float], ...]  # pieces of a prompt with their weights
LAYOUTS = {  # name on the page -> columns
    "1 image": 1,
    "4 seeds": 4,
    "5 noise rates": 5,
    "3 noise rates x 3 scales": 3,
}
KEPT_OF_PROMPTS = ("prompts.negative_prompt", "prompts.seed", "prompts/weighting")
COLUMNS = ("file", "spans", "guidance_scale", "noise_rate", "seed", "caption", "similarity")


@dataclass(frozen=True)
class Wish:
    """What the page asks for.

    Attributes:
        noise_rate: In (0, 1].
        guidance_scale: The one set by hand; None: by the rule.
        layout: One of `LAYOUTS`.
    """

    noise_rate: float
    guidance_scale: float | None = None
    layout: str = "1 image"

    def __post_init__(self) -> None:
        if not 0 < self.noise_rate <= 1:
            raise UserError(f"noise rate: must be in (0, 1], got {self.noise_rate}")


@dataclass(frozen=True)
class Look:
    """What SIP makes of an image by itself.

    Attributes:
        preview: The first image, by the rules.
        label: The class in words.
        key: Hash of image and label.
    """

    preview: Preview
    label: str
    key: str

    @property
    def first(self) -> RunImage:
        """The first image that was generated."""
        return self.preview.images[0]

    @property
    def spans(self) -> Spans:
        """The prompt that was written."""
        return self.first.spans


@dataclass(frozen=True)
class TryResult:
    """Images for a wish.

    Attributes:
        look: What was known of the image.
        images: Row by row.
        columns: Images in a row.
        run: The run that has them.
    """

    look: Look
    images: tuple[RunImage, ...]
    columns: int
    run: Run

    def command(self, runs: Path) -> str:
        """Return the command line that makes the same images, as a run in the folder `runs`."""
        words = shlex.split(str(self.run.command))
        folder = f"paths.runs={runs}"
        return shlex.join([folder if key_of(w) == "paths.runs" else w for w in words])


def key_of_image(file: str | Path, label: str) -> str:
    """Return a hash of an image file's content and its label in words."""
    return digest(Path(file).read_bytes().hex(), label.strip())


def look(
    session: Session, settings: Settings, file: str | Path | None, label: str, rate: float
) -> Look:
    """Have captions, prompt and guidance found for an image, and one image generated.

    What seeds follow from is the content of the file, so it is kept in the store as it is.

    Raises:
        UserError: Image or label is missing, or as of `sip.preview`.
    """
    if file is None:
        raise UserError("image: must be given, got none; drop one")
    if not label.strip():
        raise UserError("label: must be the class in words, got nothing")
    label = label.strip()
    content = Path(file).read_bytes()
    found = session.preview(content, label, noise_rate=rate, **settings.arguments)
    return Look(found, label, key_of_image(file, label))


def generate(
    session: Session, settings: Settings, seen: Look, spans: Spans, wish: Wish
) -> TryResult:
    """Generate the images of a wish.

    A prompt as SIP writes it, at one noise rate and scale, needs no prompt list: the command works
    for other images too. All else is a list of prompts in the store.

    Raises:
        UserError: The prompt has no text, or as of `sip.generate`.
    """
    arguments = settings.arguments
    columns = LAYOUTS[wish.layout]
    num = 4 if wish.layout == "4 seeds" else 1
    if spans == seen.spans and wish.layout in ("1 image", "4 seeds"):
        found = session.preview(
            seen.first.original,
            seen.label,
            num=num,
            noise_rate=wish.noise_rate,
            guidance_scale=wish.guidance_scale,
            **arguments,
        )
        return TryResult(seen, found.images, columns, found.run)
    file = write_list(seen, spans, cells(seen, wish), settings.folder)
    kept = [word for word in arguments["overrides"] if _is_kept(word)]
    arguments["overrides"] = [*kept, "prompts=table", Command.of_text("prompts.file", str(file))]
    run = session.generate([(seen.first.original, seen.label)], **arguments)
    if not len(run):
        raise UserError(f"no image could be generated; {run.folder} says why")
    return TryResult(seen, tuple(run), columns, run)


def cells(seen: Look, wish: Wish) -> list[tuple[float, float, int | None]]:
    """Return noise rate, guidance scale and seed of each image of a wish, row by row."""
    scale = wish.guidance_scale
    if scale is None:
        scale = seen.first.guidance_scale or 1.0
    if wish.layout == "4 seeds":
        return [(wish.noise_rate, scale, None)] * 4
    num = {"5 noise rates": 5, "3 noise rates x 3 scales": 3}.get(wish.layout, 1)
    scales = [scale] if num != 3 else [scale / 2, scale, scale * 2]
    if num == 3 and scale < 2:  # 1 and below is no guidance
        scales = [scale, scale + 2, scale + 4]
    rates = around(wish.noise_rate, num)
    return [(rate, round(s, 3), seen.first.seed) for s in scales for rate in rates]


def around(rate: float, num: int) -> list[float]:
    """Return noise rates with a tenth or two between them, with `rate` among them."""
    step = 0.2 if num == 3 else 0.15
    start = round(rate - step * (num // 2), 3)
    while start <= 0:
        start = round(start + step, 3)
    while start + step * (num - 1) > 1:
        start = round(start - step, 3)
    found = {round(start + step * n, 3) for n in range(num)}
    return sorted(value for value in found if 0 < value <= 1)


def write_list(
    seen: Look, spans: Spans, rows: Sequence[tuple[float, float, int | None]], folder: Path
) -> Path:
    """Write a prompt list for `prompts=table`, named by its content; return its file.

    Raises:
        UserError: The prompt has no text.
    """
    if not any(text.strip() for text, _ in spans):
        raise UserError("prompt: must have a text, got none")
    first = seen.first
    original, pieces = Path(first.original).absolute(), json.dumps(spans, ensure_ascii=False)
    known = (first.caption, first.similarity)
    cells = [(original, pieces, scale, rate, seed, *known) for rate, scale, seed in rows]
    text = csv_text([COLUMNS, *cells])
    file = folder / f"{digest(text)[:12]}.csv"
    if not file.exists():
        write_atomically(file, text)
    return file


def spans_of(rows: Sequence[Sequence[Any]]) -> Spans:
    """Return a prompt from the rows of the page's table; rows without text are left out.

    Raises:
        UserError: A weight is no number.
    """
    spans = []
    for number, (text, weight) in enumerate(rows, 1):
        if not str(text or ""):
            continue
        try:
            spans.append((str(text), float(weight)))
        except (TypeError, ValueError):
            raise UserError(
                f"prompt: weight of row {number} must be a number, got {weight!r}"
            ) from None
    return tuple(spans)


def _is_kept(override: str) -> bool:
    """Return whether an override of the command line also holds with a prompt list."""
    key = key_of(override)
    return not key.startswith(("prompts", "filter")) or key in KEPT_OF_PROMPTS

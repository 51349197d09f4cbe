"""Which prompts are longer than the text encoders read, known before any image is generated."""

import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from sip.core.errors import UserError
from sip.prompts.base import Prompt, Span

if TYPE_CHECKING:
    from sip.images.families.base import Family
    from sip.images.folder import PipelineFolder

NUM_REMEMBERED = 4096  # prompts of which it is known whether they fit
SHOWN = 60  # characters of a prompt in a message
Spans = tuple[Span, ...]


@dataclass(frozen=True)
class TextReader:
    """A text encoder, as far as the length of what it reads goes.

    Attributes:
        tokenizer: The one of the model's folder.
        length: Tokens that it reads, with those for start and end.
        by_span: Whether each span is tokenized by itself (CLIP), or the whole text (T5).
    """

    tokenizer: Any
    length: int
    by_span: bool

    @property
    def name(self) -> str:
        """The kind of the encoder, for messages."""
        kind = type(self.tokenizer).__name__
        return next((name for name in ("CLIP", "T5") if kind.startswith(name)), "language model")

    def fits(self, spans: Spans) -> bool:
        """Return whether a prompt is read in whole."""
        texts = [span.text for span in spans]
        if not self.by_span:
            texts = ["".join(texts)]
        # A token stands for a byte at least; most prompts need no tokenizer.
        if all(text.isascii() for text in texts) and sum(map(len, texts)) <= self.length - 2:
            return True
        ids = self.tokenizer(texts, add_special_tokens=not self.by_span, verbose=False).input_ids
        return sum(map(len, ids)) <= self.length - (2 if self.by_span else 0)


def text_readers(folder: "PipelineFolder", family: "type[Family]") -> list[TextReader]:
    """Return the text encoders of a model folder, without loading their weights."""
    import transformers

    from sip.prompts.weighting.tokens import clip_length
    from sip.weights.safety import plain_load_errors

    readers = []
    for part, bound in family.tokenizers.items():
        if not folder.has(part):
            continue
        path = folder.path / part
        with plain_load_errors(f"images.model: {path}"):
            kind = getattr(transformers, folder.index[part][1])
            tokenizer = kind.from_pretrained(path, local_files_only=True)
        if isinstance(bound, int):
            readers.append(TextReader(tokenizer, bound, by_span=False))
        else:
            num_positions = folder.config(bound).get("max_position_embeddings", 77)
            length = clip_length(tokenizer, num_positions)
            readers.append(TextReader(tokenizer, length, by_span=True))
    return readers


def stock_readers(folder: "PipelineFolder", pipeline: type) -> list[TextReader]:
    """Return the text encoders of a pipeline of diffusers, which has no family here.

    CLIP reads as many tokens as its tokenizer states, the others as many as the pipeline's
    `max_sequence_length` lets through.
    """
    import transformers

    from sip.weights.safety import plain_load_errors

    most = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    readers = []
    for part in folder.index:
        if not (part.startswith("tokenizer") and folder.has(part)):
            continue
        name = folder.index[part][1]
        with plain_load_errors(f"images.model: {folder.path / part}"):
            kind = getattr(transformers, name)
            tokenizer = kind.from_pretrained(folder.path / part, local_files_only=True)
        length = int(tokenizer.model_max_length)
        if most is not None and isinstance(most.default, int) and not name.startswith("CLIP"):
            length = most.default
        readers.append(TextReader(tokenizer, length, by_span=False))
    return readers


def require_labels(readers: Sequence[TextReader], prompts: Sequence[Prompt]) -> None:
    """Refuse prompts whose class name no text encoder reads in whole.

    Raises:
        UserError: There is one.
    """
    seen: set[tuple[str, Spans]] = set()
    for prompt in prompts:
        label, upto = prompt.class_name, _up_to(prompt.class_name, prompt.spans)
        if (label, upto) in seen:
            continue
        seen.add((label, upto))
        if upto and not any(reader.fits(upto) for reader in readers):
            longest = max(reader.length for reader in readers)
            raise UserError(
                f"prompts: must have the class name within the {longest} tokens that the text "
                f"encoder reads, got {_shown(prompt.text)} for class {_shown(label)}; put "
                "{label} first in prompts.template, or set a short name in dataset.prompt_names"
            )


def cut_prompts(readers: Sequence[TextReader], prompts: Sequence[Prompt]) -> list[str]:
    """Return a line for each length that some prompts exceed."""
    lines = []
    negative = {prompt.negative_prompt for prompt in prompts}
    for length in sorted({reader.length for reader in readers}):
        of_length = [reader for reader in readers if reader.length == length]
        fits = lru_cache(NUM_REMEMBERED)(partial(_fit, of_length))
        long = Counter(prompt.spans for prompt in prompts if not fits(prompt.spans))
        where = f"the text encoder's {length} tokens"
        if len({reader.length for reader in readers}) > 1:
            where = f"the {length} tokens of the {of_length[0].name} encoder"
        if long:
            num = long.total()
            text = "".join(span.text for span in next(iter(long)))
            are = "is" if num == 1 else "are"
            lines.append(
                f"{num:,} of {len(prompts):,} {are} longer than {where} and {are} cut, the first: "
                f"{_shown(text)}"
            )
        if not all(r.fits((Span(text, 1.0),)) for r in of_length for text in negative):
            lines.append(f"prompts.negative_prompt is longer than {where} and is cut")
    return lines


def _fit(readers: Sequence[TextReader], spans: Spans) -> bool:
    return all(reader.fits(spans) for reader in readers)


def _up_to(label: str, spans: Spans) -> Spans:
    """Return a prompt up to the end of the class name; () if it does not have it."""
    text = "".join(span.text for span in spans)
    place = text.find(label) if label else -1
    if place < 0:
        return ()
    end, kept = place + len(label), []
    for span in spans:
        kept.append(Span(span.text[:end], span.weight))
        end -= len(span.text)
        if end <= 0:
            break
    return tuple(kept)


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")

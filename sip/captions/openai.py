"""Captions by a service with OpenAI's API: OpenAI itself, vLLM, Ollama, llama.cpp and others.

Images leave this machine. The recipe holds the settings of a request; what answers may change
behind the same name, so that the same recipe can give other captions on another day or at another
address. What the store holds is never asked for again.
"""

import base64
import io
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from sip.core.component import Component, component, ignored, refuse
from sip.core.errors import UserError
from sip.core.hashing import seed_of
from sip.core.image_io import shrunk
from sip.core.ranges import Count, NotNegative, Positive, Rate, Seed
from sip.core.text import counted, format_duration
from sip.dataset.base import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
KEY = re.compile(r"[!-~]+")  # visible ASCII
SEEDS = 2**31  # services read seeds as 32-bit numbers
OURS = ("messages", "model", "temperature", "top_p", "seed", "max_tokens", "n", "stream")
ENCODED = {"jpeg": {"quality": 95}, "png": {}}


class _Hidden:
    """Stands in a message for a value that may be a secret."""

    def __repr__(self) -> str:
        return "another text (not shown: it may be secret)"


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL; None if its host or its port is none."""
    try:
        parts = urlsplit(url)
        return None if parts.port == 0 else parts
    except ValueError:  # "http://[::1", or a port above 65535
        return None


@component
class OpenAi(Component):
    """One request for each caption, with the image in it.

    Args:
        base_url: Where the API begins. Not in the recipe: a server may move.
        key_variable: Environment variable with the key; None if the service needs none.
        model: Name that the service knows.
        instruction: What is asked of each image.
        num_captions: Requests for each image, which differ in their seed.
        temperature, top_p, max_tokens: Values of the request; None leaves one to the service.
        seed: The seed of a request is its hash with the image and the number of the caption; None
            sends none. Services do what they can with it.
        extra: Further values of the request's body, such as {reasoning_effort: low}.
        max_side: Longest side that is sent, in pixels; larger images are shrunk.
        image_format: Images are sent as JPEG of quality 95, or as PNG.
        detail: OpenAI's own size of what its models read; None leaves it out.
        timeout: Seconds without a byte of the answer after which a request counts as lost.
        max_retries: Tries after the first one.
        backoff: Seconds before the second try; doubled with each further one.
        concurrency: Requests at the same time, of all processes together.
        requests_per_minute: Largest number of requests, of all processes together; None: no limit.
        input_price, output_price: Price of a million tokens, in any currency; None: no cost is
            counted.
    """

    base_url: str = ignored()
    key_variable: str | None = ignored()
    model: Annotated[str, Field(min_length=1)]
    instruction: Annotated[str, Field(min_length=1)]
    num_captions: Count
    temperature: NotNegative | None
    top_p: Rate | None
    max_tokens: Count | None
    seed: Seed | None
    extra: dict[str, Any]
    max_side: Count
    image_format: Literal["jpeg", "png"]
    detail: Literal["auto", "low", "high"] | None
    timeout: Positive = ignored()
    max_retries: Annotated[int, Field(ge=0, le=20)] = ignored()
    backoff: Positive = ignored()
    concurrency: Count = ignored()
    requests_per_minute: Positive | None = ignored()
    input_price: NotNegative | None = ignored()
    output_price: NotNegative | None = ignored()

    def __post_init__(self) -> None:
        parts = _parts(self.base_url)
        if parts is None:
            secret = any(sign in self.base_url for sign in "@?#")
        else:
            secret = any((parts.username, parts.password, parts.query, parts.fragment))
        if not parts or parts.scheme not in ("http", "https") or not parts.hostname or secret:
            rule = "http://HOST/v1 or https://HOST/v1 without a user, a key or a query"
            fix = "name the variable with the key in captions.key_variable"
            raise refuse("base_url", rule, _Hidden() if secret else self.base_url, fix)
        if self.key_variable is not None and not VARIABLE.fullmatch(self.key_variable):
            rule = "the name of an environment variable in capital letters, never the key itself"
            raise refuse("key_variable", rule, _Hidden())
        if not self.instruction.strip():
            raise refuse("instruction", "text", self.instruction)
        if self.num_captions > 1 and self.temperature == 0:
            fix = "set captions.temperature=0.7"
            raise refuse("num_captions", "1 at a temperature of 0", self.num_captions, fix)
        if taken := sorted(set(self.extra).intersection(OURS)):
            raise refuse("extra", f"without {', '.join(OURS)}", taken)

    def secret(self) -> str | None:
        """Return the key, of the environment and nowhere else.

        Raises:
            UserError: There is none, or what is there cannot be sent.
        """
        if self.key_variable is None:
            return None
        key = os.environ.get(self.key_variable, "").strip()
        if not KEY.fullmatch(key):
            got = "characters that no key has" if key else "nothing"
            raise UserError(
                f"captions.key_variable: must be an environment variable with a key, got {got} in "
                f"{self.key_variable}; export it, or set captions.key_variable=null for a server "
                "without keys"
            )
        return key

    def require(self) -> None:
        """Make sure that there is a key, if one is needed; nothing is asked.

        Raises:
            UserError: There is none.
        """
        self.secret()

    def key(self, sample: Sample) -> str:
        """Return the hash of the image's content: its name and class are not sent."""
        return sample.sha256

    def foreseen(self, num_images: int) -> str:
        """Return what the captions of images take, for a plan."""
        num = num_images * self.num_captions
        text = f"{counted(num, 'request')} to {self.base_url} ({self.model}), with the images"
        if self.requests_per_minute is None:
            return text
        least = format_duration(num * 60 / self.requests_per_minute)
        return f"{text}; at {self.requests_per_minute:g} a minute at least {least}"

    def body(self, sample: Sample, image: str, number: int) -> Mapping[str, Any]:
        """Return the body of a request.

        Args:
            sample: The image.
            image: As `encoded` returns it.
            number: Number of the caption, from 0.
        """
        url = {"url": image, **({"detail": self.detail} if self.detail else {})}
        content = [
            {"type": "text", "text": self.instruction},
            {"type": "image_url", "image_url": url},
        ]
        seed = None
        if self.seed is not None:
            seed = seed_of(self.seed, sample.sha256, number) % SEEDS
        options = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": seed,
        }
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            **{name: value for name, value in options.items() if value is not None},
            **self.extra,
        }

    def encoded(self, image: "Image") -> str:
        """Return an RGB image as a data URL, no larger than `max_side`."""
        stream = io.BytesIO()
        shrunk(image, self.max_side).save(
            stream, format=self.image_format, **ENCODED[self.image_format]
        )
        text = base64.b64encode(stream.getvalue()).decode("ascii")
        return f"data:image/{self.image_format};base64,{text}"

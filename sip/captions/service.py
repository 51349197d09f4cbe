"""Requests to a service that answers with captions: pace, retries, and what an answer may be.

The form is OpenAI's "chat completions", which vLLM, Ollama, llama.cpp and others serve too. What
can pass (429, 5xx, a cut connection, no JSON) is asked again; what cannot ends the work at once
(key, address, model, quota), or costs the image its caption (a refusal, a request that is not
accepted).
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from sip.core.errors import UserError
from sip.core.interrupt import stop_requested
from sip.core.progress import say
from sip.core.text import counted, format_duration

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

MAX_BACKOFF = 60.0  # s between two tries, unless the service asks for more
MAX_WAIT = 3600.0  # s; a service that asks for more ends the work
LOOK_EVERY = 0.1  # s between two looks at whether the work is to end
LEAST_SECRET = 8  # characters of a key that is one; servers without keys are sent "-" and the like
SHOWN = 160  # characters of a service's message
AGAIN = frozenset({408, 409, 425, 429})  # and all from 500 on


@dataclass(frozen=True)
class Answer:
    """What a service said of an image.

    Attributes:
        text: The caption, in one line.
        model: What the service says answered.
        requests: Requests that it took.
        input_tokens, output_tokens: As the service counts them; 0 if it does not.
    """

    text: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int


class NoAnswerError(Exception):
    """An image gets no caption.

    Args:
        reason: Why, in a line.
        requests: Requests that were made for it.
        is_about_image: Whether the service declined this image; else the next may fail too.
    """

    def __init__(self, reason: str, requests: int, is_about_image: bool = False) -> None:
        super().__init__(reason)
        self.requests, self.is_about_image = requests, is_about_image


class EndedError(Exception):
    """The work ends meanwhile: no answer is waited for."""


class _AgainError(Exception):
    """Another try may succeed; `after` are the seconds that the service asks to wait."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Pace:
    """When the next request may start, for all threads together.

    Args:
        per_minute: Largest number of requests; None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.interval = 60.0 / per_minute if per_minute else 0.0
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait for the turn of a request.

        Raises:
            EndedError: The work ends.
        """
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self.interval
        self.sleep(turn - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Let no thread's request start for some seconds."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            EndedError: The work ends.
        """
        until = time.monotonic() + seconds
        while not (self.ended.is_set() or stop_requested()):
            left = until - time.monotonic()
            if left <= 0:
                return
            self.ended.wait(min(left, LOOK_EVERY))
        raise EndedError


class Service:
    """Asks one address; used by several threads.

    Args:
        url: Where the API begins, such as "http://localhost:8000/v1".
        key: Sent as a bearer token; None for none. It is in nothing that this class gives back.
        timeout: Seconds without a byte of the answer.
        max_retries: Tries after the first one.
        backoff: Seconds before the second try; doubled with each further one, less up to a half.
        pace: When requests may start.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout: float,
        max_retries: int,
        backoff: float,
        pace: Pace,
    ) -> None:
        for name in ("urllib3", "requests"):  # their lines name every request
            logging.getLogger(name).setLevel(logging.WARNING)
        self.url, self.timeout, self.pace = url.rstrip("/"), timeout, pace
        self.max_retries, self.backoff = max_retries, backoff
        self.num_requests = 0
        self._has_said = False
        self._key = key
        self._count = threading.Lock()
        self._local = threading.local()
        self._sessions: list[Any] = []
        self._random = random.Random()

    def ask(self, body: Mapping[str, Any]) -> Answer:
        """Return the answer to a request.

        Raises:
            NoAnswerError: There is none, for this image.
            EndedError: The work ends.
            UserError: No request can be answered; says what to do.
        """
        for tried in range(self.max_retries + 1):
            self.pace.wait()
            try:
                return self._once(body, tried + 1)
            except _AgainError as error:
                if error.after > MAX_WAIT:
                    raise UserError(
                        f"captions: {self.url} asks to wait {format_duration(error.after)} "
                        f"({error}); start again then: answers are kept"
                    ) from error
                if error.after:
                    self.pace.pause(error.after)
                reason = str(error)
            if tried < self.max_retries:
                self._say_once(reason)
                delay = min(MAX_BACKOFF, self.backoff * 2**tried)
                self.pace.sleep(delay * self._random.uniform(0.5, 1.0))
        raise NoAnswerError(reason, self.max_retries + 1)

    def _say_once(self, reason: str) -> None:
        """Say why the first request was in vain: all tries together may take minutes."""
        with self._count:
            if self._has_said:
                return
            self._has_said = True
        tries = counted(self.max_retries, "time")
        say("captions", f"{self.url}: {reason}; asking again, up to {tries} for an image")

    def _once(self, body: Mapping[str, Any], requests_made: int) -> Answer:
        import requests

        with self._count:
            self.num_requests += 1
        try:
            response = self._session.post(
                f"{self.url}/chat/completions",
                json=body,
                timeout=self.timeout,
                auth=self._authorize,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise _AgainError(_transport(error)) from None
        return self._answer(response, str(body["model"]), requests_made)

    @property
    def _session(self) -> Any:
        """A session for each thread: they are not made to be shared."""
        if not hasattr(self._local, "session"):
            import requests

            self._local.session = requests.Session()
            self._sessions.append(self._local.session)
        return self._local.session

    def close(self) -> None:
        """Close all connections; no thread may ask any more."""
        for session in self._sessions:
            session.close()

    def _authorize(self, request: "PreparedRequest") -> "PreparedRequest":
        # As `auth`, so that a .netrc adds nothing of its own.
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _answer(self, response: "Response", model: str, requests_made: int) -> Answer:
        """Return the answer in a response.

        Raises:
            _AgainError, NoAnswerError, UserError: It holds none.
        """
        text = response.content.decode("utf-8", "replace")
        if self._key and len(self._key) >= LEAST_SECRET:
            text = text.replace(self._key, "[key]")  # some servers repeat what they were sent
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if response.status_code != 200:
            raise self._refused(response, content, model, requests_made)
        if not isinstance(content, dict):
            kind = "HTML" if text.lstrip()[:1] == "<" else "no JSON"
            raise _AgainError(f"{kind} in place of an answer")
        return _parsed(content, model, requests_made)

    def _refused(
        self, response: "Response", content: Any, model: str, requests_made: int
    ) -> Exception:
        """Return the error of a response that is no success."""
        status = response.status_code
        error = content.get("error") if isinstance(content, dict) else None
        stated = error if isinstance(error, dict) else {"message": error}
        said = f": {_line(stated['message'])}" if stated.get("message") else ""
        reason = f"HTTP {status}{said}"
        if status in (401, 403):
            got = "none" if self._key is None else "one that is refused"
            return UserError(
                f"captions.key_variable: must name an environment variable with a key of "
                f"{self.url}, got {got} (HTTP {status}); set it to a valid key"
            )
        if status == 402 or stated.get("code") == "insufficient_quota":
            return UserError(f"captions: {self.url} has no quota left ({reason}); answers are kept")
        if status == 404:
            return UserError(
                f"captions.model: must be a model that {self.url} serves, got {model!r} "
                f"({reason}); {self.url}/models lists them, or fix captions.base_url"
            )
        if 300 <= status < 400 or status == 405:
            return UserError(
                f"captions.base_url: must be where /chat/completions is, got {self.url} "
                f"({reason}); it ends in /v1, as a rule"
            )
        if status in AGAIN or status >= 500:
            return _AgainError(reason, _retry_after(response.headers))
        return NoAnswerError(reason, requests_made)


def _parsed(content: Mapping[str, Any], model: str, requests_made: int) -> Answer:
    """Return the answer in a response's JSON.

    Raises:
        NoAnswerError: The model declines.
        _AgainError: It has no text.
    """
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        raise _AgainError("an answer without a choice")
    if refusal := message.get("refusal"):
        raise NoAnswerError(f"declined: {_line(refusal)}", requests_made, is_about_image=True)
    if choice.get("finish_reason") == "content_filter":
        raise NoAnswerError("declined by a content filter", requests_made, is_about_image=True)
    text = message.get("content")
    if not isinstance(text, str) or not text.strip():
        at_limit = choice.get("finish_reason") == "length"
        raise _AgainError("an empty answer" + (", at captions.max_tokens" if at_limit else ""))
    used = content.get("usage")
    usage = used if isinstance(used, dict) else {}
    tokens = [usage.get(f"{kind}_tokens") for kind in ("prompt", "completion")]
    numbers = [number if isinstance(number, int) else 0 for number in tokens]
    return Answer(
        " ".join(text.split()), str(content.get("model") or model), requests_made, *numbers
    )


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a service asks to wait, which it states as such or as a date."""
    stated = headers.get("Retry-After", "")
    readers: tuple[Callable[[str], float], ...] = (
        float,
        lambda text: parsedate_to_datetime(text).timestamp() - time.time(),
    )
    for read in readers:
        try:
            seconds = read(stated)
        except (ValueError, TypeError, OverflowError):
            continue
        return max(0.0, seconds) if seconds == seconds else 0.0
    return 0.0


def _transport(error: Exception) -> str:
    """Return why no response arrived, without the address and what was sent."""
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in captions.timeout"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection (TLS)"
    is_refused = "refused" in str(error) or "NameResolution" in str(error)
    return "nothing answers there" if is_refused else "the connection was cut"


def _line(text: object) -> str:
    return " ".join(str(text).split())[:SHOWN]

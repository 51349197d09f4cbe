"""The work of a service's captioner: several requests at once, answers kept as they arrive."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from sip.captions.answers import Answers
from sip.captions.base import CaptionRow
from sip.captions.openai import OpenAi
from sip.captions.service import LOOK_EVERY, Answer, EndedError, NoAnswerError, Pace, Service
from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.core.interrupt import stop_requested
from sip.core.progress import say
from sip.core.text import counted
from sip.dataset.base import Sample
from sip.store.filling import Add, Make
from sip.store.stage import StageStore

FOLDER = "answers"  # of a stage
MAX_UNANSWERED = 10  # images in a row without an answer, after which the service counts as down


@dataclass(frozen=True)
class AnsweredRow(CaptionRow):
    """The captions of an image with what they took.

    Attributes:
        model: What the service says answered; None if nothing did.
        requests: Requests, repeated ones too.
        input_tokens, output_tokens: As the service counts them.
    """

    model: str | None = None
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


def asks(captioner: OpenAi, stage: StageStore, num_processes: int) -> Make[Sample]:
    """Return what makes the rows of a captioner.

    Args:
        captioner: The settings.
        stage: The stage in the store; what is answered is kept there until it is committed.
        num_processes: Processes that ask, which share pace and concurrency.
    """

    def make(batches: Iterator[list[Sample]], add: Add) -> None:
        with Answers(stage.folder / FOLDER) as answers:
            Asking(captioner, answers, num_processes).work(batches, add)

    return make


def tidy(stage: StageStore) -> None:
    """Delete what was kept of answers that are in the store now."""
    Answers.tidy(stage.folder / FOLDER, stage.index)


class Asking:
    """One process's requests.

    A row counts as failed if the service declines its image, or if it answers for another one
    meanwhile. If it answers for none, the work ends, and no row is blamed.

    Args:
        captioner: The settings.
        answers: What was answered before and is not in the store.
        num_processes: Processes that ask.
    """

    def __init__(self, captioner: OpenAi, answers: Answers, num_processes: int) -> None:
        self.captioner, self.answers = captioner, answers
        per_minute = captioner.requests_per_minute
        self.pace = Pace(per_minute and per_minute / num_processes)
        self.num_threads = max(1, captioner.concurrency // num_processes)
        self.service = Service(
            captioner.base_url,
            captioner.secret(),
            captioner.timeout,
            captioner.max_retries,
            captioner.backoff,
            self.pace,
        )
        self.new: list[Answer] = []
        self._held: list[AnsweredRow] = []
        self._has_answered = False

    def work(self, batches: Iterator[list[Sample]], add: Add) -> None:
        """Make the rows of batches; ends early if a stop was requested.

        Raises:
            UserError: No request can be answered, or none was; what was answered is kept.
        """
        running: set[Future[AnsweredRow]] = set()
        captioner = self.captioner
        say("captions", f"asking {captioner.model} at {captioner.base_url}; the images go there")
        try:
            with ThreadPoolExecutor(self.num_threads, "ask") as threads:
                try:
                    for batch in batches:
                        running |= {threads.submit(self._row, sample) for sample in batch}
                        while len(running) >= self.num_threads:
                            running = self._take(running, add)
                    while running:
                        running = self._take(running, add)
                except BaseException:
                    self.pace.ended.set()
                    raise
            if self._has_answered:
                self._add_held(add)
            elif self._held and not stop_requested():
                raise self._down()
        finally:
            self.service.close()
            self._say_usage()

    def _take(self, running: set[Future[AnsweredRow]], add: Add) -> set[Future[AnsweredRow]]:
        """Add the rows that are done; return what still runs."""
        # Not for ever: a signal that another thread gets is handled between two looks.
        done, left = wait(running, LOOK_EVERY, FIRST_COMPLETED)
        errors = []
        for future in done:
            error = future.exception()
            if error is None:
                self._sort(future.result(), add)
            elif not isinstance(error, EndedError):
                errors.append(error)
        if errors:
            raise errors[0]
        return left

    def _sort(self, row: AnsweredRow, add: Add) -> None:
        """Add a row, or hold it back until the service has answered for another one."""
        if row.status == "failed" and row.requests and row.model is None:
            self._held.append(row)
            if len(self._held) >= MAX_UNANSWERED:
                raise self._down()
            return
        if row.status == "ok":
            self._has_answered = True
            self._add_held(add)
        add(row.to_dict())

    def _add_held(self, add: Add) -> None:
        for row in self._held:
            add(row.to_dict())
        self._held.clear()

    def _down(self) -> UserError:
        num = counted(len(self._held), "image")
        return UserError(
            f"captions: {self.captioner.base_url} must answer, got none for {num} in a row "
            f"({self._held[-1].error}); see to it and start again: answers are kept"
        )

    def _row(self, sample: Sample) -> AnsweredRow:
        """Return the row of an image.

        Raises:
            EndedError: The work ends.
            UserError: No request can be answered.
        """
        captioner, key = self.captioner, self.captioner.key(sample)
        image, given = "", list[Answer]()
        for number in range(captioner.num_captions):
            answer = self.answers.known.get((key, number))
            if answer is None:
                try:
                    image = image or captioner.encoded(read_rgb(sample.path, None))
                except ValueError as error:
                    return _failed(key, sample, str(error), given)
                try:
                    answer = self.service.ask(captioner.body(sample, image, number))
                except NoAnswerError as error:
                    model = captioner.model if error.is_about_image else None
                    return _failed(key, sample, str(error), given, error.requests, model)
                self.answers.add((key, number), answer)
                self.new.append(answer)
            given.append(answer)
        texts = list(dict.fromkeys(answer.text for answer in given))
        return AnsweredRow(
            key, sample.sample_id, texts, "ok", None, given[-1].model, **_sums(given)
        )

    def _say_usage(self) -> None:
        """Print what was asked, and what it cost by the prices that are set."""
        num = self.service.num_requests
        if not num:
            return
        sums = _sums(self.new)
        text = f"{counted(num, 'request')}, {counted(len(self.new), 'answer')} with "
        text += f"{sums['input_tokens']:,} input and {sums['output_tokens']:,} output tokens"
        prices = self.captioner.input_price, self.captioner.output_price
        if any(price is not None for price in prices):
            parts = zip(prices, (sums["input_tokens"], sums["output_tokens"]), strict=True)
            cost = sum((price or 0.0) * tokens for price, tokens in parts) / 1e6
            text += f", {cost:.4f} by captions.input_price and output_price"
        say("captions", text)


def _sums(answers: list[Answer]) -> dict[str, int]:
    names = ("requests", "input_tokens", "output_tokens")
    return {name: sum(getattr(answer, name) for answer in answers) for name in names}


def _failed(
    key: str,
    sample: Sample,
    reason: str,
    given: list[Answer],
    requests: int = 0,
    model: str | None = None,
) -> AnsweredRow:
    sums = _sums(given)
    sums["requests"] += requests
    return AnsweredRow(key, sample.sample_id, [], "failed", reason, model, **sums)

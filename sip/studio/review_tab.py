"""The tab *Review*: images of a run next to their originals, accepted or rejected one by one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from sip.core.errors import UserError
from sip.core.text import counted
from sip.filter.review import ACCEPT, REJECT
from sip.studio import html
from sip.studio.parts import code_box, error_line, or_error, run_choices
from sip.studio.reviewing import AGREEMENT, DISTANCE, ReviewedRun, ReviewState
from sip.studio.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE, SMALL = 384, 96  # px of the image that is shown, and of those in the strip
IN_STRIP = 12
IN_ORDER = "order of the run"
MARKS = {ACCEPT: "sip-accepted", REJECT: "sip-rejected", None: ""}
# Keys may be faster than the answers: each press counts, one after the other.
IN_TURN: dict[str, Any] = {
    "trigger_mode": "multiple", "concurrency_limit": 1, "concurrency_id": "review",
}  # fmt: skip
KEYS = "Keys: A accept, R reject, ← → move, U undo."


def review_tab(tab: gr.Tab, settings: Settings) -> None:
    """Lay out the tab.

    Args:
        tab: The tab; the list of runs is read again when it is shown.
        settings: Those of the command line.
    """
    state = gr.State(None)
    with gr.Row(elem_classes="sip-columns"):
        with gr.Column(scale=2, min_width=300):
            run = gr.Dropdown(
                run_choices(settings.runs), value=None, label="Run", elem_id="review-run"
            )
            order = gr.Dropdown([IN_ORDER], value=IN_ORDER, label="Sort by", elem_id="review-order")
            falling = gr.Radio(
                ["lowest first", "highest first"], value="lowest first", label="Order"
            )
            with gr.Row(elem_classes="sip-tight"):
                threshold = gr.Number(label="Reject below", value=None, step=0.01, min_width=120,
                                      elem_id="review-threshold")  # fmt: skip
                cut = gr.Button("Reject undecided", size="sm", min_width=120, elem_id="review-cut")
            counts = gr.HTML(elem_id="review-counts")
            with gr.Accordion("Use the review", open=False):
                use = code_box("Commands", "review-use")
        with gr.Column(scale=5, min_width=300):
            error = gr.HTML(elem_id="review-error")
            pair = gr.HTML(html.note("Choose a run.", "sip-empty"), elem_id="review-pair")
            with gr.Row(elem_classes="sip-buttons"):
                back = gr.Button("←", min_width=40, elem_id="review-back")
                reject = gr.Button(
                    "Reject (R)", variant="stop", min_width=90, elem_id="review-reject"
                )
                accept = gr.Button(
                    "Accept (A)", variant="primary", min_width=90, elem_id="review-accept"
                )
                undo = gr.Button("Undo (U)", min_width=90, elem_id="review-undo")
                forth = gr.Button("→", min_width=40, elem_id="review-forth")
            strip = gr.HTML(elem_id="review-strip")
            gr.HTML(html.note(KEYS, "sip-keys"))

    def choose(name: str | None) -> tuple[Any, ...]:
        wrong, seen = "", None
        try:
            seen = ReviewState(ReviewedRun(settings.runs / name, settings.store)) if name else None
        except UserError as error:
            wrong = error_line(error)
        if seen is None:  # no key is to decide on images of the run before
            return (None, gr.update(), None, "", *shown(None), wrong)
        names = [IN_ORDER, *seen.run.orders]
        seen.order = seen.run.orders[0] if seen.run.orders else ""
        return (
            seen,
            gr.update(choices=names, value=seen.order or IN_ORDER),
            limit(seen.order),
            seen.run.commands(),
            *shown(seen),
            "",
        )

    def sort(seen: ReviewState | None, name: str, direction: str) -> tuple[Any, ...]:
        if seen is None:
            return seen, limit(""), *shown(None)
        order = "" if name == IN_ORDER else name
        update = limit(order) if order != seen.order else gr.skip()
        seen.order, seen.falling, seen.position = order, direction == "highest first", 0
        return seen, update, *shown(seen)

    def step(change: Any) -> Any:
        def act(seen: ReviewState | None) -> tuple[Any, ...]:
            if seen is not None:
                change(seen)
            return seen, *shown(seen)

        return act

    def reject_below(seen: ReviewState | None, value: float | None) -> tuple[Any, ...]:
        if seen is not None:
            num = seen.reject_below(value)
            gr.Info(f"{counted(num, 'undecided image')} rejected")
        return seen, *shown(seen)

    views = [pair, strip, counts]
    tab.select(lambda: gr.update(choices=run_choices(settings.runs)), None, run)
    run.change(choose, run, [state, order, threshold, use, *views, error])
    gr.on([order.input, falling.input], sort, [state, order, falling], [state, threshold, *views])
    outputs = [state, *views]
    for button, change in (
        (accept, lambda seen: seen.decide(ACCEPT)),
        (reject, lambda seen: seen.decide(REJECT)),
        (back, lambda seen: seen.move(-1)),
        (forth, lambda seen: seen.move(1)),
        (undo, lambda seen: seen.take_back()),
    ):
        button.click(
            or_error(step(change), outputs), state, [*outputs, error], show_progress="hidden",
            **IN_TURN,
        )  # fmt: skip
    cut.click(or_error(reject_below, outputs), [state, threshold], [*outputs, error], **IN_TURN)


def limit(order: str) -> Any:
    """Return the field of the threshold for an order; a value holds for one measure only."""
    return gr.update(label="Reject above" if order == DISTANCE else "Reject below", value=None)


def figure(
    read: "Callable[[], Image]", size: int, lines: Sequence[str] = (), mark: str = ""
) -> str:
    """Return an image as `html.figure` does; of one that is damaged or missing, what is wrong.

    All else of the page must be that of the new place: keys decide on what is there.
    """
    try:
        return html.figure(read(), size, lines, mark)
    except UserError as error:
        return html.note(str(error) if size == SIZE else "damaged", f"sip-error {mark}")


def shown(seen: ReviewState | None) -> tuple[str, str, str]:
    """Return pair, strip and counts as HTML."""
    if seen is None:
        return html.note("Choose a run.", "sip-empty"), "", ""
    items, known = seen.items, seen.run.decisions
    item = items[seen.position]
    mark = known.get(item.image.id)
    image = item.image
    place = f"{seen.position + 1} of {len(items)}"
    values = [
        f"{name}: {'yes' if value else 'no'}" if name == AGREEMENT else f"{name} {value:.3f}"
        for name, value in item.values.items()
    ]
    figures = [
        figure(lambda: image.original_image, SIZE, [f"original: {image.class_name}", place]),
        figure(lambda: image.image, SIZE, [mark or "undecided", *html.made_with(image.noise_rate)],
               MARKS[mark]),
    ]  # fmt: skip
    pair = (
        html.grid(figures, 2) + html.note(image.prompt) + html.note(" · ".join(values), "sip-keys")
    )
    start = min(max(seen.position - IN_STRIP // 2, 0), max(len(items) - IN_STRIP, 0))
    small = [
        figure(
            partial(getattr, one.image, "image"), SMALL, (),
            f"{MARKS[known.get(one.image.id)]} {'sip-current' if n == seen.position else ''}",
        )
        for n, one in enumerate(items[start : start + IN_STRIP], start)
    ]  # fmt: skip
    counts = ", ".join(f"{num:,} {name}ed" if name != "undecided" else f"{num:,} undecided"
                       for name, num in seen.run.counts().items())  # fmt: skip
    return pair, f'<div class="sip-strip">{"".join(small)}</div>', html.note(counts)

"""The tab *Try*: one image, its captions, prompt and guidance, and images for several settings."""

from functools import partial
from typing import Any

import gradio as gr

from sip.api.session import Session
from sip.studio import html, trying
from sip.studio.parts import code_box, or_error
from sip.studio.preset import preset
from sip.studio.settings import Settings

SIZE = 320  # px of an image on the page
RULE, HAND = "by the rule", "by hand"
HEAD = ("text", "weight")
EMPTY = html.note("Drop an image, type its class and press Generate.", "sip-empty")
ABOUT_COMMAND = (
    "It makes the images above again, with the original and the prompt list that lie in the store. "
    "For your own data, replace the settings of `dataset`."
)


def try_tab(session: Session, settings: Settings) -> None:
    """Lay out the tab.

    Args:
        session: Keeps the models.
        settings: Those of the command line.
    """
    state = gr.State(None)
    with gr.Row(elem_classes="sip-columns"):
        with gr.Column(scale=2, min_width=300):
            image = gr.Image(
                label="Image", type="filepath", image_mode=None, height=240,
                sources=["upload", "clipboard"], elem_id="try-image", buttons=[],
            )  # fmt: skip
            label = gr.Textbox(label="Label", placeholder="tabby cat", elem_id="try-label")
            rate = gr.Slider(0.05, 1, 0.5, step=0.05, label="Noise rate", elem_id="try-rate")
            guidance = gr.Radio([RULE, HAND], value=RULE, label="Guidance scale")
            scale = gr.Slider(1, 20, 7.5, step=0.5, label="Scale", visible=False)
            layout = gr.Dropdown(
                list(trying.LAYOUTS), value="1 image", label="Generate", elem_id="try-layout",
                info="Noise rates lie around the slider's; scales are half, once and twice that of "
                "the rule, or of the slider.",
            )  # fmt: skip
            button = gr.Button("Generate", variant="primary", elem_id="try-generate")
        with gr.Column(scale=5, min_width=300):
            error = gr.HTML(elem_id="try-error")
            images = gr.HTML(EMPTY, elem_id="try-images")
            candidates = gr.HTML(elem_id="try-candidates")
            rows = gr.Dataframe(
                headers=list(HEAD), datatype=["str", "number"], type="array",
                label="Prompt: edit words and weights",
                interactive=True, wrap=True, visible=False, column_widths=["75%", "25%"],
                elem_id="try-prompt",
            )  # fmt: skip
            with gr.Accordion("Copy as command or YAML", open=False, visible=False) as copy:
                gr.Markdown(ABOUT_COMMAND)
                command = code_box("Command", "try-command")
                yaml = code_box("YAML of a preset, for a file in my_conf/exp", "try-yaml")

    guidance.change(lambda how: gr.update(visible=how == HAND), guidance, scale)
    inputs = [state, image, label, rate, guidance, scale, layout, rows]
    outputs = [state, images, candidates, rows, copy, command, yaml]
    generate = partial(generated, session, settings)
    for event in (button.click, label.submit):
        event(
            or_error(generate, outputs), inputs, [*outputs, error], concurrency_limit=1,
            concurrency_id="models",
        )  # fmt: skip


def generated(
    session: Session, settings: Settings, seen: trying.Look | None, file: str | None, words: str,
    noise: float, how: str, by_hand: float, place: str, cells: list[list[Any]],
) -> tuple[Any, ...]:  # fmt: skip
    """Return what the tab shows: state, images, captions, prompt, and the command in two forms.

    Args:
        session, settings: As those of `try_tab`.
        seen: The state.
        file, words, noise, how, by_hand, place: Values of the fields.
        cells: Rows of the prompt's table.

    Raises:
        UserError: As `trying.look` and `trying.generate`.
    """
    if seen is None or file is None or seen.key != trying.key_of_image(file, words):
        if seen is None:
            gr.Info("Loading the models")
        elif cells and trying.spans_of(cells) != seen.spans:
            gr.Info("Image or label is another one: the prompt is written again")
        seen = trying.look(session, settings, file, words, noise)
        spans = seen.spans
    else:
        spans = trying.spans_of(cells)
    wish = trying.Wish(noise, by_hand if how == HAND else None, place)
    result = trying.generate(session, settings, seen, spans, wish)
    command_line = result.command(settings.runs)
    return (
        seen,
        show_images(result),
        show_candidates(seen),
        gr.update(value=[list(pair) for pair in spans], visible=True),
        gr.update(visible=True),
        command_line,
        preset(command_line),
    )


def show_images(result: trying.TryResult) -> str:
    """Return the images of a result as HTML, with the original before or above them."""
    figures = [
        html.figure(
            one.image,
            SIZE,
            html.made_with(one.noise_rate, one.guidance_scale),
        )
        for one in result.images
    ]
    original = html.figure(result.look.first.original_image, SIZE, ["original"])
    if result.columns <= 1:
        return html.grid([original, *figures], 2)
    return html.grid([original], result.columns) + html.grid(figures, result.columns)


def show_candidates(seen: trying.Look) -> str:
    """Return the captions with their similarities as HTML."""
    first = seen.first
    if not seen.preview.candidates:
        return html.note("These prompts read no captions.")
    rows = [(caption, f"{cosine:.3f}") for caption, cosine in seen.preview.candidates]
    known = (
        f"similarity {first.similarity:.3f}" if first.similarity is not None else "no similarity"
    )
    table = html.table(("caption", "similarity"), rows)
    if first.guidance_scale is None:
        return table
    return table + html.note(f"Guidance scale by the rule: {first.guidance_scale:g} ({known}).")

"""The tab *Compare*: runs side by side, and a blind choice between two of them at a time."""

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from sip.api.run import Run
from sip.studio import comparing, html
from sip.studio.comparing import AnswerFile, BlindTrial
from sip.studio.parts import code_box, or_error, run_choices
from sip.studio.settings import Settings

SIZE, SMALL = 320, 160  # px of an image in a trial, and side by side
ROWS = 6  # originals side by side
FILE = "comparisons.csv"  # of the answers, in the folder of the runs


@dataclass
class CompareState:
    """Where a window is in a comparison.

    Attributes:
        runs: By name.
        labels: What the page calls each run, by name.
        trials: Those without an answer.
        rater, seed: As the answers have them.
        page: First original of the rows side by side, in `ROWS`.
    """

    runs: dict[str, Run]
    labels: dict[str, str]
    trials: list[BlindTrial]
    rater: str
    seed: int
    page: int = 0

    def label(self, name: str) -> str:
        """Return what the page calls a run."""
        return self.labels.get(name, name)


def compare_tab(tab: gr.Tab, settings: Settings) -> None:
    """Lay out the tab.

    Args:
        tab: The tab; the list of runs is read again when it is shown.
        settings: Those of the command line.
    """
    state = gr.State(None)
    answers = AnswerFile(settings.runs / FILE)
    with gr.Row(elem_classes="sip-columns"):
        with gr.Column(scale=2, min_width=300):
            names = gr.Dropdown(run_choices(settings.runs), value=[], multiselect=True,
                                label="Runs", elem_id="compare-runs")  # fmt: skip
            with gr.Row(elem_classes="sip-tight"):
                rater = gr.Textbox("anonymous", label="Rater", min_width=120)
                seed = gr.Number(0, precision=0, label="Seed of the order", min_width=120)
            start = gr.Button("Start", variant="primary", elem_id="compare-start")
        with gr.Column(scale=5, min_width=300):
            error = gr.HTML(elem_id="compare-error")
            with gr.Tabs():
                with gr.Tab("Blind choice"):
                    trial = gr.HTML(EMPTY, elem_id="compare-trial")
                    with gr.Row(elem_classes="sip-buttons"):
                        left = gr.Button("Left (1)", min_width=100, elem_id="compare-left")
                        right = gr.Button("Right (2)", min_width=100, elem_id="compare-right")
                with gr.Tab("Side by side"):
                    rows = gr.HTML(EMPTY, elem_id="compare-rows")
                    with gr.Row(elem_classes="sip-buttons"):
                        back = gr.Button("← Back", min_width=100)
                        forth = gr.Button("More →", min_width=100)
            # Closed: after each answer it would tell which side was which run.
            with gr.Accordion("Table of the answers, for the end", open=False):
                table = gr.HTML(elem_id="compare-table")
                markdown = code_box("Markdown", "compare-markdown")

    def begin(chosen: list[str], who: str, number: float | None) -> tuple[Any, ...]:
        folders = [settings.runs / name for name in chosen]
        runs = comparing.open_runs(folders, settings.store)
        who, number = (who or "").strip() or "anonymous", int(number or 0)
        listed = answers.open_trials(comparing.trials(runs, number), who, number)
        labels = {name: label for label, name in run_choices(settings.runs)}
        seen = CompareState(runs, labels, listed, who, number)
        return (seen, show_trial(seen), show_rows(seen), *show_table(seen, answers))

    def answer(side: str) -> Any:
        return lambda seen: answered(seen, side, answers)

    def turn(step: int) -> Any:
        def act(seen: CompareState | None) -> tuple[Any, ...]:
            if seen is None:
                return seen, gr.update()
            num = len(comparing.common_originals(seen.runs.values()))
            seen.page = min(max(seen.page + step, 0), (num - 1) // ROWS)
            return seen, show_rows(seen)

        return act

    tab.select(lambda: gr.update(choices=run_choices(settings.runs)), None, names)
    outputs = [state, trial, rows, table, markdown]
    start.click(or_error(begin, outputs), [names, rater, seed], [*outputs, error])
    for button, side in ((left, "left"), (right, "right")):
        outputs = [state, trial, table, markdown]
        button.click(
            or_error(answer(side), outputs), state, [*outputs, error], show_progress="hidden"
        )
    for button, number in ((back, -1), (forth, 1)):
        outputs = [state, rows]
        button.click(or_error(turn(number), outputs), state, [*outputs, error])


def answered(seen: CompareState | None, side: str, answers: AnswerFile) -> tuple[Any, ...]:
    """Keep an answer; return state, trial and tables to show."""
    if seen is None or not seen.trials:
        return (seen, *[gr.update()] * 3)
    answers.add(seen.trials[0], side, seen.rater, seen.seed)
    after = replace(seen, trials=seen.trials[1:])
    seen.trials = []  # if the next one cannot be shown, nothing is there to answer
    return (after, show_trial(after), *show_table(after, answers))


EMPTY = html.note("Choose two or more runs and press Start.", "sip-empty")


def show_trial(seen: CompareState) -> str:
    """Return the next trial as HTML, without the names of the runs."""
    if not seen.trials:
        return html.note(
            "All originals are answered. Another seed or rater starts again.", "sip-empty"
        )
    one = seen.trials[0]
    head = f"{comparing.QUESTION} {len(seen.trials)} to go."
    figures = [
        html.figure(one.left.original_image, SIZE, [f"original: {one.left.class_name}"]),
        html.figure(one.left.image, SIZE, ["left (1)"]),
        html.figure(one.right.image, SIZE, ["right (2)"]),
    ]
    return html.note(head, "sip-question") + html.grid(figures, 3, "sip-trial")


def show_rows(seen: CompareState) -> str:
    """Return originals with the first image of each run next to them, as HTML."""
    ids = comparing.common_originals(seen.runs.values())[seen.page * ROWS :][:ROWS]
    figures = []
    for sample_id in ids:
        images = {name: run.of(sample_id)[0] for name, run in seen.runs.items()}
        first = next(iter(images.values()))
        figures.append(html.figure(first.original_image, SMALL, [f"original: {first.class_name}"]))
        figures += [
            html.figure(one.image, SMALL, [seen.label(name)]) for name, one in images.items()
        ]
    return html.grid(figures, len(seen.runs) + 1)


def show_table(seen: CompareState, answers: AnswerFile) -> tuple[str, str]:
    """Return the table of the answers on these runs as HTML and Markdown; write its files."""
    table = comparing.preferences(answers.read(), list(seen.runs))
    if not table:
        return html.note("No answers yet."), ""
    files = comparing.write_tables(table, answers.file)
    cells = [(f"{seen.label(r[0])} over {seen.label(r[1])}", f"{r[2]} of {r[3]}", *r[4:])
             for r in comparing.table_rows(table)]  # fmt: skip
    head = ("run", "chosen", "share", "95 % interval", "p", "p (Holm)")
    where = f"Answers in {answers.file}, table in {files[0].name} and {files[1].name}."
    early = f"{len(seen.trials)} to go: this table tells which side was which run."
    notes = [early, where] if seen.trials else [where]
    return html.table(head, cells) + "".join(map(html.note, notes)), comparing.as_markdown(table)

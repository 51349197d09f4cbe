"""The parts of the page that need no script: result, quality, figures, cost, commands."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sip.core.text import counted, without_paths
from sip.report import charts
from sip.report.html import Html, join, tag
from sip.report.results import DRAWING, TRAINING, Arm, quality
from sip.report.runs import CONTROL, NamedRun
from sip.report.thumbnails import file_address
from sip.tables.statistics import Difference, Estimate

ABOUT = {
    "generated/consistency_label": (
        "Similarity to the label",
        "cosine with “a photo of a <class>”",
    ),
    "generated/consistency_caption": ("Similarity to the caption", "cosine with the kept caption"),
    "generated/label_agreement": ("Label agreement", "share that zero-shot finds in its class"),
    "generated/diversity_original": ("Distance to the original", "1 − cosine"),
    "generated/diversity_class": ("Distance within a class", "1 − cosine, mean over pairs"),
    "generated/vendi": ("Vendi score", "effective number of different pictures"),
    "generated/frechet": ("Fréchet distance", "to real pictures, scorer's embeddings"),
    "generated/kernel_distance": ("Kernel distance", "squared MMD, unbiased"),
    "generated/precision": ("Precision", "share of drawn ones near real ones"),
    "generated/recall": ("Recall", "share of real ones near drawn ones"),
    "generated/density": ("Density", "about 1 for equal distributions"),
    "generated/coverage": ("Coverage", "share of real ones with a drawn one near"),
}


def section(identity: str, title: str, *children: Any) -> Html:
    """Return a part of the page with its heading."""
    heading = tag("h2", title, id=f"{identity}-title")
    return tag("section", heading, *children, id=identity, aria_labelledby=f"{identity}-title")


def result(groups: Mapping[str, Sequence[Arm]]) -> Html:
    """Return the table of arms with its plot, for each backbone and data set."""
    note = (
        "Test top-1 in %: dots are seeds, the bar is the Student-t 95 % interval of their mean, "
        "the dashed line is the mean without augmentation. p is of a paired t-test against none "
        "over the seeds, after Holm's correction for the number of arms; bold and filled where it "
        "is under 0.05. No interval under three seeds."
    )
    parts = [_group(name, arms) for name, arms in groups.items()]
    return section("result", "Result", *parts, tag("p", note, class_="note"))


def _group(name: str, arms: Sequence[Arm]) -> Html:
    scale = charts.Scale(arms)
    control = next((arm for arm in arms if arm.name == CONTROL), None)
    head = tag(
        "tr",
        tag("th", "Arm", scope="col"),
        tag("th", "", class_="plot-cell", aria_hidden="true"),
        tag("th", "Test top-1, %", scope="col", class_="number"),
        tag("th", "Against none, points", scope="col", class_="number"),
        tag("th", "n", scope="col", class_="number"),
    )
    rows = [
        tag(
            "tr",
            tag("th", arm.name, scope="row"),
            tag("td", charts.row(arm, scale, control), class_="plot-cell"),
            tag("td", number(arm.accuracy), class_="number"),
            tag("td", difference(arm), class_="number", data_label="against none"),
            tag("td", len(arm.runs), class_="number", data_label="n"),
        )
        for arm in arms
    ]
    foot = tag(
        "tr", tag("td", ""), tag("td", charts.axis(scale), class_="plot-cell"),
        tag("td", "", colspan=3), aria_hidden="true",
    )  # fmt: skip
    table = tag("table", tag("thead", head), tag("tbody", *rows), tag("tfoot", foot))
    return tag("div", tag("h3", name), tag("div", table, class_="results"), tag("p", verdict(arms)))


def verdict(arms: Sequence[Arm]) -> Html:
    """Return in words which arms differ from the control."""
    compared = [arm for arm in arms if arm.difference is not None]
    if not compared:
        return Html("There is no arm without augmentation here to compare with.")
    clear = [
        join(tag("b", arm.name), f" ({_signed(arm.difference.estimate)} points)")
        for arm in compared
        if arm.is_clear and arm.difference is not None
    ]
    open_ones = [arm.name for arm in compared if not arm.is_clear]
    said = []
    if clear:
        said.append(join("Differs from none: ", *_listed(clear), "."))
    if open_ones:
        said.append(join("Cannot be told from none at this n: ", ", ".join(open_ones), "."))
    return join(*_spaced(said))


def number(value: Estimate) -> str:
    """Return mean and half width of an interval."""
    text = f"{value.mean:.2f}"
    return text if value.half_width is None else f"{text} ± {value.half_width:.2f}"


def difference(arm: Arm) -> Html:
    """Return the difference to the control; bold only where Holm's p allows it."""
    found: Difference | None = arm.difference
    if found is None:
        return Html("–")
    text = join(_signed(found.estimate))
    if arm.holm_p is not None:
        p = "< 0.001" if arm.holm_p < 0.0005 else f"= {arm.holm_p:.3f}"
        text = join(text, tag("small", f" p {p}"))
    return tag("b", text) if arm.is_clear else text


def _signed(value: Estimate) -> str:
    text = f"{value.mean:+.2f}".replace("-", "−")
    return text if value.half_width is None else f"{text} ± {value.half_width:.2f}"


def measured(groups: Mapping[str, Sequence[Arm]]) -> Html | None:
    """Return the tables of the drawn sets' quality; None where nothing was measured."""
    parts = []
    for name, arms in groups.items():
        columns, rows = quality(arms)
        if not rows:
            continue
        head = [tag("th", "Measure", scope="col")]
        head += [tag("th", column, scope="col", class_="number") for column in columns]
        body = []
        for row in rows:
            title, about = ABOUT.get(row.metric, (row.metric, row.unit))
            better = "higher is better" if row.higher_is_better else "lower is better"
            arrow = tag("span", "↑" if row.higher_is_better else "↓", title=better, class_="arrow")
            cells = [tag("td", _value(value), class_="number") for value in row.values]
            label = join(title, " ", arrow, tag("small", f"{about} · {row.split}"))
            body.append(tag("tr", tag("th", label, scope="row"), *cells))
        table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_="quality")
        parts += [tag("h3", name), _scrolled(table, f"Quality, {name}")]
    if not parts:
        return None
    note = (
        "Means over seeds, from the scorer's embeddings of the pictures: compare arms with each "
        "other, not with published FID values. ↑ higher is better, ↓ lower is better; diversity "
        "is only better while the label holds. Arms that train on the same pictures share a column."
    )
    told = tag("p", note, class_="note")
    return section("quality", "Quality of the drawn pictures", *parts, told)


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def figures(files: Iterable[Path]) -> Html | None:
    """Return the figures that lie in the experiment's folder; None if there are none."""
    shown = [
        tag(
            "figure",
            tag("img", src=file_address(file), alt=f"Figure: {file.stem}", loading="lazy"),
            tag("figcaption", file.stem.replace("_", " ").replace("-", " ")),
        )
        for file in files
    ]
    return section("figures", "Figures", tag("div", *shown, class_="figures")) if shown else None


def cost(groups: Mapping[str, Sequence[Arm]]) -> Html:
    """Return what the arms cost."""
    names = (
        "Arm", "Real + drawn", "Steps", "U-Net evaluations", "Drawing, s", "Training, s a run",
    )  # fmt: skip
    head = [tag("th", name, scope="col", class_="number" if n else None) for n, name in
            enumerate(names)]  # fmt: skip
    body = []
    for group, arms in groups.items():
        span = len(names)
        body.append(tag("tr", tag("th", group, colspan=span, scope="colgroup", class_="group")))
        for arm in arms:
            cells = (
                f"{arm.mean_of('num_real'):,.0f} + {arm.mean_of('num_generated'):,.0f}",
                f"{arm.mean_of('steps'):,.0f}",
                f"{arm.mean_of('unet_evaluations'):,.0f}",
                f"{arm.seconds(DRAWING):,.1f}",
                f"{arm.seconds([TRAINING]) / len(arm.runs):,.1f}",
            )
            shown = [tag("td", cell, class_="number") for cell in cells]
            body.append(tag("tr", tag("th", arm.name, scope="row"), *shown))
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    note = (
        "Counts are means over runs. Drawing is what the runs of an arm spent together on "
        "captions, scores and pictures that were not there yet: what another run had drawn costs "
        "nothing."
    )
    return section("cost", "Cost", _scrolled(table, "Cost"), tag("p", note, class_="note"))


def commands(runs: Sequence[NamedRun], header: Mapping[str, str], page_command: str | None) -> Html:
    """Return the commands of the experiment, of each run, and of this page."""
    parts = []
    if "Command" in header:
        parts += [tag("h3", "The experiment"), tag("pre", header["Command"])]
    given = [run.record.summary.command for run in runs]
    lines = [without_paths(command) for command in given if command]
    if lines:
        told = f"Each run by itself ({len(lines)})"
        block = tag("pre", "\n".join(lines))
        parts.append(tag("details", tag("summary", told), block, open=len(lines) <= 6))
    if len(lines) < len(given):
        note = f"{counted(len(given) - len(lines), 'run')} did not record the command."
        parts.append(tag("p", note, class_="note"))
    if page_command:
        parts += [tag("h3", "This page"), tag("pre", without_paths(page_command))]
    return section("commands", "Commands", *parts)


def environment(runs: Sequence[NamedRun]) -> Html:
    """Return versions, platforms and commits, and the list of the runs."""
    facts: dict[str, dict[str, None]] = {}
    for run in runs:
        told = {**run.record.summary.versions, "platform": run.record.summary.platform}
        told["commit"] = (run.record.summary.commit or "not recorded")[:12]
        for name, value in told.items():
            facts.setdefault(name, {})[str(value)] = None
    listed = [
        tag("div", tag("dt", name), tag("dd", ", ".join(values))) for name, values in facts.items()
    ]
    head = tag("tr", *(tag("th", name, scope="col") for name in
               ("Run", "Fingerprint", "Validation", "Test")))  # fmt: skip
    rows = [
        tag(
            "tr",
            tag("th", f"{run.title}, seed {run.record.summary.seed}", scope="row"),
            tag("td", tag("code", run.record.summary.fingerprint)),
            tag("td", f"{100 * run.record.summary.val_accuracy:.2f}", class_="number"),
            tag("td", f"{100 * run.record.summary.test_accuracy:.2f}", class_="number"),
        )
        for run in runs
    ]
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    listing = tag("details", tag("summary", f"All runs ({len(runs)})"), _scrolled(table, "Runs"))
    return section("environment", "Environment", tag("dl", *listed, class_="facts"), listing)


def _scrolled(table: Html, name: str) -> Html:
    """Return a table that scrolls within itself where the screen is narrow, by keyboard too."""
    return tag("div", table, class_="scrolled", role="region", aria_label=name, tabindex=0)


def _listed(items: Sequence[Html]) -> list[Html]:
    return [join(", ", item) if n else item for n, item in enumerate(items)]


def _spaced(items: Sequence[Html]) -> list[Html]:
    return [join(" ", item) if n else item for n, item in enumerate(items)]

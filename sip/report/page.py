"""The page as a whole: templates, style, script and data in one file."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.core.errors import UserError
from sip.core.text import command_without_paths, counted, without_paths
from sip.records.balance import ClassBalance, balance_line, balance_of
from sip.report.charts import Scale
from sip.report.confusion import confusions
from sip.report.curves import HEIGHT, WIDTH, curves, without_curves
from sip.report.images import choose, collect, page_data
from sip.report.ladder import ClassLadder, ladders, rates_of
from sip.report.results import ArmGroup, QualityRow, groups, quality
from sip.report.runs import NamedRun
from sip.report.thumbnails import Thumbnails, file_address
from sip.tables.numbers import interval_text
from sip.tables.statistics import Estimate
from sip.tables.words import FEATURES, heading

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
POLICY = (
    "default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
    "base-uri 'none'; form-action 'none'"
)
FIGURES = (".svg", ".png")
ABOUT = {  # measure of generated images -> what its numbers are
    "generated/consistency_label": "cosine with “a photo of a <class>”",
    "generated/consistency_caption": "cosine with the kept caption",
    "generated/label_agreement": "share that zero-shot finds in its class",
    "generated/diversity_original": "1 − cosine",
    "generated/diversity_class": "1 − cosine, mean over pairs",
    "generated/vendi": "effective number of different images",
    "generated/frechet": "to real images, scorer's embeddings",
    "generated/kernel_distance": "squared MMD, unbiased",
    "generated/precision": "share of generated images near real ones",
    "generated/recall": "share of real images near generated ones",
    "generated/density": "about 1 for equal distributions",
    "generated/coverage": "share of real images with a generated one near",
}


def page(
    runs: Sequence[NamedRun],
    title: str,
    header: Mapping[str, str],
    *,
    experiments: Sequence[str] = (),
    damaged: list[str],
    warnings: list[str],
    figures: Path,
    max_images: int,
    thumbnail_size: int,
    command: str | None,
    full_paths: bool = False,
) -> str:
    """Return the page.

    Args:
        runs: Runs of the experiment.
        title: Name of the experiment.
        header: What the experiment says of itself, such as "Question" and "Command".
        experiments: Their names; () for all runs of a folder.
        damaged: A line for each run that cannot be read; the page shows them, and adds its own.
        warnings: Gets a line for each comparison that is not what it seems; the page shows them.
        figures: Folder whose PNG and SVG files are shown; may be missing.
        max_images: Generated images on the page, at most.
        thumbnail_size: Longer side of an image on the page, in px, at most.
        command: The command that made this page.
        full_paths: Commands hold the folders of this machine.
    """
    public = str if full_paths else command_without_paths
    found = groups(runs, experiments)
    warnings += filter(None, (group.confounded for group in found))
    warnings += [line for group in found for line in group.unlike]
    shown_groups = [_group(group, damaged, public) for group in found]
    generated = collect(runs, damaged)
    thumbnails = Thumbnails(thumbnail_size)
    chosen = page_data(choose(generated, max_images), thumbnails)
    files = sorted(figures.iterdir()) if figures.is_dir() else []
    shown_figures = {file.stem: file_address(file) for file in files if file.suffix in FIGURES}
    made = [run.record.summary.command for run in runs]
    given = [*filter(None, [*made, command])]
    arms = [arm for group in shown_groups for arm in group["arms"]]
    seeds = {seed for arm in arms for seed in arm.runs}
    balance = _balance(shown_groups, damaged)
    ladder = _ladder(shown_groups)
    parts = {
        "result": True,
        "curves": any(group["curves"] for group in shown_groups),
        "confusion": any(group["confusions"] for group in shown_groups),
        "quality": any(group["quality"] for group in shown_groups),
        "figures": bool(shown_figures),
        "balance": bool(balance),
        "ladder": bool(ladder),
        "images": bool(chosen),
        "cost": True,
        "commands": True,
        "environment": True,
    }
    style = (TEMPLATES / "page.css").read_text("utf-8")
    script = (TEMPLATES / "page.js").read_text("utf-8")
    template = _environment().get_template("page.html.j2")
    text = template.render(
        policy=POLICY.format(style=csp_hash(style), script=csp_hash(script)),
        style=style,
        script=script,
        title=title,
        header=header,
        counts=[
            counted(len(runs), "run"),
            counted(len(arms), "arm"),
            counted(len(seeds), "seed"),
            counted(len(generated), "generated image"),
        ],
        problems=[without_paths(line) for line in dict.fromkeys(damaged)],
        sections=[name for name, is_there in parts.items() if is_there],
        groups=shown_groups,
        describe=describe,
        balance=balance,
        ladder=ladder,
        chart=(WIDTH, HEIGHT),
        figures=shown_figures,
        commands=[public(line) for line in made if line],
        num_without_command=made.count(None),
        page_command=public(command) if command else None,
        paths_are_cut=any(public(line) != line for line in given),
        environment=environment(runs),
        runs=runs,
        data={"images": chosen, "sources": thumbnails.sources, "total": len(generated)},
    )
    # File names and texts of other people may hold what is no text.
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _environment() -> "Environment":
    """Return the templates: text is escaped, unless it is marked as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    templates.filters |= {"number": number, "signed": signed, "measure": measure}
    return templates


def _group(group: ArmGroup, damaged: list[str], public: Callable[[str], str]) -> dict[str, Any]:
    """Return what the templates need of the arms with one backbone and data set."""
    command = group.baseline_command
    shown_curves = curves(group)
    return {
        "name": group.name,
        "arms": group.arms,
        "scale": Scale(group.arms),
        "control": group.control,
        "bases": group.bases,
        "confounded": group.confounded,
        "unlike": group.unlike,
        "baseline_command": public(command) if command else None,
        "diverged": [(arm.name, arm.diverged) for arm in group.arms if arm.diverged],
        "curves": shown_curves,
        "without_curves": without_curves(group, shown_curves),
        "confusions": confusions(group, damaged),
        "quality": quality(group.arms),
    }


def _balance(
    shown_groups: Sequence[Mapping[str, Any]], damaged: list[str]
) -> list[tuple[str, str, list[ClassBalance]]]:
    """Return name, sentence and classes of each arm that balances its classes."""
    found = []
    for group in shown_groups:
        for arm in group["arms"]:
            run = arm.runs[min(arm.runs)]
            try:
                classes = balance_of(run.record)
            except UserError as error:
                damaged.append(str(error))
                continue
            if classes:
                found.append((run.title, balance_line(classes), classes))
    return found


def _ladder(
    shown_groups: Sequence[Mapping[str, Any]],
) -> list[tuple[str, list[float], list[ClassLadder]]]:
    """Return name, noise rates and classes of each arm with a ladder of noise rates."""
    arms = [
        (f"{group['name']}: {arm.name}", arm) for group in shown_groups for arm in group["arms"]
    ]
    found = [(name, ladders(arm)) for name, arm in arms]
    return [(name, rates_of(classes), classes) for name, classes in found if classes]


def environment(runs: Sequence[NamedRun]) -> dict[str, list[str]]:
    """Return library, platform, commit or machine -> those that runs were made with."""
    facts: dict[str, dict[str, None]] = {}
    for run in runs:
        summary = run.record.summary
        commit = (summary.commit or "not recorded")[:12]
        for name, value in {
            **summary.versions, "platform": summary.platform, "commit": commit,
            "machine": summary.machine.line() if summary.machine else "not recorded",
            **{f"weights of {name}": used.line() for name, used in summary.weights.items()},
        }.items():  # fmt: skip
            facts.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in facts.items()}


def describe(row: QualityRow) -> tuple[str, str]:
    """Return title and explanation of a metric of generated images."""
    is_ours = row.metric.removesuffix(FEATURES) in ABOUT
    return heading(row.metric) if is_ours else row.metric, ABOUT.get(row.metric, row.unit)


def number(value: Estimate) -> str:
    """Return mean and half width of an interval."""
    return interval_text(value.mean, value.half_width)


def signed(value: Estimate) -> str:
    """Return mean and half width of a difference, with its sign."""
    return interval_text(value.mean, value.half_width, "+").replace("-", "−")


def measure(value: float | None) -> str:
    """Return a metric with three digits; a dash for None."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def csp_hash(text: str) -> str:
    """Return the source expression that allows exactly this inline script or style."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

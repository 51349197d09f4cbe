"""The page as a whole: template, style, script and data in one file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from sip.report import sections
from sip.report.html import Html, csp_hash, escape, join, script_json, tag
from sip.report.pictures import choose, collect, page_data
from sip.report.results import Arm, groups
from sip.report.runs import NamedRun
from sip.report.thumbnails import Thumbnails

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
    "base-uri 'none'; form-action 'none'"
)
FIGURES = (".svg", ".png")


def page(
    runs: Sequence[NamedRun],
    title: str,
    header: Mapping[str, str],
    *,
    figures: Path,
    max_images: int,
    thumbnail_size: int,
    command: str | None,
) -> str:
    """Return the page.

    Args:
        runs: Of the experiment.
        title: Its name.
        header: What the experiment says of itself, such as "Question" and "Command".
        figures: Folder whose PNG and SVG files are shown; may be missing.
        max_images: Drawn pictures on the page, at most.
        thumbnail_size: Longer side of a picture on the page, in px, at most.
        command: That made this page.
    """
    by_group = groups(runs)
    drawn = collect(runs)
    thumbnails = Thumbnails(thumbnail_size)
    chosen = page_data(choose(drawn, max_images), thumbnails)
    files = sorted(figures.iterdir()) if figures.is_dir() else []
    gallery = template("gallery.html") if chosen else Html("")
    parts = {
        "result": sections.result(by_group),
        "quality": sections.measured(by_group),
        "figures": sections.figures(file for file in files if file.suffix in FIGURES),
        "pictures": gallery or None,
        "cost": sections.cost(by_group),
        "commands": sections.commands(runs, header, command),
        "environment": sections.environment(runs),
    }
    there = {name: part for name, part in parts.items() if part is not None}
    links = [tag("a", name.capitalize(), href=f"#{name}") for name in there]
    style, script = template("page.css"), template("page.js")
    data = {"pictures": chosen, "images": thumbnails.sources, "total": len(drawn)}
    text = Template(template("page.html")).substitute(
        policy=escape(POLICY.format(style=csp_hash(style), script=csp_hash(script))),
        title=escape(title),
        style=style,
        opening=_opening(title, header, by_group, len(drawn)),
        strip=Html('<div id="strip" aria-label="Originals and what was drawn from them"></div>')
        if chosen
        else "",
        navigation=join(*links),
        body=join(*there.values()),
        data=script_json("data", data),
        script=script,
    )
    return text.encode("utf-8", "replace").decode()  # file names may hold what is no text


def template(name: str) -> Html:
    """Return a file of this package as it is."""
    return Html((FOLDER / name).read_text(encoding="utf-8"))


def _opening(
    title: str, header: Mapping[str, str], by_group: Mapping[str, Sequence[Arm]], num_drawn: int
) -> Html:
    arms = [arm for group in by_group.values() for arm in group]
    seeds = {seed for arm in arms for seed in arm.runs}
    figures = {
        "runs": sum(len(arm.runs) for arm in arms),
        "arms": len(arms),
        "seeds": len(seeds),
        "pictures drawn": num_drawn,
    }
    shown = [tag("div", tag("dd", f"{value:,}"), tag("dt", name)) for name, value in
             figures.items()]  # fmt: skip
    question = header.get("Question")
    expected = header.get("Expected")
    return join(
        tag("p", "SIP · experiment report", class_="eyebrow"),
        tag("h1", title),
        tag("p", question, class_="question") if question else None,
        tag("p", tag("b", "Expected. "), expected, class_="expected") if expected else None,
        tag("dl", *shown, class_="counts"),
    )

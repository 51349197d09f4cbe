"""The day's files: `day.json` and `day.md`, written after every change, and their limits."""

from pathlib import Path
from typing import Any

from experiments.gpu.job import write_json

MAX_FILES, MAX_BYTES, MAX_FOLDERS = 8, 16 * 2**20, 2
LOG = "day.log"
HIDDEN = ("targets", "traceback", "summary", "loss")  # have a place of their own, or are too long


class Day:
    """What is known of the day so far.

    Args:
        folder: Of the results.
        facts: Of the machine, the command and the settings.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.facts = facts
        self.steps: list[dict[str, Any]] = []

    def begin(self, name: str, title: str, limit: float) -> dict[str, Any]:
        """Add a step that runs now; return its entry, to be updated."""
        step = {"name": name, "title": title, "limit": round(limit), "status": "running"}
        self.steps.append(step | {"seconds": None, "error": None, "results": {}})
        self.write()
        return self.steps[-1]

    def skip(self, name: str, title: str, reason: str) -> None:
        """Add a step that does not run."""
        self.begin(name, title, 0).update(status="skipped", error=reason, seconds=0.0)
        self.write()

    def write(self) -> None:
        """Write both files."""
        write_json(self.folder / "day.json", {**self.facts, "steps": self.steps})
        (self.folder / "day.md").write_text("\n".join(self.lines()) + "\n")

    def table(self) -> list[str]:
        """Return the steps as a Markdown table."""
        lines = ["| step | status | seconds | result or error |", "|---|---|---:|---|"]
        for step in self.steps:
            seconds = "" if step["seconds"] is None else f"{step['seconds']:.1f}"
            texts = [step["results"].get("summary"), step["error"]]
            text = "; ".join(" ".join(str(part).split()) for part in texts if part)
            text = text.replace("|", "\\|")
            lines.append(f"| {step['title']} | {step['status']} | {seconds} | {text} |")
        return lines

    def lines(self) -> list[str]:
        """Return the whole report as Markdown."""
        lines = ["# GPU day", "", f"**Command.** `{self.facts['command']}`", ""]
        if self.facts["tiny"]:
            lines += ["Tiny form: miniature models; no figure here is of a GPU.", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts["machine"].items()]
        lines += ["", *self.table()]
        for step in self.steps:
            lines += ["", f"## {step['title']}", ""]
            lines += _bullets(step["results"])
            lines += _targets(step["results"].get("targets", {}))
            if step["error"]:
                lines += ["", "```", *step["results"].get("traceback", [step["error"]]), "```"]
        return lines


def _bullets(results: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in results.items():
        if name in HIDDEN:
            continue
        shown = name.replace("_", " ")
        if isinstance(value, dict):
            lines += [f"{indent}- {shown}:", *_bullets(value, indent + "  ")]
        else:
            lines.append(f"{indent}- {shown}: {value}")
    return lines


def _targets(targets: dict[str, dict[str, Any]]) -> list[str]:
    if not targets:
        return []
    lines = ["", "| | obtained | to reach | |", "|---|---:|---:|---|"]
    for name, one in targets.items():
        word = "met" if one["met"] else "missed"
        lines.append(f"| {name} | {one['value']:.4g} | >= {one['at_least']:g} | {word} |")
    return lines


def check_files(folder: Path) -> tuple[str, bool]:
    """Return a line on the limits of what was written, and whether they hold."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    sizes = {file: file.stat().st_size for file in files}
    depth = max((len(file.relative_to(folder).parts) - 1 for file in files), default=0)
    largest = max(sizes.values(), default=0)
    holds = len(files) <= MAX_FILES and largest <= MAX_BYTES and depth <= MAX_FOLDERS
    line = (
        f"{len(files)} files (at most {MAX_FILES}), the largest {largest / 2**20:.2f} MiB (at most "
        f"{MAX_BYTES // 2**20}), {depth} folders deep (at most {MAX_FOLDERS}): "
        + ("within the limits" if holds else "OVER THE LIMITS")
    )
    return line, holds


def tidy(folder: Path) -> None:
    """Remove what a killed step left half written, and cut the log to a quarter of its limit."""
    for part in folder.rglob("*.part"):
        part.unlink()
    log = folder / LOG
    if log.exists() and log.stat().st_size > MAX_BYTES // 4:
        log.write_bytes(log.read_bytes()[-MAX_BYTES // 4 :])

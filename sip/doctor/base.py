"""What the doctor says: one `Finding` a thing that was looked at."""

from dataclasses import dataclass

OK, NOTE, MISSING = "ok", "note", "missing"
MARKS = {OK: "", NOTE: "note", MISSING: "MISSING"}
INDENT = 22  # columns before the text


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Of the thing.
        state: OK; NOTE where something could be better; MISSING where the configuration as it is
            cannot run without.
        text: What was found.
        command: That closes the gap; None where there is none, or no command does it.
    """

    name: str
    state: str
    text: str
    command: str | None = None

    def lines(self) -> str:
        """Return it for the terminal: a line, and one with the command."""
        lines = [f"{MARKS[self.state]:<8} {self.name:<12} {self.text}"]
        if self.command is not None:
            lines.append(f"{'':<{INDENT}}-> {self.command}")
        return "\n".join(lines)

"""A result of `sip.doctor`: one `Finding` for each check."""

from dataclasses import dataclass

OK, NOTE, MISSING = "ok", "note", "missing"
MARKS = {OK: "", NOTE: "note", MISSING: "MISSING"}
INDENT = 22  # columns before the text


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: What was checked.
        state: OK, NOTE (the configuration runs all the same) or MISSING (it does not).
        text: What was found.
        command: What closes the gap; None if there is no gap, or no command for it.
    """

    name: str
    state: str
    text: str
    command: str | None = None

    def lines(self) -> str:
        """Return the line for the terminal, and below it the command, if there is one."""
        lines = [f"{MARKS[self.state]:<8} {self.name:<12} {self.text}"]
        if self.command is not None:
            lines.append(f"{'':<{INDENT}}-> {self.command}")
        return "\n".join(lines)

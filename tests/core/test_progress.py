"""What is printed: nothing that a terminal obeys, and no end of the work if it cannot be."""

import io
import sys

import pytest

from sip.core.progress import progress, say, write_lines


def test_names_hold_no_codes_of_a_terminal(capsys: pytest.CaptureFixture) -> None:
    say("dataset", "passed over \x1b[2J\x1b[31mevil\r\nname\x07.txt")
    assert capsys.readouterr().err == "dataset      passed over [2J[31mevil  name.txt\n"


class Unbuffered(io.StringIO):
    """Notes each write, as PYTHONUNBUFFERED hands it to the system."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes += [text] if text else []
        return len(text)


def test_a_line_is_one_write_so_that_processes_do_not_mix_theirs(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", log := Unbuffered())
    say("sweep", "job 1/3")
    write_lines("error in job 2/3: bad", sys.stderr)
    assert log.writes == ["sweep        job 1/3\n", "error in job 2/3: bad\n"]


class Full(io.StringIO):
    """A log on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_end_the_work(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    say("images", "generated 3")
    bar = progress("images", 3, "image")
    bar.update(2)
    bar.refresh()
    bar.close()
    assert bar.n == 2


def test_a_bar_that_goes_on_starts_where_the_work_is(capsys: pytest.CaptureFixture[str]) -> None:
    progress("classifier", 400, "step", initial=111).close()
    said = capsys.readouterr().err
    assert "111/400" in said and "0/400" not in said.replace("111/400", "")


def test_lines_to_a_stdout_that_is_closed_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    write_lines("a table")

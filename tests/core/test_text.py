"""Counts, durations and sizes; escaped texts stay texts in Markdown, LaTeX and images of tables."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.core.text import (
    CONTROL,
    LATEX,
    command_without_paths,
    counted,
    escape_latex,
    escape_markdown,
    format_bytes,
    format_duration,
    join_first,
    one_line,
    text_table,
    values_without_paths,
    without_paths,
)
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
    made = escape_markdown(text)
    assert not re.search(r"<\S|\n|\r|[\x00-\x1f]", made)
    assert not re.search(r"(?<!\\)[|*`\[\]]", made)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_latex_has_no_command_of_the_texts_own(text: str) -> None:
    made = escape_latex(text)
    for written in LATEX.values():
        made = made.replace(written, "")
    assert not set(made) & set("\\{}$&#%_^~\n\x00")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_what_was_escaped_can_be_read_again(text: str) -> None:
    plain = " ".join(CONTROL.sub("", text).split())
    made = escape_markdown(text).replace("&lt;", "<")
    assert re.sub(r"\\(.)", r"\1", made) == plain


def test_a_line_for_a_terminal_has_nothing_to_obey() -> None:
    assert one_line("a\x1b[2J\nb  c\x07\x9b") == "a[2J b  c"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_latex_compiles(tmp_path: Path) -> None:
    texts = [*NASTY, "\\input{/etc/passwd} 100% $x_1^2$ ~#&"]
    body = "\n\n".join(escape_latex(text) for text in texts)
    text = f"\\documentclass{{article}}\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0 and b"root:" not in (tmp_path / "t.log").read_bytes()


def test_class_names_are_no_formulas_in_images(tmp_path: Path) -> None:
    names = ["$\\frac{1$", "a$b$c", "\\$5", "x" * 10_000]
    labels = torch.tensor([0, 1, 2, 3])
    write_confusion(torch.eye(4), labels, names, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("run paths.store=/home/me/store x=1", "run paths.store=store x=1"),
        ("a=[/x/y,/x/z] 'b=/x/my'", "a=[y,z] 'b=my'"),
        ("/a/b/c.png: broken", "c.png: broken"),
        (r"root=C:\data\pets ~/w/x", "root=pets x"),
        ("a=[file:///x/my] file://y/z", "a=[my] z"),
        ("https://example.org/a and/or 3/4 runs/x", "https://example.org/a and/or 3/4 runs/x"),
    ],
)
def test_absolute_paths_lose_their_place(text: str, told: str) -> None:
    assert without_paths(text) == told


def test_commands_lose_the_place_of_paths_with_blanks_too() -> None:
    words = ["A=b", "python", "-m", "sip.train", "--config-dir", "/home/John Doe/my conf", "-m"]
    words += ["dataset.root=/home/John Doe/my pets", "paths.data=[/a/b,file:///c/d]", "~a.b"]
    words += ["prompts.template='a {label}, b'", "paths.store=s3://bucket/a b", "runs=my/own runs"]
    cut = ["A=b", "python", "-m", "sip.train", "--config-dir", "my conf", "-m"]
    cut += ["dataset.root=my pets", "paths.data=[b,d]", *words[9:]]
    assert shlex.split(command_without_paths(shlex.join(words))) == cut
    assert command_without_paths("") == ""


def test_values_are_cut_to_their_last_part_at_any_depth() -> None:
    values = {"a": ["/x/y/model", "~/z", "C:\\m\\n"], "b": {"c": "hub/name", "d": 1.5, "e": None}}
    cut = {"a": ["model", "z", "n"], "b": {"c": "hub/name", "d": 1.5, "e": None}}
    assert values_without_paths(values) == cut
    assert values_without_paths("/home/John Doe/my pets") == "my pets"


@pytest.mark.parametrize(
    ("number", "nouns", "expected"),
    [
        (0, ("run",), "0 runs"),
        (1, ("run",), "1 run"),
        (2000, ("run",), "2,000 runs"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
    ],
)
def test_a_number_agrees_with_its_noun(number, nouns, expected):
    assert counted(number, *nouns) == expected


def test_the_first_names_and_an_ellipsis_for_the_rest():
    assert join_first([]) == ""
    assert join_first(["a", "b", "c"]) == "a, b, c"
    assert join_first(["a", "b", "c", "d"]) == "a, b, c, ..."
    assert join_first([1, 2], 1) == "1, ..."


def test_times_and_sizes_for_people() -> None:
    assert [format_duration(s) for s in (0.5, 42, 150, 7300, 200_000)] == [
        "0.5 s",
        "42 s",
        "2 min",
        "2 h 2 min",
        "2 d 7 h",
    ]
    assert [format_bytes(n) for n in (12, 1234, 5.5e6, 5.42e11, 3e12)] == [
        "12 B",
        "1.23 kB",
        "5.5 MB",
        "542 GB",
        "3 TB",
    ]


def test_a_table_has_two_columns_between_rules() -> None:
    assert text_table({"a": "1", "long": "22"}) == "--------\na     1\nlong  22\n--------"
    assert text_table({"note": "x" * 500}).splitlines()[-1] == "-" * 100

"""Write the table of all bad inputs: `python -m tests.trust > experiments/trust/bad_input.md`."""

import sys
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from sip.core.text import escape_markdown
from tests.trust.cases import seen
from tests.trust.every import ALL

LONGEST = 260  # characters of a line in the table
PLACES = {str(Path(__file__).parents[2]): "REPOSITORY", str(Path.home()): "~"}
HEAD = """\
# Bad input: what is given, and what the user sees

{num} cases ({counts}). Each is tried by
`tests/trust/test_bad_input.py`, which also sees that it is one line and comes before any costly
work. Made by
`python -m tests.trust`; long lines are cut here, and FOLDER stands for the folder of the case.

| | given | what the user sees |
|---|---|---|"""


def main() -> None:
    """Print the table."""
    counts = Counter(case.area for case in ALL)
    told = ", ".join(f"{num} {area}" for area, num in counts.items())
    print(HEAD.format(num=len(ALL), counts=told))
    for case in ALL:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            said = seen(case, Path(folder))
        for place, name in PLACES.items() | {(folder, "FOLDER")}:
            said = said.replace(place, name)
        said = said.replace(Path(folder).name, "FOLDER")
        short = said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
        print(
            f"| {case.area} | {escape_markdown(case.name)} | {escape_markdown(short)} |", flush=True
        )


if __name__ == "__main__":
    sys.exit(main())

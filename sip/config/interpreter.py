"""What of the Python that runs a command is in the way: its encoding, its options, own modules."""

import locale
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from sip.core.errors import UserError

UTF8 = "PYTHONUTF8"


def check_interpreter() -> None:
    """Start this command again in UTF-8 if the locale has another encoding.

    Names of files and of classes, and the text of files, would be read as something else. Once
    only: `python -X utf8=0` wins over the variable.

    Raises:
        UserError: Python leaves the docstrings out, which `transformers` needs.
    """
    if sys.flags.optimize > 1:
        raise UserError(
            "python: must keep the docstrings, which the library transformers reads, got -OO (or "
            "PYTHONOPTIMIZE=2); use -O"
        )
    if locale.getencoding().lower() != "utf-8" and os.environ.get(UTF8) != "1":
        os.execve(sys.executable, sys.orig_argv, os.environ | {UTF8: "1"})  # noqa: S606


def own_module() -> Path | None:
    """Return an imported file of the working folder that hides a library of the same name."""
    here = Path.cwd().resolve()
    others = [place for place in sys.path if Path(place or ".").resolve() != here]
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if "." in name or not file or here not in Path(file).resolve().parents:
            continue
        if Path(file).resolve().parent not in (here, here / name):  # of an environment in here
            continue
        if name in sys.stdlib_module_names or PathFinder.find_spec(name, others):
            return Path(file)
    return None

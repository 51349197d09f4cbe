"""`recipe.json` of a stage's folder in the store, whose name is the recipe's fingerprint."""

import json
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.core.files import plain_disk_errors, write_atomically
from sip.core.progress import say


def check_or_write(file: Path, recipe: Any) -> None:
    """Make sure that `file` holds `recipe`.

    A file that is lost, damaged or edited is written again: the name of its folder is the
    fingerprint of the recipe, so the rows are those of this recipe, whatever the file says.

    Raises:
        UserError: It cannot be read or written.
    """
    fault = _fault(file, recipe)
    if fault is None:
        return
    if (file.parent / "shards").is_dir():
        say("store", f"{file} {fault}; written again")
    with plain_disk_errors(file):
        write_atomically(file, json.dumps(recipe, indent=2, sort_keys=True) + "\n")


def _fault(file: Path, recipe: Any) -> str | None:
    """Return what is wrong with a recipe's file; None if it holds the recipe."""
    try:
        return None if json.loads(file.read_text()) == recipe else "held another recipe"
    except FileNotFoundError:
        return "was missing"
    except ValueError:
        return "could not be read"
    except OSError as error:
        raise UserError(
            f"{file} should hold the recipe of the rows next to it and cannot be read "
            f"({error.strerror}); let this user read it, or give another paths.store"
        ) from error

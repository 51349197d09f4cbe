"""`recipe.json` of a stage's folder in the store, whose name is the recipe's fingerprint."""

import json
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.core.files import plain_disk_errors, write_atomically
from sip.core.progress import say


def check_or_write(file: Path, recipe: Any) -> None:
    """Make sure that `file` holds `recipe`.

    Raises:
        UserError: It holds something else.
    """
    found = _read_recipe(file)
    if found is None:
        with plain_disk_errors(file):
            write_atomically(file, json.dumps(recipe, indent=2, sort_keys=True) + "\n")
    elif found != recipe:
        raise _another(file, found, recipe)


def _read_recipe(file: Path) -> Any:
    """Return the content of a recipe's file; None if it is lost.

    It may be written again: the name of the folder is the fingerprint of the recipe of its rows.
    """
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        if (file.parent / "shards").is_dir():
            say("store", f"{file} was missing; written again")
    except ValueError:
        say("store", f"{file} could not be read; written again")
    except OSError as error:
        raise UserError(
            f"{file} should hold the recipe of the rows next to it and cannot be read "
            f"({error.strerror}); let this user read it, or give another paths.store"
        ) from error
    return None


def _another(file: Path, found: Any, recipe: Any) -> UserError:
    """Return the error for a recipe that is not that of the folder's name."""
    named = f"{file} should hold the recipe of the rows next to it and holds another"
    there, here = (
        values.get("version") if isinstance(values, dict) else None for values in (found, recipe)
    )
    if isinstance(there, int) and isinstance(here, int) and there > here:
        return UserError(
            f"{named}, of a newer SIP (version {there} of how these rows are made, here "
            f"{here}); update SIP, or give another paths.store"
        )
    keys = found.keys() | recipe.keys() if isinstance(found, dict) else set()
    other = sorted(key for key in keys if found.get(key) != recipe.get(key))
    return UserError(
        f"{named} (other values of: {', '.join(other) or 'all'}); it was edited, or the folder was "
        f"renamed: undo that, or delete the folder {file.parent}, its rows will be made again"
    )

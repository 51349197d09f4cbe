"""`recipe.json` of a stage in the store, whose place is named by the recipe's fingerprint."""

import json
from typing import Any

from sip.core.errors import UserError
from sip.core.progress import say
from sip.store.place import RECIPE_FILE, StagePlace


def check_or_write(place: StagePlace[Any], recipe: Any) -> None:
    """Make sure that the recipe's file of a stage holds `recipe`.

    A file that is lost, damaged or edited is written again: the name of its folder is the
    fingerprint of the recipe, so the rows are those of this recipe, whatever the file says.

    Raises:
        UserError: It cannot be read or written.
    """
    fault = _fault(place, recipe)
    if fault is None:
        return
    if place.names():
        say("store", f"{place.root / RECIPE_FILE} {fault}; written again")
    place.write_recipe((json.dumps(recipe, indent=2, sort_keys=True) + "\n").encode())


def _fault(place: StagePlace[Any], recipe: Any) -> str | None:
    """Return what is wrong with a recipe's file; None if it holds the recipe."""
    try:
        return None if json.loads(place.read_recipe()) == recipe else "held another recipe"
    except FileNotFoundError:
        return "was missing"
    except ValueError:
        return "could not be read"
    except OSError as error:
        raise UserError(
            f"{place.root / RECIPE_FILE} should hold the recipe of the rows next to it and cannot "
            f"be read ({error.strerror}); let this user read it, or give another paths.store"
        ) from error

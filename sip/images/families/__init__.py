"""The diffusion models that the engine knows, by the pipeline class that their folder names.

Every module of this package is imported, so a new family is one new file. A family of another
package counts as soon as it is imported, for instance by the module of the component that uses it.
"""

import pkgutil
from importlib import import_module

from sip.core.errors import UserError
from sip.images.families.base import Family
from sip.images.folder import PipelineFolder


def families() -> dict[str, type[Family]]:
    """Return all families by the pipeline classes that they serve."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    found = list(Family.__subclasses__())
    for family in found:  # grows while it is read
        found += family.__subclasses__()
    return {name: family for family in found for name in family.pipelines}


def family_of(folder: PipelineFolder) -> type[Family]:
    """Return the family of a model folder.

    Raises:
        UserError: Its pipeline class is not known; lists the known ones.
    """
    known = families()
    if folder.pipeline not in known:
        raise UserError(
            f"images.model: must be one of {', '.join(known)}, got a {folder.pipeline} in "
            f"{folder.path}; set another model"
        )
    return known[folder.pipeline]

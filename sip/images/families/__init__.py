"""The diffusion models that the engine knows, by the pipeline class that their folder names.

Every module of this package is imported, so a new family is one new file. The families of plug-ins
(`sip.config.plugins`) are imported when a folder names a class that none of these serves.
"""

import pkgutil
from importlib import import_module

from sip.config.plugins import plugins
from sip.core.errors import UserError
from sip.images.families.base import Family
from sip.images.folder import PipelineFolder


def families() -> dict[str, type[Family]]:
    """Return all imported families by the pipeline classes that they serve.

    Raises:
        UserError: Two of them serve the same class.
    """
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    found = list(Family.__subclasses__())
    for family in found:  # grows while it is read
        found += family.__subclasses__()
    serving: dict[str, type[Family]] = {}
    for family in dict.fromkeys(found):
        for name in vars(family).get("pipelines", ()):
            if name in serving:
                pair = [f"{one.__module__}.{one.__name__}" for one in (serving[name], family)]
                raise UserError(
                    f"images.model: must have one family for {name}, got {' and '.join(pair)}; "
                    "uninstall one of the plug-ins, or change its `pipelines`"
                )
            serving[name] = family
    return serving


def family_of(folder: PipelineFolder) -> type[Family]:
    """Return the family of a model folder.

    Raises:
        UserError: Its pipeline class is not known; lists the known ones.
    """
    known = families()
    if folder.pipeline not in known:
        for plugin in plugins():
            import_module(plugin.module)
        known = families()
    if folder.pipeline not in known:
        raise UserError(
            f"images.model: must be one of {', '.join(known)}, got a {folder.pipeline} in "
            f"{folder.path}; set another model"
        )
    return known[folder.pipeline]

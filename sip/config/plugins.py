"""Plug-ins: installed distributions that bring choices, classes and model families of their own.

A distribution declares a top-level module of its own in the entry-point group `sip.plugins`:

    [project.entry-points."sip.plugins"]
    tiles = "sip_tiles"

It counts if it was installed by name, `pip install sip-tiles`: pip marks that (`REQUESTED`, PEP
376). What was installed as a dependency of something else does not, and of the distribution's other
modules none is trusted. Nothing is imported to find out.
"""

import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from sip.core.errors import UserError

GROUP = "sip.plugins"


@dataclass(frozen=True)
class Plugin:
    """An installed plug-in.

    Attributes:
        name: Name of its distribution.
        module: Its module or package, a top-level one.
    """

    name: str
    module: str

    @property
    def conf(self) -> Path | None:
        """The folder `conf` in its package, with choices as in SIP's own; None without one."""
        spec = find_spec(self.module)  # of a top-level module: imports nothing
        places = (spec.submodule_search_locations if spec else None) or []
        return next((conf for place in places if (conf := Path(place) / "conf").is_dir()), None)


def plugins() -> tuple[Plugin, ...]:
    """Return the plug-ins that were installed by name.

    Raises:
        UserError: One of them declares a module that is not its own.
    """
    return _plugins(tuple(sys.path))


def folders() -> list[Path]:
    """Return the folders of configurations that plug-ins bring."""
    return [conf for plugin in plugins() if (conf := plugin.conf)]


def register() -> None:
    """Let Hydra find the choices of plug-ins.

    Raises:
        UserError: As `plugins`.
    """
    plugins()
    Plugins.instance().register(PluginChoices)


class PluginChoices(SearchPathPlugin):
    """Adds the folders of plug-ins to those in which Hydra looks."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append them: SIP's own are looked at first."""
        for plugin in plugins():
            if plugin.conf:
                search_path.append(provider=plugin.name, path=f"file://{plugin.conf}")


@cache
def _plugins(places: tuple[str, ...]) -> tuple[Plugin, ...]:
    found = {}
    for place in distributions(path=list(places)):
        for point in place.entry_points.select(group=GROUP):
            if place.read_text("REQUESTED") is not None:
                found[point.value] = Plugin(place.name, _own_module(place, point))
    return tuple(found.values())


def _own_module(place: Distribution, point: EntryPoint) -> str:
    """Return the module of an entry point, which must be one of the distribution's own.

    Of an editable installation no file is listed, so only names of Python itself are refused.
    """
    tops = {file.parts[0].removesuffix(".py") for file in place.files or ()}
    is_own = point.value in tops or any(top.startswith("__editable__") for top in tops)
    if not (is_own and point.value.isidentifier()) or point.value in sys.stdlib_module_names:
        raise UserError(
            f"{GROUP}: must be a top-level module of {place.name} itself, got "
            f"{point.name} = {point.value!r}; fix its entry point, or uninstall it"
        )
    return point.value

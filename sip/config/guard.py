"""What a composed configuration may not hold, checked before Hydra or a task acts on it.

A configuration can come from somebody else, by `--config-dir` or by copy and paste:

- `_target_`: `sip.config.build` builds only what is trusted, but Hydra builds callbacks, launchers,
  sweepers and logging from its own part before any task is called. Both are checked here, whole,
  so that what is not trusted is refused even where nothing would have built it.
- `hydra.job.env_set`: a variable can have another program run in place of the one that is meant
  (PATH, PYTHONPATH, LD_PRELOAD, CC), send results elsewhere (WANDB_BASE_URL) or say whom to trust.
- Tokens: configurations are written into run folders, recipes, W&B runs and pages.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sip.config import build, secrets
from sip.config.yamls import read_yaml
from sip.core.errors import UserError

# What Hydra's own part may build: Hydra itself, its plugins, our callback, a search's sampler.
OF_HYDRA = (
    "hydra._internal.core_plugins.",
    "hydra_plugins.",
    "sip.jobs.sweeps.",
    "optuna.samplers.",
)
# Keys by which its logging part names a class to call, and its searches a function.
OF_LOGGING = {"()": ("colorlog.",), "class": ("logging.",)}
FUNCTION = "custom_search_space"
# Variables of the environment that a configuration may set: none that names a program or a place.
ENVIRONMENT = re.compile(
    "(OMP|MKL|KMP|NCCL)_[A-Z_]+|CUDA_(VISIBLE_DEVICES|LAUNCH_BLOCKING)|PYTORCH_CUDA_ALLOC_CONF"
    "|TOKENIZERS_PARALLELISM|HF_HUB_OFFLINE|WANDB_(MODE|SILENT)"
)
DEEPEST = 50  # levels; an interpolation may lead back to what holds it


def install() -> None:
    """Have every configuration checked as soon as Hydra has composed it."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    compose = ConfigLoaderImpl.load_configuration
    if hasattr(compose, "__wrapped__"):
        return

    @functools.wraps(compose)
    def load_configuration(self: Any, *args: Any, **kwargs: Any) -> DictConfig:
        config = compose(self, *args, **kwargs)
        check(config)
        return config

    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]


def check(config: DictConfig) -> None:
    """Refuse untrusted targets and tokens, at any depth; interpolations are followed.

    Args:
        config: A whole configuration, Hydra's own part too if it is there.

    Raises:
        UserError: There are some; says where.
    """
    known = secrets.of_environment()
    for path, value in _walk(config, ()):
        if path:
            _check_target(path, value)
            if isinstance(value, str) and (kind := secrets.kind(path[-1], value, known)):
                raise UserError(
                    f"{'.'.join(path)}: {kind} stands there, and configurations are written into "
                    "run folders and pages; take it out: hf auth login and wandb login keep "
                    "theirs safe"
                )


def _check_target(path: tuple[str, ...], value: Any) -> None:
    key = path[-1]
    if path[:-1] == ("hydra", "job", "env_set") and not ENVIRONMENT.fullmatch(key):
        raise UserError(
            f"{'.'.join(path)}: expected no such variable in a configuration, which may be "
            f"another's; set {key} in the environment itself"
        )
    if path[0] != "hydra":
        if key == "_target_" and not build.is_trusted(value):
            raise _refused(path, value, build.TRUSTED, f". {build.OWN_CODE}")
        return
    trusted: tuple[str, ...] | None = None
    if key == "_target_":
        trusted = OF_HYDRA
    elif "logging" in "".join(path[1:2]):
        trusted = OF_LOGGING.get(key)
    if trusted and not (isinstance(value, str) and value.startswith(trusted)):
        raise _refused(path, value, trusted)
    if key == FUNCTION and value is not None:
        raise _refused(path, value, ("null",))


def _refused(
    path: tuple[str, ...], value: Any, trusted: tuple[str, ...], remedy: str = ""
) -> UserError:
    return UserError(
        f"{'.'.join(path)}={value}: expected one of {', '.join(trusted)}; nothing was called"
        f"{remedy}"
    )


def _walk(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all places with what stands there, containers too; what cannot be resolved is not."""
    if len(path) > DEEPEST:
        raise UserError(f"{'.'.join(path[:5])}...: expected {DEEPEST} levels at most, came more")
    yield path, node
    keys: list[Any] = []
    if OmegaConf.is_dict(node):
        keys = list(node.keys())
    elif OmegaConf.is_list(node):
        keys = list(range(len(node)))
    for key in keys:
        try:
            value = node[key]
        except OmegaConfBaseException:  # ??? or ${...} of nothing: nobody can read it
            continue
        yield from _walk(value, (*path, str(key)))


def check_folder(folder: Path) -> None:
    """Refuse YAML files of somebody's configuration folder that Hydra would choke on.

    Raises:
        UserError: One is no YAML, or stands for more values than any configuration has.
    """
    for file in sorted(folder.rglob("*.yaml")):
        try:
            if not isinstance(read_yaml(file), dict | None):
                raise ValueError("a list or a text")
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"{file}: expected a configuration ({said}); mend or remove it"
            ) from error

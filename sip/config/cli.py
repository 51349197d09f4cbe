"""The entry points' common part: command line -> configuration -> task, with one line an error.

Nothing heavy is imported here, and tasks import what they need when they run: `--help` and a
mistyped key answer at once. Exit codes: 0 done, 1 the task failed, 2 the command line is wrong,
130 and 143 stopped by SIGINT (Ctrl-C) and SIGTERM.
"""

import functools
import importlib
import os
import re
import shlex
import signal
import string
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from sip.config import failures, guard, secrets
from sip.core import progress
from sip.core.errors import UserError
from sip.core.files import disk_error
from sip.core.text import counted

Task = Callable[[DictConfig], Any]

USER_ERRORS = (UserError, InterpolationKeyError, MissingMandatoryValue)
ADDITION = re.compile(r"\+{1,2}([^=@:]+)[^=]*=")  # +key=value, +group@package=choice
NOT_OVERRIDDEN = re.compile(r"Could not override '([^']+)'")
PACKAGE = re.compile(r"^# @package (\S+)", re.MULTILINE)
NUM_NEAR = 3
EXTRAS = {  # choices that packages bring -> the extra that installs them
    "hydra/sweeper/optuna": "search",
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_slurm": "slurm",
}
# Hydra's options: those that add a folder, that bring one, whose value is the next argument.
ADD_FOLDER = ("--config-dir", "-cd")
BRING_FOLDER = (*ADD_FOLDER, "--config-path", "-cp")
WITH_VALUE = (
    *BRING_FOLDER,
    *("--config-name", "-cn", "--cfg", "-c", "--package", "-p", "--info", "-i"),
    "--experimental-rerun",
)
YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ReportedError(Exception):
    """A job of a multirun failed and has said why; the other jobs go on.

    Args:
        notes: File that names the sweep's failed jobs, a line each; jobs may run elsewhere.
    """

    def __init__(self, notes: str) -> None:
        super().__init__(notes)
        self.notes = Path(notes)


def main(task: Task, config_name: str = "config", conf: Path | None = None) -> NoReturn:
    """Run `task` on the command line's configuration, or on each of a multirun, and exit.

    Args:
        task: A function of an importable module, so that launchers can send it elsewhere.
        config_name: The primary configuration, a file of `conf` without its suffix.
        conf: The folder of the configurations; SIP's own if None.
    """
    folder = conf or conf_folder()
    sys.argv[1:] = _options_first(sys.argv[1:])
    command = _Command(folder, config_name, sys.argv[1:])
    debug = os.environ.get("HYDRA_FULL_ERROR") == "1" or "debug=true" in command.overrides
    failures.begin()
    guard.install()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, in place of printing and exiting
    job = Job(task)
    run = hydra.main(version_base="1.3", config_path=str(folder), config_name=config_name)(job)
    try:
        if {"--help", "-h"} & set(sys.argv) and (text := command.help(job.name)):
            try:
                print(text.rstrip(), flush=True)
            except BrokenPipeError:  # `--help | head` has read enough; Python would flush again
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        for given in command.given_folders():
            guard.check_folder(given)
            command.check_names(given)
        command.check_additions()
        if command.is_plain():  # else Hydra composes everything once more, to find its mode
            sys.argv.insert(1, "--run")  # first: Lightning's other processes get more overrides
        run()
    except ReportedError as error:
        failed = failures.read(error.notes)
        num = counted(len(failed), "job")
        _say(f"{num} failed; the same command runs what failed, and only that:")
        _say("\n".join(f"  {line}" for line in failed))
        sys.exit(1)
    except KeyboardInterrupt as stop:
        if not progress.is_first:  # else Lightning kills the process that says it, in mid-batch
            sys.exit(0)
        _say("stopped: what was finished is kept; the same command goes on from there")
        sys.exit(128 + getattr(stop, "signum", signal.SIGINT))
    except Exception as error:  # a task's errors do not come here: Hydra's, a launcher's
        if debug:
            traceback.print_exc()
        _say(f"error: {command.explain(error)}")
        sys.exit(2)
    sys.exit(0)


class Job:
    """A task as Hydra calls it: it ends with one line where the user made a mistake."""

    def __init__(self, task: Task) -> None:
        # `python -m sip.train` calls its module __main__; other processes know it by its name.
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if task.__module__ == "__main__" and spec is not None:
            task = getattr(importlib.import_module(spec.name), task.__name__)
        self.task = task
        self.name = task.__module__.removesuffix(".__main__").rpartition(".")[2]
        functools.update_wrapper(self, task)

    def __call__(self, config: DictConfig) -> Any:
        """Run the task.

        Raises:
            SystemExit: It failed, with code 1.
            ReportedError: It failed as one of several jobs.
        """
        try:
            return self.task(config)
        except Exception as error:
            cannot = None if isinstance(error, UserError) else disk_error(error)
            if not (cannot or isinstance(error, USER_ERRORS)) or config.get("debug"):
                traceback.print_exc()
            job = HydraConfig.get()
            several = job.mode == RunMode.MULTIRUN
            text = cannot or (str(error) if isinstance(error, UserError) else _one_line(error))
            if not several:
                _say(f"error: {text}")
                raise SystemExit(1) from None
            where = f"job {job.job.num} ({' '.join(job.overrides.task)})"
            _say(f"error in {where}: {text}")
            notes = failures.note(Path(job.sweep.dir), job.job.num, f"{where}: {text}")
            raise ReportedError(str(notes)) from None


def conf_folder() -> Path:
    """Return the folder of the configurations: beside the package, or in it once installed."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


class _Command:
    """The command line, and what it could have meant."""

    def __init__(self, folder: Path, config_name: str, arguments: list[str]) -> None:
        self.folder = folder
        more = islice(_folders(arguments, ADD_FOLDER), 1)
        self.folders = [folder, *more]  # as Hydra: the first one counts
        self.config_name = config_name
        self.arguments = arguments
        self.overrides = [text for text in arguments if "=" in text and text[0] != "-"]

    def is_plain(self) -> bool:
        """Return whether nothing on the command line can ask for a multirun."""
        others = [text for text in self.arguments if text not in self.overrides]
        plain = not any(text[0] == "+" or text.startswith("hydra") for text in self.overrides)
        return plain and not others

    def given_folders(self) -> Iterator[Path]:
        """Return the folders of configurations that the command line brings."""
        return _folders(self.arguments, BRING_FOLDER)

    def check_names(self, given: Path) -> None:
        """Refuse files that would never be read: Hydra takes SIP's own of that name.

        Raises:
            UserError: There is one.
        """
        for file in sorted(given.rglob("*.yaml")):
            name = file.relative_to(given)
            if (self.folder / name).is_file():
                raise UserError(
                    f"{file}: SIP has a {name} of its own, which would be read in its place; give "
                    "yours another name (its defaults may begin with SIP's)"
                )

    def check_additions(self) -> None:
        """Refuse what `+` would add under a new name: Hydra takes it, and nothing reads it.

        Raises:
            UserError: Neither a group nor a key has that name.
        """
        if any(text.lstrip("+").startswith("hydra.searchpath") for text in self.overrides):
            return  # it may bring other names
        for override in self.overrides:
            match = ADDITION.match(override)
            if match is None:
                continue
            name = match[1]
            first = name if "/" in name else name.split(".")[0]
            known = {*self.groups(), *self._main_keys()}
            if first not in known and not first.startswith("hydra"):
                raise UserError(f"{override}: {_no_such('group or key', first, known)}")

    def groups(self) -> list[str]:
        """Return the configuration groups, such as "prompts/guidance"."""
        return sorted(
            {
                path.relative_to(folder).as_posix()
                for folder in self.folders
                for path in folder.rglob("*")
                if path.is_dir() and path.name[0] not in "._"
            }
        )

    def help(self, job_name: str) -> str | None:
        """Return the text under hydra/help that has the job's name or the configuration's, if any.

        Hydra would compose the same, in seconds that grow with the number of groups.
        """
        files = [self.folder / f"hydra/help/{name}.yaml" for name in (job_name, self.config_name)]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            return None
        text = OmegaConf.load(file)
        config = OmegaConf.create({"hydra": {"help": text, "job": {"name": job_name}}})
        return string.Template(config.hydra.help.template).safe_substitute(
            APP_CONFIG_GROUPS="\n".join(self._choices())
        )

    def explain(self, error: Exception) -> str:
        """Return one line on what is wrong with the command line, with the names that are near."""
        match = NOT_OVERRIDDEN.search(str(error))
        written = [text for text in self.overrides if match and _key(text) == match[1]]
        if match and written:
            return self._explain_key(match[1], written[0])
        if isinstance(error, MissingConfigException) and error.options:
            if extra := EXTRAS.get(error.missing_cfg_file or ""):
                wanted = "=".join(str(error.missing_cfg_file).rsplit("/", 1))
                return f"{wanted} is not installed; pip install 'sip-augmentation[{extra}]'"
            group, _, choice = (error.missing_cfg_file or "").rpartition("/")
            return f"{group}={choice}: {_no_such('choice', choice, error.options, show_all=True)}"
        if isinstance(error, OverrideParseException):
            text = f"{error.override!r} should be key=value ({_one_line(error)})"
            key, is_pair, value = (error.override or "").partition("=")
            is_text = not set(value) & set("'\"[{")  # spaces and the like are a text's
            if is_pair and is_text and (key + value).isprintable():
                text += f"; a text with such letters needs quotes: {_quoted(key, value)}"
            return text
        return _one_line(error)

    def _explain_key(self, key: str, written: str) -> str:
        groups = self.groups()
        if key in groups:
            return f"{written}: {key} has no default choice to override; write +{written}"
        name = key.lstrip("+~")
        return f"{written}: {_no_such('key', name, [*groups, *self._keys()])}"

    def _keys(self) -> list[str]:
        """Return the keys of the choices that the defaults and the command line name.

        Read from the files as they are: to compose them takes Hydra a third of a second.
        """
        chosen = {**self._main_defaults(), **dict(text.split("=", 1) for text in self.overrides)}
        main = {key: value for key, value in self._main().items() if key != "defaults"}
        keys = list(_flat_keys(main))
        for group in self.groups():
            if group in chosen:
                keys += self._keys_of(group, chosen[group])
        return keys

    def _keys_of(self, group: str, choice: str) -> Iterator[str]:
        """Yield the keys of a choice and of those that it chooses below itself."""
        files = [folder / group / f"{choice}.yaml" for folder in self.folders]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            return
        text = file.read_text()
        values = yaml.load(text, YAML) or {}
        package = PACKAGE.search(text)
        place = group.replace("/", ".") if package is None else package[1]
        yield from _flat_keys(
            {key: value for key, value in values.items() if key != "defaults"},
            "" if place == "_global_" else f"{place}.",
        )
        for entry in values.get("defaults", []):
            if isinstance(entry, str) and entry != "_self_":
                base = (Path(choice).parent / entry.partition("@")[0]).as_posix()
                yield from self._keys_of(group, base)
            for below, name in entry.items() if isinstance(entry, dict) else []:
                if isinstance(name, str):  # an "override" has no such folder
                    yield from self._keys_of(f"{group}/{below}", name)

    def _choices(self) -> Iterator[str]:
        for group in self.groups():
            files = [file for folder in self.folders for file in (folder / group).glob("*.yaml")]
            if files and not group.startswith("hydra") and "/_" not in group:
                yield f"{group}: {', '.join(sorted({file.stem for file in files}))}"

    def _main(self, name: str = "") -> dict[str, Any]:
        """Return the primary configuration with what it takes over from another one."""
        text = (self.folder / f"{name or self.config_name}.yaml").read_text()
        values: dict[str, Any] = yaml.load(text, YAML)
        defaults = values.pop("defaults", [])
        for base in [entry for entry in defaults if isinstance(entry, str) and entry != "_self_"]:
            known = self._main(base)
            defaults = known.pop("defaults") + defaults
            values = known | values
        return {"defaults": defaults, **values}

    def _main_keys(self) -> list[str]:
        return list(self._main())

    def _main_defaults(self) -> dict[str, str]:
        defaults = self._main()["defaults"]
        return {k: v for entry in defaults if isinstance(entry, dict) for k, v in entry.items()}


def _quoted(key: str, value: str) -> str:
    """Return an override, as a shell takes it, whose value counts as it is."""
    last = value[len(value.rstrip("\\")) :]  # backslashes that would undo the quote
    override = f"{key}='{value}{last}'"
    return shlex.quote(override) if set(override) & set("$`\\!") else f'"{override}"'


def _folders(arguments: list[str], options: tuple[str, ...]) -> Iterator[Path]:
    """Yield the folders that options of the command line name, such as `--config-dir`."""
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        option, is_joined, value = argument.partition("=")
        folder = value if is_joined else following
        if option in options and folder:
            yield Path(folder)


def _no_such(kind: str, name: str, known: Iterable[str], show_all: bool = False) -> str:
    """Return that `name` is not known, and which of the known it may have been."""
    known = sorted(set(known))
    near = get_close_matches(name, known, NUM_NEAR, cutoff=0.75)
    last = name.rpartition(".")[2]
    if not near:  # the right key without the room in front of it, or in another room
        near = [key for key in known if get_close_matches(last, [key.rpartition(".")[2]])]
    texts = [f"no such {kind}"]
    if near:
        texts.append(f"did you mean {' or '.join(near[:NUM_NEAR])}?")
    if show_all:
        texts.append(f"there are {', '.join(known)}")
    elif not near:
        texts.append("--help lists the groups, --cfg job all keys")
    return "; ".join(texts)


def _key(override: str) -> str:
    """Return the key of an override, without signs before it and the package behind it."""
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def _options_first(arguments: list[str]) -> list[str]:
    """Return the arguments with all options before the overrides, the order argparse wants."""
    options: list[str] = []
    overrides: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_option = argument[:1] == "-" or before in WITH_VALUE
        (options if is_option else overrides).append(argument)
    return options + overrides


def _flat_keys(values: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of nested dicts, those of inner nodes too."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from _flat_keys(value, f"{prefix}{key}.")


def _one_line(error: BaseException) -> str:
    """Return an error's text, and that of its cause in OmegaConf, in one line."""
    texts = [str(error) or type(error).__name__]
    if isinstance(error.__cause__, OmegaConfBaseException):
        texts.append(str(error.__cause__))
    lines = (line.strip() for text in texts for line in text.splitlines())
    return "; ".join(line for line in lines if line)


def _say(text: str) -> None:
    print(secrets.hide(text), file=sys.stderr, flush=True)

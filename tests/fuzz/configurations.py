"""Damaged YAML and command lines through all that reads a configuration."""

import functools
from pathlib import Path
from random import Random

from tests.fuzz.engine import Attempt
from tests.fuzz.pictures import damaged

# The last takes thirty times as long as the others.
NAMES = (*("tables", "report", "export", "evaluate") * 2, "config")
VALUES = (
    "null", "-1", "1e999", "nan", "''", "[]", "{}", "[1, [2, [3]]]", "true", "???", "0x", "\u202e",
    "${seed}", "${nothing}", "${oc.env:HOME}", "${oc.env:NOTHING}", "${oc.decode:'{'}", "${", "$",
    "\\${x}", "{_target_: os.system}", "{_target_: [], a: b}", "&a [*a]", "*nothing", "!!int x",
    "!!python/name:os.system", "'", '"', "|\n  x", "a: b: c", "\t", "x" * 9999, "[" * 400, "- - -",
)  # fmt: skip
KEYS = ("seed", "dataset.shots", "prompts.template", "runs", "output", "hydra.run.dir",
        "table.rows", "paths.store", "hydra.callbacks.x", "dataset._target_", "format",
        "experiment")  # fmt: skip
SIGNS = ("+", "++", "~", "", "", "", "-", "@", "=")
SUMMARY = b'{"kind": "train", "seed": 1, "recipe": {"a": [1]}}'


def prepare() -> Attempt:
    """Return the attempt; imports what it tries."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from sip.config import guard
    from sip.config.cli import _Command, conf_folder
    from sip.core.errors import UserError
    from sip.records.read import read_config, read_summary

    conf = conf_folder()
    files = sorted(conf.rglob("*.yaml"))
    context = functools.partial(initialize_config_dir, str(conf), version_base="1.3")

    def command(name: str, arguments: list[str], folder: Path) -> str:
        line = _Command(conf, name, arguments)
        try:
            guard.check_folder(folder)
            line.check_additions()
            with context():
                given = [*arguments, f"hydra.searchpath=[file://{folder}]"]
                config = compose(name, given, return_hydra_config=True)
            guard.check(config)
            OmegaConf.to_container(config, resolve=False)
        except Exception as error:
            if isinstance(error, MemoryError):  # all else is told in one line
                raise
            said = line.explain(error)
            assert said and "\n" not in said
            return f"refused: {type(error).__name__}"
        return "composed"

    def attempt(rng: Random, folder: Path) -> str:
        name = rng.choice(NAMES)
        for old in folder.rglob("*.yaml"):
            old.unlink()
        kind = rng.randrange(4)
        if kind == 0:  # a run's own files
            text = files[rng.randrange(len(files))].read_bytes()
            (folder / "config.yaml").write_bytes(changed(rng, text))
            (folder / "summary.json").write_bytes(
                changed(rng, b'{"kind": "train", "seed": 1, "recipe": {"a": [1]}}')
            )
            answers = []
            for read, file in ((read_config, "config.yaml"), (read_summary, "summary.json")):
                try:
                    answers.append(f"{type(read(folder / file)).__name__}")
                except UserError as error:
                    assert "\n" not in str(error)
                    answers.append("refused")
            return " and ".join(answers)
        if kind == 1:  # somebody's configuration folder
            (folder / "exp").mkdir(exist_ok=True)
            text = b"# @package _global_\n" + files[rng.randrange(len(files))].read_bytes()
            (folder / "exp" / "x.yaml").write_bytes(changed(rng, text))
            return command("config", ["+exp=x"], folder)
        return command(name, [override(rng) for _ in range(rng.randrange(1, 4))], folder)

    return attempt


def override(rng: Random) -> str:
    """Return a command line's argument, wrong in one way or another."""
    text = f"{rng.choice(SIGNS)}{rng.choice(KEYS)}={rng.choice(VALUES)}"
    if rng.random() < 0.5:
        text = changed(rng, text.encode()).decode("utf-8", "replace")
    return text.replace("\0", "") or "="


def changed(rng: Random, text: bytes) -> bytes:
    """Return YAML with bytes damaged, or with whole lines and values exchanged."""
    if rng.random() < 0.4:
        return damaged(rng, text)
    lines = text.split(b"\n")
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(lines))
        key = lines[place].partition(b":")[0]
        lines[place] = rng.choice((
            key + b": " + rng.choice(VALUES).encode(),
            b"  " + lines[place],
            lines[rng.randrange(len(lines))],
            b"defaults: [" + rng.choice(VALUES).encode() + b"]",
            b"",
        ))  # fmt: skip
    return b"\n".join(lines)

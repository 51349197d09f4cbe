"""The command line: quick answers, one line for a mistake, jobs that fail alone."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

import sip
from sip.__main__ import main as list_programs
from sip.config.cli import Job
from sip.config.command import Command
from sip.core.errors import UserError
from sip.core.paths import conf_folder
from tests.docs.command_line import run as run_here

ROOT = Path(sip.__file__).parents[1]

CONF = {
    "config": """
        defaults:
          - _self_
          - stage: blip
          - stage/rule: linear
          - override hydra/hydra_logging: none
          - override hydra/job_logging: none
        seed: 0
        debug: false
        mode: good
        expected: 1
        hydra:
          output_subdir: null
          run: {dir: .}
          sweep: {dir: runs, subdir: .}
          callbacks: {overview: {_target_: sip.jobs.sweeps.Overview}}
        """,
    "stage/blip": "noise_rate: 0.5\nmissing: ???",
    "stage/blip_beam": "noise_rate: 0.7\nmissing: ???",
    "stage/rule/linear": "low: 1",
    "exp/first": "# @package _global_\nseed: 7",
    "hydra/help/config": """
        template: |
          A toy.
          $APP_CONFIG_GROUPS
          That is all.
        """,
}
TASK = """
import os, sys, time
from pathlib import Path

def task(config):
    from sip.core.errors import UserError

    if config.mode == "user" or config.seed == 13:
        raise UserError("expected good, got bad; do better")
    if config.mode == "command":
        from sip.config.provenance import command
        print(command())
    if config.mode == "bug":
        raise ValueError("a bug")
    if config.mode == "escape":
        print("x\\x1b[2J")
        raise UserError("cannot read \\x1b[31mevil.png")
    if config.mode == "shadow":
        from statistics import mean
    if config.mode == "encoding":
        print(sys.flags.utf8_mode, Path("K\u00e4se").exists())
    if config.mode == "missing":
        config.stage.missing
    if config.mode == "long":
        print("a line\\n" * 100_000, flush=True)
    if config.mode == "slow":
        print("ready", flush=True)
        time.sleep(60)
    sys.stdout.write(f"seed {config.seed} noise {config.stage.noise_rate}\\n")
    assert "torch" not in sys.modules

if __name__ == "__main__":
    from sip.config.cli import main
    main(task, conf=Path(os.environ["TOY_CONF"]))
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the module `toyjob`; its configuration lies in `conf`."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toyjob.py").write_text(TASK)
    for name, text in CONF.items():
        file = folder / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        file.write_text("\n".join(line[indent:] for line in lines))
    return folder


def start(
    toy: Path, cwd: Path, *arguments: str, stdout: int = subprocess.PIPE, **variables: str
) -> subprocess.Popen:
    """Start the toy job in the folder `cwd`."""
    path = os.pathsep.join([str(toy), str(ROOT)])
    env = os.environ | {"PYTHONPATH": path, "TOY_CONF": str(toy / "conf")} | variables
    command = [sys.executable, "-m", "toyjob", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def run(toy: Path, cwd: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run the toy job; return its exit code and what it printed."""
    process = start(toy, cwd, *arguments, **variables)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_good_command_runs_and_leaves_nothing_behind(toy: Path, tmp_path: Path) -> None:
    code, out, err = run(toy, tmp_path, "+exp=first", "stage=blip_beam")
    assert (code, out, err) == (0, "seed 7 noise 0.7\n", "")
    assert list(tmp_path.iterdir()) == []


def test_help_lists_groups_and_choices(toy: Path, tmp_path: Path) -> None:
    code, out, err = run(toy, tmp_path, "--help")
    assert (code, err) == (0, "")
    groups = ["exp: first", "stage: blip, blip_beam", "stage/rule: linear"]
    assert out.splitlines() == ["A toy.", *groups, "That is all."]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("stage.noise_rat=0.3", "stage.noise_rat=0.3: no such key; did you mean stage.noise_rate?"),
        ("noise_rate=0.3", "noise_rate=0.3: no such key; did you mean stage.noise_rate?"),
        ("stagee=blip", "stagee=blip: no such key; did you mean stage or stage/rule?"),
        ("x=1", "x=1: no such key; --help lists the groups, --cfg job all keys"),
        (
            "stage=blipp",
            "stage=blipp: no such choice; did you mean blip?; there are blip, blip_beam",
        ),
        ("+exp=frist", "exp=frist: no such choice; did you mean first?; there are first"),
        ("+epx=first", "+epx=first: no such group or key; did you mean exp?"),
        ("+stage/rulee=x", "+stage/rulee=x: no such group or key; did you mean stage/rule?"),
        ("exp=first", "exp=first: exp has no default choice to override; write +exp=first"),
        ("+seed=1", "+seed=1: seed is there already; write seed=1"),
        ("seed", "seed: must be key=value; write key=value"),
        (
            "mode=[Bücher (own)]",
            "mode=[Bücher (own)]: must be a value that Hydra reads ('ü' is outside of quotes); "
            "texts in it that have signs need quotes of their own, as in \"mode=['a text']\"",
        ),
        (
            "mode=[{claim: a > b}]",
            "mode=[{claim: a > b}]: must be a value that Hydra reads ('>' is outside of quotes); "
            "texts in it that have signs need quotes of their own, as in "
            "\"mode=[{name: 'a text'}]\"",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    toy: Path, tmp_path: Path, argument: str, message: str
) -> None:
    code, out, err = run(toy, tmp_path, argument)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}") and err.count("\n") == 1


def test_a_launcher_needs_a_multirun(toy: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", exc_type=ImportError)
    code, out, err = run(toy, tmp_path, "hydra/launcher=joblib")
    assert (code, out) == (2, "")
    assert err.startswith("error: hydra/launcher=joblib: must come with -m, ")
    assert err.count("\n") == 1


def test_the_override_that_is_wrong_is_named(toy: Path, tmp_path: Path) -> None:
    code, _, err = run(toy, tmp_path, "expected=2", "exp=first")
    assert code == 2 and err.startswith("error: exp=first: exp has no default choice")


def test_hydras_answers_name_what_to_write(toy: Path, tmp_path: Path) -> None:
    for argument, message in {
        "+seed=3": "+seed=3: seed is there already; write seed=3",
        "+stage=blip": "+stage=blip: stage is there already; write stage=blip",
        "seed=0,1": "seed=0,1: several values are a sweep, a job for each; add -m",
        "stage=blip,own": "stage=blip,own: several values are a sweep, a job for each; add -m",
    }.items():
        code, _, err = run(toy, tmp_path, argument)
        assert (code, err) == (2, f"error: {message}\n")


def test_a_folder_of_ones_own_adds_choices(toy: Path, tmp_path: Path) -> None:
    for name, text in {
        "exp/own": "# @package _global_\ndefaults:\n  - override /stage: own\nseed: 3",
        "stage/own": "defaults:\n  - blip\n  - _self_\nnoise_rate: 0.9\nextra: 1",
    }.items():
        file = tmp_path / "my conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    code, out, err = run(toy, tmp_path, f"--config-dir={tmp_path / 'my conf'}", "+exp=own")
    assert (code, out, err) == (0, "seed 3 noise 0.9\n", "")
    code, out, err = run(toy, tmp_path, "stage=own", "--config-dir", "my conf", "+exp=own")
    assert (code, out, err) == (0, "seed 3 noise 0.9\n", "")
    _, out, _ = run(toy, tmp_path, "--config-dir", "my conf", "--help")
    assert "exp: first, own\nstage: blip, blip_beam, own\n" in out
    for argument, message in {
        "+epx=own": "+epx=own: no such group or key; did you mean exp?",
        "+exp=owm": "exp=owm: no such choice; did you mean own?; there are first, own",
        "stage.extr=2": "stage.extr=2: no such key; did you mean stage.extra?",
    }.items():
        code, _, err = run(toy, tmp_path, "--config-dir", "my conf", "stage=own", argument)
        assert code == 2 and err == f"error: {message}\n"
    code, _, err = run(toy, tmp_path, "--config-dir", "other", "+exp=own")
    assert (
        code == 2 and err.startswith("error: Additional config directory") and err.count("\n") == 1
    )


@pytest.mark.parametrize("launcher", [None, "basic", "joblib"])
def test_the_recorded_command_finds_the_same_configurations(
    toy: Path, tmp_path: Path, launcher: str | None
) -> None:
    """As typed: a folder's place on this machine is nobody's business."""
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", exc_type=ImportError)
    folder = tmp_path / "my conf" / "stage"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("noise_rate: 0.9\n")
    (folder.parent / "mine.yaml").write_text("defaults: [config, _self_]\nseed: 5\n")
    sweep = [] if launcher is None else ["-m", f"hydra/launcher={launcher}"]
    sweep += ["hydra.launcher.n_jobs=1"] if launcher == "joblib" else []
    given = ["mode=command", "--config-dir", "my conf", "-cn", "mine", "stage=own"]
    code, out, err = run(toy, tmp_path, *given, *sweep, SIP_TRUSTED=" b, a.c")
    options = "--config-name mine --config-dir 'my conf'"
    command = f"SIP_TRUSTED=b,a.c python -m sip.toyjob {options} mode=command stage=own"
    assert (code, out) == (0, f"{command}\nseed 5 noise 0.9\n"), err
    words = shlex.split(command)[4:]
    assert run(toy, tmp_path, *words, SIP_TRUSTED="b,a.c") == (0, out, "")
    where = "hydra.searchpath=[my conf]"
    code, out, err = run(toy, tmp_path, "mode=command", "stage=own", where, SIP_OPTIONS="--old")
    assert out.startswith(f"python -m sip.toyjob '{where}' mode=command stage=own\n"), err
    assert run(toy, tmp_path, "mode=command")[1].startswith("python -m sip.toyjob mode=command\n")


def test_a_file_that_would_never_be_read_is_refused(toy: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine" / "stage" / "blip.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("noise_rate: 0.1\n")
    code, _, err = run(toy, tmp_path, "--config-dir", "mine")
    assert code == 2 and err.count("\n") == 1
    assert err.startswith("error: mine/stage/blip.yaml: must have a name of its own")


def test_a_command_without_arguments_runs(toy: Path, tmp_path: Path) -> None:
    code, out, err = run(toy, tmp_path)
    assert (code, err) == (0, "") and out.startswith("seed ")


def test_it_is_one_line_in_a_multirun_too(toy: Path, tmp_path: Path) -> None:
    code, _, err = run(toy, tmp_path, "-m", "seed=0,1", "stage.noise_rat=0.3,0.7")
    assert code == 2 and err.count("\n") == 1
    assert err.startswith(
        "error: stage.noise_rat=0.3,0.7: no such key; did you mean stage.noise_rat"
    )


def test_a_users_mistake_is_one_line(toy: Path, tmp_path: Path) -> None:
    answer = (1, "", "error: expected good, got bad; do better\n")
    assert run(toy, tmp_path, "mode=user") == answer
    code, _, err = run(toy, tmp_path, "mode=user", "debug=true")
    assert code == 1 and "Traceback" in err and err.endswith(answer[2])
    code, _, err = run(toy, tmp_path, "mode=missing")
    assert code == 2 and err.startswith("error: Missing mandatory value") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("dataset.root: must be a folder, got x", 2),
        ("seed: must be a whole number >= 0, got -1", 2),
        ("dataset.prompt_names: must name classes of the data set, got cow", 2),
        ("dataset: images must be readable, got 1 that is not", 1),
        ("dataset: must have two classes, got 1", 1),  # of the data, not of the command
        ("/a/list.csv: must be in UTF-8, got another", 1),
        ("images: 3 of 4 images failed", 1),
        ("dataset.root: parts must be named train, val and test, got training", 2),
        ("tables: no run has the key 'sed'; did you mean seed?", 1),
    ],
)
def test_a_refused_value_of_the_command_line_has_a_code_of_its_own(text: str, code: int) -> None:
    def failing(_: DictConfig) -> None:
        raise UserError(text)

    dataset = {"_target_": "sip.dataset.toy.Toy", "root": "x", "prompt_names": {"cow": "x"}}
    config = OmegaConf.create({"seed": 0, "dataset": dataset})
    with pytest.raises(SystemExit) as end:
        Job(failing, [])(config)
    assert end.value.code == code


@pytest.mark.parametrize(
    ("module", "key", "value"),
    [("train", "plan", "zzz"), ("train", "train.reuse", "no"), ("report", "full_paths", "1")],
)
def test_a_flag_is_true_or_false(
    module: str,
    key: str,
    value: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run_here(f"sip.{module}", [f"{key}={value}"], monkeypatch) == 2
    message = f"error: {key}: must be true or false, got {value}; write {key}=true\n"
    assert capfd.readouterr().err == message


def test_a_bug_comes_with_its_traceback(toy: Path, tmp_path: Path) -> None:
    code, _, err = run(toy, tmp_path, "mode=bug")
    assert code == 1 and "Traceback" in err and err.endswith("error: a bug\n")
    assert "hydra" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_is_one_line(toy: Path, tmp_path: Path, number: int, code: int) -> None:
    process = start(toy, tmp_path, "mode=slow")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == "stopped: what was finished is kept; the same command goes on from there\n"


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_job_of_a_multirun_fails_alone(toy: Path, tmp_path: Path, launcher: str) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", exc_type=ImportError)
    arguments = ["-m", f"hydra/launcher={launcher}", "seed=1,13,2", "+exp=first"]
    if launcher == "joblib":
        arguments.append("hydra.launcher.n_jobs=2")
    code, out, err = run(toy, tmp_path, *arguments)
    assert code == 1
    assert sorted(out.splitlines()) == ["seed 1 noise 0.5", "seed 2 noise 0.5"]
    lines = err.splitlines()
    assert sorted(line.split(" (")[0] for line in lines if line.startswith("sweep")) == [
        f"sweep        job {n}/3: seed={seed}" for n, seed in enumerate((1, 13, 2), start=1)
    ]
    assert "error in job 2/3: seed=13: expected good, got bad; do better" in lines
    assert err.count("do better") == 1 and lines[-1] == "  job 2/3: seed=13"
    assert "with overrides" not in err
    assert "Traceback" not in err
    assert [file.name for file in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("arguments", [["--help"], ["prompts.noise_rat=0.3"]])
def test_the_main_job_answers_without_heavy_libraries(tmp_path: Path, arguments: list[str]) -> None:
    """It answers at once then: what costs seconds is to import them."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "importtime", "-m", "sip.train", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time")}
    said = "\n".join(line for line in lines if not line.startswith("import time"))
    assert "hydra" in imported
    heavy = {
        "torch",
        "numpy",
        "pandas",
        "PIL",
        "timm",
        "transformers",
        "pytorch_lightning",
        "wandb",
    }
    assert imported & heavy == set()
    if arguments == ["--help"]:
        assert (done.returncode, said) == (0, "")
        mixes = "cutmix, mixup, mixup_cutmix, moex, moex_cutmix, none"
        assert f"augmentation/mix: {mixes}\n" in done.stdout
        assert done.stdout.count("python -m sip.train ") >= 5
    else:
        assert done.returncode == 2
        assert "no such key; did you mean prompts.noise_rate?" in said


LIGHT = """
import atexit, runpy, sys

atexit.register(lambda: print([name for name in ("torch", "numpy") if name in sys.modules]))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=False)
"""


def light(tmp_path: Path, *command: str) -> str:
    """Return what a command prints; it must not import heavy libraries."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", LIGHT, *command]
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    printed, _, heavy = done.stdout.rstrip().rpartition("\n")
    assert heavy == "[]"
    return printed


def test_the_programs_are_listed_without_heavy_libraries(tmp_path: Path) -> None:
    listed = dict(re.findall(r"python -m (sip[\w.]+) +(\S.+)", light(tmp_path, "sip")))
    mains = [
        file
        for file in Path(sip.__file__).parent.rglob("*.py")
        if "sip.config.cli.main(" in file.read_text()
    ]
    assert listed.keys() >= {"sip.train", "sip.stack.build"} and len(mains) > 5
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for file in mains
    }
    assert listed.keys() == modules - {"sip.stack.quality"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "seed=0"], "train: write python -m sip.train seed=0"),
        (["stack"], "stack: write python -m sip.stack.build"),
        (["sip.train"], "sip.train: write python -m sip.train"),
        (["tarin"], "tarin: no such program; did you mean python -m sip.train?"),
        (["seed=0"], "seed=0: no such program; python -m sip lists all"),
    ],
)
def test_a_program_is_named_by_its_module(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["sip", *words])
    with pytest.raises(SystemExit) as end:
        list_programs()
    assert end.value.code == 2
    assert capsys.readouterr() == ("", f"error: {said}\n")


@pytest.mark.parametrize("module", ["sip", "sip.train", "sip.tables"])
def test_the_version_is_ours(tmp_path: Path, module: str) -> None:
    printed = light(tmp_path, module, "--version")
    assert re.fullmatch(
        rf"sip {re.escape(sip.__version__)}, Hydra 1\.3\.\d+, torch 2\.\S+", printed
    )


def test_help_into_a_pipe_that_closes_is_no_error(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sip.train", "--help"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=tmp_path, env=env, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("mode", ["long", "good"])
def test_results_into_a_pipe_that_closes_are_no_error(toy: Path, tmp_path: Path, mode: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(toy, tmp_path, "+exp=first", f"mode={mode}", stdout=writing)
    _, err = process.communicate(timeout=120)
    os.close(writing)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("mode", ["long", "good"])
def test_a_stdout_that_cannot_be_written_does_not_end_the_work(
    toy: Path, tmp_path: Path, mode: str
) -> None:
    with open("/dev/full", "w") as full:
        process = start(toy, tmp_path, "+exp=first", f"mode={mode}", stdout=full.fileno())
        _, err = process.communicate(timeout=120)
    words = "error: stdout cannot be written (No space left on device); the work itself is done\n"
    assert (process.returncode, err) == (1, words)


@pytest.mark.parametrize("more", [{}, {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}])
def test_another_locale_is_no_matter(toy: Path, tmp_path: Path, more: dict[str, str]) -> None:
    (tmp_path / "K\u00e4se").mkdir()
    code, out, err = run(toy, tmp_path, "mode=encoding", LC_ALL="C", **more)
    assert (code, out.splitlines()[0], err) == (0, "1 True", "")


def test_without_docstrings_it_ends_in_one_line(toy: Path, tmp_path: Path) -> None:
    code, out, err = run(toy, tmp_path, PYTHONOPTIMIZE="2")
    assert (code, out, err.count("\n")) == (1, "", 1) and "got -OO (or" in err
    assert run(toy, tmp_path, PYTHONOPTIMIZE="1")[0] == 0


def test_nothing_that_a_terminal_obeys_is_printed(toy: Path, tmp_path: Path) -> None:
    code, out, err = run(toy, tmp_path, "mode=escape")
    assert (code, out, err) == (1, "x[2J\n", "error: cannot read [31mevil.png\n")


def test_a_file_in_place_of_a_library_is_named(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "statistics.py").write_text("")
    code, _, err = run(toy, tmp_path, "mode=shadow")
    line = f"error: {tmp_path}/statistics.py: must not have the name of a library"
    assert code == 1 and err.splitlines()[-1].startswith(line)


def test_the_configuration_is_found_from_anywhere() -> None:
    assert (conf_folder() / "config.yaml").is_file()
    assert conf_folder().is_absolute()


def test_the_folder_of_the_configuration_may_be_named(toy: Path, tmp_path: Path) -> None:
    code, out, err = run(toy, tmp_path, "--config-dir", str(toy / "conf"), "+exp=first")
    assert (code, out, err) == (0, "seed 7 noise 0.5\n", "")


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("dataset.root=/data/Große Äpfel (2)", 'dataset.root="/data/Große Äpfel (2)"'),
        ('label=a "big" one, 3 cm', 'label="a \\"big\\" one, 3 cm"'),
        ("label=AC\\DC (live)", 'label="AC\\DC (live)"'),
        ("seed=0,1,2", "seed=0,1,2"),
        ("noise=range(0, 3)", "noise=range(0, 3)"),
        ("label=tabby cat", "label=tabby cat"),
        ("parts=[train,val]", "parts=[train,val]"),
        ("--help", "--help"),
        ("+table.where.augmentation/base=crop", "++table.where={augmentation/base: crop}"),
        ("runs=2026", 'runs="2026"'),
        ("paths.runs=1e3", 'paths.runs="1e3"'),
        ("experiment=true", 'experiment="true"'),
        ("output=null", "output=null"),
        ("run=[a,b]", "run=[a,b]"),
    ],
)
def test_a_value_that_is_no_expression_is_quoted(typed: str, taken: str) -> None:
    assert Command.for_hydra(typed) == taken


def test_the_home_folder_is_expanded_as_a_shell_does_in_front_of_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/an (ä)")
    assert Command.for_hydra("paths.data=~/d") == 'paths.data="/home/an (ä)/d"'
    assert Command.for_hydra("label=~x") == 'label="~x"'
    assert Command.of_text("label", "~/d") == 'label="~/d"'  # a text is taken as it is


def test_a_plain_command_composes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    load, composed = ConfigLoaderImpl.load_configuration, []

    def counting(*args: Any, **kwargs: Any) -> Any:
        composed.append(kwargs)
        return load(*args, **kwargs)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counting)
    assert run_here("sip.generate", ["retry=anything"], monkeypatch) == 2
    assert len(composed) == 1


def test_a_folder_may_be_named_by_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_here("sip.report", ["runs=2026"], monkeypatch) == 2
    error = "error: runs: must be a folder with runs, got 2026, which is not there; name it with"
    assert capfd.readouterr().err.startswith(error)

"""Switches for the markers that are off by default, and an environment without network."""

import gc
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import faster_hydra

if TYPE_CHECKING:
    from tests.s3 import S3Server

SWITCHES = {
    "slow": "takes more than about 30 s",
    "gpu": "needs a CUDA device",
    "network": "needs the internet",
}
# The files that take longest, the longest first.
LONG = (
    *("test_run_commands", "test_several_devices", "test_generate", "test_kills", "test_train"),
    *("test_cli", "test_recipes", "test_gpu_day", "test_sweeps", "test_own_images"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add one switch for each marker."""
    for marker, why in SWITCHES.items():
        parser.addoption(f"--run-{marker}", action="store_true", help=f"run what {why}")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before any test module imports a library that reads it."""
    os.environ |= {
        "OMP_NUM_THREADS": "1",  # torch reads it on import; the cores are for pytest's workers
        "MPLBACKEND": "Agg",
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
    }
    if not config.getoption("--run-network"):
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    faster_hydra.install()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job begins so
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a switch that is not given; begin with the longest files.

    With several processes (`--no-loadscope-reorder`), the short ones then fill the gaps.
    """
    ranks = {name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONG)))
    for marker, why in SWITCHES.items():
        if config.getoption(f"--run-{marker}"):
            continue
        skip = pytest.mark.skip(reason=f"{why}: --run-{marker}")
        for item in items:
            if item.get_closest_marker(marker):  # keywords also hold the names of folders
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Leave what the imports have made out of every later garbage collection: there is much."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let it be collected at the end: libraries in C++ complain of what they find alive."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def first_process() -> Iterator[None]:
    """Let each test begin as the first process of its job: an actor or a worker is not."""
    from sip.core import progress

    yield
    progress.is_first = True


@pytest.fixture(scope="session")
def s3_server() -> Iterator["S3Server"]:
    """Return a server that speaks S3; `bucket` is how a test uses it."""
    from tests.s3 import S3Server

    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def bucket(s3_server: "S3Server", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URI of an empty place in a bucket, with a cache of its own on this machine."""
    from tests.s3 import environment, make_bucket

    for name, value in environment(s3_server.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIP_CACHE_GIB", "1")
    name = f"sip-{uuid.uuid4().hex[:12]}"
    make_bucket(s3_server.url, name)
    return f"s3://{name}/prefix"

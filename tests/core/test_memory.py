"""Free memory and cores: a container's bound counts where it is the narrower one."""

from pathlib import Path

import psutil
import pytest

from sip.core import cgroups, memory, threads


@pytest.fixture
def groups(tmp_path: Path, monkeypatch) -> Path:
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/x\n0::/job/step\n")
    monkeypatch.setattr(cgroups, "OWN_CGROUP", own)
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path / "groups")
    return tmp_path / "groups"


def limit(group: Path, most: str, used: int, cached: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def test_the_narrowest_group_counts_with_its_cache_as_free(groups: Path) -> None:
    limit(groups / "job" / "step", "max", 10, 0)
    limit(groups / "job", "1000", 700, 50)
    limit(groups, "5000", 100, 0)
    assert memory.available() == 350
    limit(groups / "job" / "step", "100", 400, 0)
    assert memory.available() == 0


def test_without_bounds_the_machine_counts(groups: Path) -> None:
    total = psutil.virtual_memory().total
    assert 0 < memory.available() <= total
    cgroups.OWN_CGROUP.unlink()
    assert 0 < memory.available() <= total


def test_a_quota_of_cpus_bounds_the_cores(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(64), raising=False)
    assert threads.num_cores() == 64
    for group, quota in (("job/step", "max 100000"), ("job", "150000 100000")):
        (groups / group).mkdir(parents=True, exist_ok=True)
        (groups / group / "cpu.max").write_text(f"{quota}\n")
    assert threads.num_cores() == 2
    (groups / "job" / "step" / "cpu.max").write_text("20000 100000\n")
    assert threads.num_cores() == 1
    (groups / "job" / "step" / "cpu.max").write_text("9900000 100000\n")
    (groups / "job" / "cpu.max").unlink()
    assert threads.num_cores() == 64

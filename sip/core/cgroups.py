"""The control groups (version 2) around this process: what a container or a job may use."""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def groups() -> list[Path]:
    """Return the folders of this process's group and of those around it; [] if not on Linux."""
    if not OWN_CGROUP.exists():
        return []
    own = [line[3:] for line in OWN_CGROUP.read_text().splitlines() if line.startswith("0::")]
    folders = [CGROUPS / name.strip("/") for name in own]
    return [group for inner in folders for group in (inner, *inner.parents)]


def cpu_quotas() -> list[float]:
    """Return the CPUs that each group grants, such as 1.5; without those that set no bound."""
    quotas = []
    for folder in groups():
        try:
            quota, period = map(int, (folder / "cpu.max").read_text().split())
        except (OSError, ValueError):  # no such group here, or its quota is the word "max"
            continue
        quotas.append(quota / period)
    return quotas

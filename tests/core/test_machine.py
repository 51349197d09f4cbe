"""What computed a run is recorded as it is."""

from pathlib import Path

import pytest
import torch

from sip.core import machine
from sip.core.machine import Machine, processor, this_machine
from sip.records.read import read_run
from tests.records.made_up import MACHINE, training_summary, write_run


def test_it_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    found = this_machine()
    assert found.threads == torch.get_num_threads()
    assert found.instructions == torch.backends.cpu.get_cpu_capability()
    assert found.limits == {"ATEN_CPU_CAPABILITY": "avx2"}
    assert found.processor and found.accelerator is None
    assert "ATEN_CPU_CAPABILITY=avx2" in found.line()


def test_the_processor_is_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9R14\nmodel name\t: other\n")
    monkeypatch.setattr(machine, "CPUINFO", file)
    assert processor() == "AMD EPYC 9R14"
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert processor()


def test_it_is_read_again_and_older_runs_have_none(tmp_path: Path) -> None:
    limited = Machine(processor="x", instructions="y", limits={"a": "b"}, threads=2)
    for number, value in enumerate((MACHINE, limited, None)):
        folder = write_run(tmp_path / str(number), training_summary(machine=value))
        assert read_run(folder).summary.machine == value

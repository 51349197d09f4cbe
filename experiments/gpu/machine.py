"""What the day runs on; fails if the device cannot be used in a process of this kind."""

import platform

from experiments.gpu.job import Job


def run(job: Job) -> None:
    """Use the device and name it."""
    import torch

    from sip.benchmark.report import device_name

    device = torch.device(job.settings.device)
    value = (torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)).sum().item()
    assert value == 8.0
    job.record(
        device=device_name(device),
        torch=torch.__version__,
        python=platform.python_version(),
        threads=torch.get_num_threads(),
    )
    if job.is_cuda:
        free, total = torch.cuda.mem_get_info(device)
        job.record(cuda=torch.version.cuda, memory=f"{total / 2**30:.0f} GiB")
        job.record(memory_free=f"{free / 2**30:.0f} GiB")

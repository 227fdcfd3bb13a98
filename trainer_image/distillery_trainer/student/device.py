"""The device that a stage computes on, its arithmetic, and how much of the machine the stage may use.

A container sees all processors of the machine, but may use only some of them; threads for all of them slow it down.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

_CPU_INFO = Path("/proc/cpuinfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_CPU_BFLOAT16 = {"amx_bf16", "bf16"}
"""Processor flags (x86, Arm) of bfloat16 arithmetic that is faster than that in float32. Without one it is emulated."""
_AMD, _AMD_BFLOAT16 = "AuthenticAMD", "avx512_bf16"
"""The vendor whose AVX-512 is faster in bfloat16. Intel's with the same flag multiplies at six tenths of the speed of
float32 (docs/results.md, "Arithmetic of a CPU"); there the tiles of AMX are fast, which virtual machines may lack."""


@dataclass(frozen=True)
class Device:
    """A device and the fastest arithmetic on it that costs no accuracy."""

    kind: str
    """cuda or cpu."""
    dtype: torch.dtype
    """bfloat16 if the device is faster in it, else float32."""
    name: str
    """The product name, for people."""

    @property
    def precision(self) -> str:
        """The arithmetic's name, such as bfloat16."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def is_cpu(self) -> bool:
        """Whether this is the CPU."""
        return self.kind == "cpu"

    def total_memory(self) -> int:
        """Memory of the device, whoever uses it now, in bytes."""
        if self.is_cpu:
            return host_memory()
        return int(torch.cuda.mem_get_info()[1])

    def free_memory(self) -> int:
        """Free memory of the device, in bytes."""
        if self.is_cpu:
            return free_host_memory()
        return int(torch.cuda.mem_get_info()[0])


def choose_device(processes: int = 1) -> Device:
    """The first GPU that this process sees, else the CPU, with as many threads as the container may use, divided among
    its processes."""
    # With several visible GPUs, the trainer would require a distributed launch.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    if torch.cuda.is_available():
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
        return Device("cuda", dtype, torch.cuda.get_device_name())
    torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_processors()) // processes))
    info = _CPU_INFO.read_text() if _CPU_INFO.exists() else ""
    dtype = torch.bfloat16 if computes_in_bfloat16(info) else torch.float32
    return Device("cpu", dtype, cpu_name(info, torch.get_num_threads()))


def computes_in_bfloat16(cpu_info: str) -> bool:
    """Whether the processor described in `/proc/cpuinfo` is faster in bfloat16 than in float32."""
    flags = _first(cpu_info, ("flags", "Features")).split()
    is_amd = _first(cpu_info, ("vendor_id",)) == _AMD
    return not _CPU_BFLOAT16.isdisjoint(flags) or (is_amd and _AMD_BFLOAT16 in flags)


def cpu_name(cpu_info: str, threads: int) -> str:
    """The name of the processor and the number of threads in use."""
    product = _first(cpu_info, ("model name",)) or "processor"
    return f"CPU ({product[:80]}, {threads} {'thread' if threads == 1 else 'threads'})"


def _first(cpu_info: str, names: tuple[str, ...]) -> str:
    """The first value in `/proc/cpuinfo` with one of the names; empty if there is none."""
    for line in cpu_info.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""


def usable_processors(control_group: Path = _CONTROL_GROUP) -> int:
    """Processors that this process may use: the affinity mask, limited by the container's quota rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _read(control_group / "cpu.max").split()
    if len(limit) != 2 or limit[0] == "max":
        return allowed
    return max(1, min(allowed, math.ceil(int(limit[0]) / int(limit[1]))))


def free_host_memory(control_group: Path = _CONTROL_GROUP) -> int:
    """Free memory of the machine or of the container, whichever is less, in bytes."""
    import psutil

    available = int(psutil.virtual_memory().available)
    limit, used = _read(control_group / "memory.max"), _read(control_group / "memory.current")
    if not limit.isdigit() or not used.isdigit():
        return available
    return max(0, min(available, int(limit) - int(used)))


def host_memory(control_group: Path = _CONTROL_GROUP) -> int:
    """Memory of the machine or of the container, whichever is less, in bytes."""
    import psutil

    total, limit = int(psutil.virtual_memory().total), _read(control_group / "memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the device or the machine is exhausted."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    )

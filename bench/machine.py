"""What a sitting ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> dict[str, str]:
    """Processor, cores, memory, system and Python."""
    found = {
        "processor": platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found["processor"] = next(line for line in lines if line.startswith("model name")).split(":", 1)[1].strip()
        flags = next(line for line in lines if line.startswith("flags")).split()
        known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
        found["instructions"] = " ".join(flag for flag in known if flag in flags)
        memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
        found["memory"] = f"{int(memory.split()[1]) / 2**20:.0f} GiB"
    except (OSError, StopIteration):
        pass
    return found


def load() -> float:
    """Processes that wanted to run in the last minute, on average: far above zero, other work shared the cores."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")

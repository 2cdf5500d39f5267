"""The processor that a stage ran on, and which of its instructions the libraries were allowed: recorded in `run.json`.

Bytes depend on both. Nothing is imported to find out: stages that do without torch pay nothing for it.
"""

import platform
import sys
from pathlib import Path
from typing import Any

from segcompass.instruction_set import settings

CPU_INFO = Path("/proc/cpuinfo")


def processor() -> dict[str, Any]:
    """`model` and `vendor` as the system names them, torch's `capability` in force (None in a stage without torch), `settings`."""
    described = cpu_info()
    torch = sys.modules.get("torch")
    return {
        "model": described.get("model name") or platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability() if torch else None,
        "settings": settings(),
    }


def cpu_info() -> dict[str, str]:
    """What Linux says of the first processor; empty elsewhere."""
    try:
        first, _, _ = CPU_INFO.read_text(encoding="utf-8").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def lacks_avx2() -> bool:
    """Whether the processor is known to have no AVX2: of another architecture than x86, or without the flag."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    flags = cpu_info().get("flags")
    return flags is not None and "avx2" not in flags.split()

"""The machine that a program runs on, for the provenance of what it made."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's model and the number of its cores, as the system names them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return f"{models[0]}, {len(models)} cores"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def machine() -> dict[str, str]:
    """Return the machine's name, system, processor and Python."""
    system = platform.uname()
    return {
        "machine": system.node,
        "operating system": f"{system.system} {system.release}, {system.machine}",
        "processor": processor(),
        "cores for this process": str(len(os.sched_getaffinity(0)))
        if hasattr(os, "sched_getaffinity")
        else str(os.cpu_count()),
        "Python": platform.python_version(),
    }

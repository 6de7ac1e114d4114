"""What this process has used so far."""

from __future__ import annotations

import resource
from pathlib import Path


def cpu_seconds() -> float:
    """Processor seconds, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_megabytes() -> float:
    """Peak memory of this process, in 1e6 bytes; getrusage would also count that of the process it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024 / 1e6

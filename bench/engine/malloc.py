"""What the measuring process does with memory it has freed."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_REUSED = 1 << 29
_KEPT_FREE = 1 << 28


@cache
def keep_freed_memory() -> None:
    """Have large arrays reuse what earlier ones freed, up to 256 MiB of it; without effect but on glibc.

    Each frame is freed when the next has come. Left alone, glibc returns every plane of some megabytes to the kernel,
    which clears as many pages again for the next: half of the time of a 1080p fidelity pass.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)

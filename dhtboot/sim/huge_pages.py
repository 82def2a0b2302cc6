"""Asks Linux to back the memory of a run with pages of 2 MB; a run is the same without, and slower.

Each message reaches another node, whose tables lie anywhere in hundreds of megabytes. With pages of 4 kB the processor
looks up nearly every one of these addresses in memory first. By itself the kernel gives large pages to nobody who does
not ask, on most machines, and Python does not ask.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

HUGE_BYTES: Final = 1 << 21
_MADV_COLLAPSE: Final = 25
"Since Linux 6.1; an older kernel refuses it."
_MAPS: Final = Path("/proc/self/maps")


def use_huge_pages() -> int:
    """Have what this process has allocated so far moved to large pages, where the kernel can; return the bytes moved.

    What is there already costs next to nothing, so it may be called again and again while memory grows.
    """
    if sys.platform != "linux":
        return 0
    moved = 0
    with suppress(OSError, ValueError):  # no /proc, or not the one of Linux
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in aligned(_MAPS.read_text()):
            if madvise(start, end - start, _MADV_COLLAPSE) == 0:
                moved += end - start
    return moved


def aligned(maps: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the whole large pages in each writable memory that belongs to no file.

    Args:
        maps: the lines of `/proc/self/maps` (proc(5)): range, rights, offset, device, inode, and what it is.
    """
    for line in maps.splitlines():
        span, rights, _offset, _device, inode, *what = line.split(maxsplit=5)
        if not rights.startswith("rw") or inode != "0" or what not in ([], ["[heap]"]):
            continue
        low, high = (int(part, 16) for part in span.split("-"))
        start, end = -(-low // HUGE_BYTES) * HUGE_BYTES, high // HUGE_BYTES * HUGE_BYTES
        if start < end:
            yield start, end

"""Memory of containers: what the zygote has is shared with all of them, page by page, until one of them writes there.

Python writes also where it only reads, since each object counts who refers to it. So what helps is that the objects of
a container lie together, on pages of its own, and not in gaps between those that it shares.
"""

import ctypes
import gc
import sys
from collections.abc import Callable
from typing import Final

BLOCK_BYTES: Final = 16
"Small objects have blocks of a multiple of it (`ALIGNMENT` of Objects/obmalloc.c) .."
BLOCK_MAX_BYTES: Final = 512
".. up to this (`SMALL_REQUEST_THRESHOLD`); larger ones are malloc's."
POOL_BYTES: Final = 16_384
"Blocks of one size lie together in so much (`POOL_SIZE`)."
GAPS_MAX_BYTES: Final = 1 << 20
"Of one size: there are 12 to 40 KB. A Python that allocates in another way gains nothing, and loses 32 MB at most."
_BYTES_HEAD: Final = sys.getsizeof(b"")

_filling: Final[list[object]] = []
"What lies in the gaps."
_trim: Final[Callable[[int], int] | None] = getattr(ctypes.CDLL(None), "malloc_trim", None)
"Of glibc; others have no such function."


def settle() -> None:
    """Before the fork: no garbage and no gaps, and the collector looks at nothing of what is there now."""
    gc.unfreeze()
    gc.collect()
    for size in range(BLOCK_BYTES, BLOCK_MAX_BYTES + 1, BLOCK_BYTES):
        _filling.extend(_gaps_filled(size))
    gc.freeze()
    gc.disable()


def give_back() -> None:
    """Have the kernel take back what is free: to read the source of a module takes 0.2 MB for a moment."""
    if _trim is not None:
        _trim(0)


def _gaps_filled(size: int) -> list[object]:
    """Objects of a size, until nearly all of a pool was free: it is a new one, so the gaps of others are filled."""
    made: list[object] = []
    row, last = 0, 0
    while row < POOL_BYTES * 3 // 4 and len(made) * size < GAPS_MAX_BYTES:
        made.append(_object_of(size))
        pool = id(made[-1]) // POOL_BYTES
        row = row + size if pool == last else 0
        last = pool
    return made


def _object_of(size: int) -> object:
    """One that needs such a block, and that no table of Python's has already."""
    match size:
        case 16:
            return object()
        case 32:
            return complex(1, 1)
        case _:
            return bytes(size - _BYTES_HEAD)

"""Takes away what the broker does not need: of root's powers it keeps those over the network, and those to load BPF."""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from netserv.errors import SystemRefusedError

NET_ADMIN: Final = 12
NET_RAW: Final = 13
IPC_LOCK: Final = 14
PERFMON: Final = 38
BPF: Final = 39
_BOUNDING_DROP: Final = 24
_NO_NEW_PRIVILEGES: Final = 38
_CAPSET: Final = {"x86_64": 126, "aarch64": 91}
_VERSION_3: Final = 0x20080522
_LAST: Final = Path("/proc/sys/kernel/cap_last_cap")


def keep_only(capabilities: Iterable[int]) -> None:
    """Give up every capability but these, for programs that this process starts too.

    Raises:
        SystemRefusedError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    kept = set(capabilities)
    try:
        last = int(_LAST.read_text())
    except (OSError, ValueError):
        last = 40
    for number in range(last + 1):
        if number not in kept:
            libc.prctl(_BOUNDING_DROP, number, 0, 0, 0)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    mask = sum(1 << each for each in kept if each <= last)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = ctypes.create_string_buffer(struct.pack("=II", _VERSION_3, 0))
    data = ctypes.create_string_buffer(struct.pack("=IIIIII", low, low, 0, high, high, 0))
    call = _CAPSET.get(os.uname().machine)
    if call is None:
        return  # what is given up here is a second wall; programs that are started have lost it by the bounding set
    if libc.syscall(call, header, data):
        error = ctypes.get_errno()
        raise SystemRefusedError(f"the packet broker does not get its privileges: {os.strerror(error)}; run as root")

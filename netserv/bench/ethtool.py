"""What interfaces do by themselves, set as ethtool(8) does it.

python -m netserv.bench.ethtool gro|checksums INTERFACE ...
"""

import ctypes
import fcntl
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

_ETHTOOL: Final = 0x8946
_SETTINGS: Final = {"gro": (0x2C, 1), "checksums": (0x17, 0)}
"""Command and value. `gro`: it polls, so that frames of XDP can be redirected to the other end of it. `checksums`:
senders here make their checksums themselves."""


def offload(interface: str, what: str) -> None:
    """Set one of `gro` and `checksums`."""
    value = (ctypes.c_uint32 * 2)(*_SETTINGS[what])
    request = struct.pack("=16sQ16x", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _ETHTOOL, request)


def main(argv: Sequence[str]) -> int:
    """Set it for some interfaces of this network namespace."""
    for interface in argv[1:]:
        offload(interface, argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

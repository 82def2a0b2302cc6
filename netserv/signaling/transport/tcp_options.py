"""TCP for few and short messages where packets get lost: the kernel tries again soon, not after ever longer pauses.

At 30 % loss in both directions every other attempt gets through. By doubled pauses a connection is then mute for ten
seconds and more, again and again, and the node behind it is taken for dead.
"""

import socket
from contextlib import suppress
from typing import Final

import trio

RETRY_MAX_MS: Final = 1_000
"The least that Linux takes; a signalling connection carries little, so it congests nothing by that."
_TCP_THIN_LINEAR_TIMEOUTS: Final = 16
"linux/tcp.h: no doubling for the first six attempts while fewer than four packets are under way."
_TCP_RTO_MAX_MS: Final = 44
"linux/tcp.h, since Linux 6.15: longest pause between two attempts, of the first packet too."


def retry_soon(sock: trio.socket.SocketType) -> None:
    """Set a TCP socket so, as far as this kernel can."""
    for option, value in ((_TCP_THIN_LINEAR_TIMEOUTS, 1), (_TCP_RTO_MAX_MS, RETRY_MAX_MS)):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

"""File descriptors beside a packet of a SOCK_SEQPACKET pair (unix(7), SCM_RIGHTS).

Not by `socket.send_fds` and `recv_fds`, which in Python 3.11 forget their flags: programs would inherit what has come.
"""

import array
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

_INT: Final = array.array("i").itemsize


class Received(NamedTuple):
    """A packet."""

    data: bytes
    "Empty at the end: an empty packet cannot be told from it."
    descriptors: list[int]
    "The receiver's to close."
    flags: int
    "MSG_TRUNC, MSG_CTRUNC: more bytes, or more descriptors, than were taken."


def send(sock: socket.socket, data: bytes, descriptors: Sequence[int] = (), flags: int = 0) -> None:
    """Send a packet; the descriptors stay open here.

    Raises:
        OSError: what the kernel answers.
    """
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sock.sendmsg([data], beside, flags)


def receive(sock: socket.socket, size: int, most: int) -> Received:
    """The next packet.

    Args:
        sock: of this end.
        size: bytes that are taken.
        most: descriptors that are taken; 0: the kernel lets none in.

    Raises:
        OSError: what the kernel answers.
    """
    room = socket.CMSG_SPACE(most * _INT) if most else 0
    data, ancillary, flags, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, beside in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(beside[: len(beside) - len(beside) % _INT])
    return Received(data, found.tolist(), flags)


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors, whatever state they are in."""
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)

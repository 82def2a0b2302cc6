"""Netlink (netlink(7)): how messages and attributes stand in bytes, and a socket that asks the kernel.

Routes and addresses (`rtnetlink.py`) and queued packets (`nfqueue.py`) come by it. Bytes are in the machine's order.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from netserv.errors import NetservError

REQUEST: Final = 0x1
MULTI: Final = 0x2
ACKNOWLEDGE: Final = 0x4
DUMP: Final = 0x300
ERROR: Final = 2
DONE: Final = 3
_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_STRICT_CHECK: Final = 12
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERRNO: Final = struct.Struct("=i")
_KIND_MASK: Final = 0x3FFF
"Without the flags `nested` and `network byte order`."
READ_BYTES: Final = 1 << 17
"More than the longest message of ours: a queued packet of 64 KiB with its attributes."
ANSWER_S: Final = 2.0
"Longest wait for the kernel, which answers within the call that asks it."
ANSWERS_MAX: Final = 65_536
"Messages of one dump: addresses and links of the largest routers are some thousands."


class NetlinkError(NetservError):
    """The kernel's words cannot be read; our own mistake, or a kernel of another time."""


class Said(NamedTuple):
    """One message."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded to words.

    Raises:
        NetlinkError: a value over 65,531 bytes.
    """
    size = _ATTRIBUTE.size + len(value)
    if size > 0xFFFF:
        raise NetlinkError(f"an attribute of {len(value)} bytes")
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def message(kind: int, flags: int, body: bytes, *, sequence: int = 0) -> bytes:
    """A message, padded to words; the kernel fills in who sends it."""
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, kind, flags, sequence, 0) + body + bytes(-size % 4)


def messages(data: bytes) -> Iterator[Said]:
    """The messages that came in one read.

    Raises:
        NetlinkError: a length does not fit.
    """
    at, end = 0, len(data)
    while at < end:
        if end - at < _HEADER.size:
            raise NetlinkError(f"{end - at} bytes are no netlink message")
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= size <= end - at:
            raise NetlinkError(f"a netlink message of {size} bytes in {end - at}")
        yield Said(kind, flags, sequence, data[at + _HEADER.size : at + size])
        at += size + -size % 4


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """The attributes from some offset on; of one that comes twice the last.

    Raises:
        NetlinkError: a length does not fit.
    """
    found: dict[int, bytes] = {}
    end = len(data)
    while at < end:
        if end - at < _ATTRIBUTE.size:
            raise NetlinkError(f"{end - at} bytes are no netlink attribute")
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= size <= end - at:
            raise NetlinkError(f"a netlink attribute of {size} bytes in {end - at}")
        found[kind & _KIND_MASK] = data[at + _ATTRIBUTE.size : at + size]
        at += size + -size % 4
    return found


def error_of(body: bytes) -> int:
    """The error number in a message of kind `ERROR`; 0 says that all is well.

    Raises:
        NetlinkError: it is too short.
    """
    if len(body) < _ERRNO.size:
        raise NetlinkError("a netlink error without its number")
    return -int(_ERRNO.unpack_from(body)[0])


class NetlinkSocket:
    """Asks the kernel and reads its answer; also hears what it tells to groups.

    Args:
        protocol: such as `socket.NETLINK_ROUTE`.
        groups: numbers of multicast groups to listen to.

    Raises:
        OSError: the kernel does not give it.
    """

    def __init__(self, protocol: int, groups: Iterable[int] = ()) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        try:
            self.socket.bind((0, 0))
            self.socket.settimeout(ANSWER_S)
            for group in groups:
                self.socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            self.socket.close()
            raise

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def strict(self) -> None:
        """Have dumps obey what they are asked for; a kernel before 4.20 ignores it, which costs only time."""
        try:
            self.socket.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise

    def ask(self, kind: int, flags: int, body: bytes) -> list[Said]:
        """Send a request and return the answer: one message, all of a dump, or none where it is an acknowledgement.

        Raises:
            OSError: the kernel refuses, or does not answer.
            NetlinkError: its answer cannot be read, or is endless.
        """
        self._sequence += 1
        self.socket.sendto(message(kind, flags | REQUEST, body, sequence=self._sequence), (0, 0))
        found: list[Said] = []
        while len(found) <= ANSWERS_MAX:
            data, (sender, _) = self.socket.recvfrom(READ_BYTES)
            if sender != 0:
                continue  # not the kernel: any local program may write to this socket
            for said in messages(data):
                if said.sequence != self._sequence:
                    continue  # the rest of an answer that was given up
                if said.kind == DONE:
                    return found
                if said.kind == ERROR:
                    if number := error_of(said.body):
                        raise OSError(number, os.strerror(number))
                    return found
                found.append(said)
            if found and not found[-1].flags & MULTI and not flags & ACKNOWLEDGE:
                return found
        raise NetlinkError(f"the kernel's answer has over {ANSWERS_MAX} messages")

"""What comes to a server on this machine, seen beside it: raw sockets get a copy of each datagram for its ports.

It needs nothing of the server, neither its log nor its configuration, and what the kernel's firewall drops is not seen,
as the server does not see it. The kernel hands over only what begins as a keep-alive.
"""

import ctypes
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from typing import Final, NamedTuple, Self

import trio

from netserv.errors import SystemRefusedError

FIRST_BYTES: Final = b"N\r\x00"
"`NOTIFY`, CRLF, four zeros or a STUN request."
DATAGRAM_MAX: Final = 2_048
"Bytes; keep-alives have some 400, and one that was cut is none."
BATCH: Final = 64
"Read without a pause at most: signalling goes on meanwhile."
_ATTACH_FILTER: Final = 26
_RECVPKTINFO: Final = 49
_PKTINFO: Final = 50
_INSTRUCTION: Final = struct.Struct("=HBBI")
# linux/bpf_common.h, and filter(4) of the BSDs for what they do.
_LOAD_HALF, _LOAD_BYTE, _LOAD_X, _LOAD_HEADER, _EQUAL, _RETURN = 0x48, 0x50, 0x01, 0xB1, 0x15, 0x06
_UDP: Final = 8
_ANCILLARY: Final = socket.CMSG_SPACE(20)


class Datagram(NamedTuple):
    """A datagram that has come to the server."""

    source: str
    source_port: int
    destination: str
    data: bytes


class Sniffer:
    """Raw sockets for both families; open them with `with`.

    Args:
        ports: of the server.

    Raises:
        SystemRefusedError: this process may not.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._open = ExitStack()
        self._sockets: list[socket.socket] = []
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                self._sockets.append(self._open.enter_context(_opened(family, ports)))
        except OSError as error:
            if isinstance(error, PermissionError) or not self._sockets:
                self._open.close()
                raise SystemRefusedError(
                    f"what comes to the server cannot be seen: {error.strerror or error}; "
                    "run as root, or with the capability CAP_NET_RAW"
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    async def run(self, take: Callable[[Sequence[Datagram]], None]) -> None:
        """Hand over what comes, in small groups, until cancelled."""
        async with trio.open_nursery() as nursery:
            for sock in self._sockets:
                nursery.start_soon(_read, sock, take)


async def _read(sock: socket.socket, take: Callable[[Sequence[Datagram]], None]) -> None:
    while True:
        await trio.lowlevel.wait_readable(sock)
        group: list[Datagram] = []
        with suppress(BlockingIOError):
            while len(group) < BATCH:
                data, beside, _, address = sock.recvmsg(DATAGRAM_MAX, _ANCILLARY)
                found = _datagram(data, beside, address[0])
                if found is not None:
                    group.append(found)
        take(group)


def _datagram(data: bytes, beside: Sequence[tuple[int, int, bytes]], source: str) -> Datagram | None:
    """Take apart what a raw socket gives: with IPv4 the header is there, with IPv6 the address stands beside it."""
    if beside or ":" in source:
        at = 0
        packed = next((value[:16] for _, kind, value in beside if kind == _PKTINFO), b"")
    else:
        at = (data[0] & 15) * 4 if data else 0
        packed = data[16:20]
    if len(data) < at + _UDP or len(packed) not in {4, 16}:
        return None
    payload = data[at + _UDP : at + int.from_bytes(data[at + 4 : at + 6])]
    port = int.from_bytes(data[at : at + 2])
    return Datagram(source.partition("%")[0], port, str(ip_address(packed)), payload)


def _opened(family: socket.AddressFamily, ports: Sequence[int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)
    try:
        code = _program(ports, header=family == socket.AF_INET)
        memory = ctypes.create_string_buffer(code)
        head = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(memory))
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, head)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _RECVPKTINFO, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _program(ports: Sequence[int], *, header: bool) -> bytes:
    """A filter that lets pass what goes to a port and begins as a keep-alive.

    Args:
        ports: of the server; below 200, as a jump is of 255 instructions at most.
        header: whether the data begin with that of IPv4.
    """
    last = len(FIRST_BYTES) - 1
    tail = [
        (_LOAD_BYTE, 0, 0, _UDP),
        *((_EQUAL, last - number, int(number == last), byte) for number, byte in enumerate(FIRST_BYTES)),
        (_RETURN, 0, 0, 0xFFFF),
        (_RETURN, 0, 0, 0),
    ]
    refuse = len(tail) - 1
    head = [(_LOAD_HEADER, 0, 0, 0) if header else (_LOAD_X, 0, 0, 0), (_LOAD_HALF, 0, 0, 2)]
    for number, port in enumerate(ports):
        left = len(ports) - 1 - number
        head.append((_EQUAL, left, 0 if left else refuse, port))
    return b"".join(_INSTRUCTION.pack(*each) for each in (*head, *tail))

"""Datagrams of a module's UDP port, between node and container: each beside the address of the other end.

A UDP socket sends anywhere, to services of the node itself too, and no filter of system calls sees where. So the node
keeps it, and a container has one end of a SOCK_SEQPACKET pair: a packet on it is a datagram, after the address that it
came from or is to go to. The node sends to those who have spoken first, and to where the publisher may connect.
"""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from netserv.errors import LocalProtocolError, RemoteProtocolError

PAYLOAD_MAX: Final = 65_507
"Of a datagram over IPv4."
_HEAD: Final = struct.Struct("!BH")
_SIZES: Final = {4: 4, 6: 16}
PACKET_MAX: Final = _HEAD.size + 16 + PAYLOAD_MAX


class Datagram(NamedTuple):
    """A datagram and whose it is."""

    host: str
    "Address of the other end, without a name."
    port: int
    payload: bytes


def encode(datagram: Datagram) -> bytes:
    """As one packet.

    Raises:
        LocalProtocolError: no address, no port, or too long.
    """
    host, port, payload = datagram
    try:
        address = ip_address(host)
    except ValueError:
        raise LocalProtocolError(f"{host[:80]!r} is no address; look its name up first") from None
    if not 1 <= port <= 65_535 or len(payload) > PAYLOAD_MAX:
        raise LocalProtocolError(f"port {port}, {len(payload)} bytes: ports end at 65535, datagrams at {PAYLOAD_MAX}")
    return _HEAD.pack(address.version, port) + address.packed + payload


def decode(data: bytes) -> Datagram:
    """What a packet says.

    Raises:
        RemoteProtocolError: it is none of ours.
    """
    if len(data) < _HEAD.size or data[0] not in _SIZES or len(data) > PACKET_MAX:
        raise RemoteProtocolError(f"{len(data)} bytes are no datagram of a container")
    version, port = _HEAD.unpack_from(data)
    begin = _HEAD.size + _SIZES[version]
    if len(data) < begin or port == 0 or len(data) - begin > PAYLOAD_MAX:
        raise RemoteProtocolError(f"{len(data)} bytes are no datagram of a container")
    packed = data[_HEAD.size : begin]
    address = IPv4Address(packed) if version == 4 else IPv6Address(packed)
    return Datagram(str(address), port, data[begin:])


class DatagramSocket:
    """What a module has of its UDP port: the methods of a trio socket that a server needs.

    Args:
        descriptor: that came beside `Load`; closed with this.
    """

    def __init__(self, descriptor: int) -> None:
        import trio  # noqa: PLC0415 - the node's side of this file needs none of it

        self._raw = socket.socket(fileno=descriptor)
        self._raw.setblocking(False)
        self._sock = trio.socket.from_stdlib_socket(self._raw)

    def fileno(self) -> int:
        """Its descriptor."""
        return self._sock.fileno()

    async def recvfrom(self, size: int = PAYLOAD_MAX) -> tuple[bytes, tuple[str, int]]:
        """The next datagram, cut to a size, and who sent it.

        Raises:
            LocalProtocolError: the node has closed its side.
        """
        data = await self._sock.recv(PACKET_MAX)
        if not data:
            raise LocalProtocolError("the node has closed this port")
        host, port, payload = decode(data)
        return payload[:size], (host, port)

    async def sendto(self, payload: bytes, address: tuple[str, int]) -> int:
        """Send a datagram; to others than those who have sent here first only as far as the operator allows.

        Raises:
            LocalProtocolError: no address, or too long.
        """
        await self._sock.send(encode(Datagram(address[0], address[1], bytes(payload))))
        return len(payload)

    def close(self) -> None:
        """Give it back; also where trio does not run, when nobody can be waiting for it any more."""
        try:
            self._sock.close()
        except RuntimeError:  # trio wakes up who waits, and wants to run for it
            self._raw.close()

"""Compact forms of addresses and contacts (as in BEP 5 and BEP 32)."""

import functools
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from dhtboot.errors import RemoteProtocolError
from dhtboot.ids import ID_BYTES, Address, NodeRef, id_bytes, id_from

ADDRESSES_REMEMBERED_MAX: Final = 8192
"Of which the other form is remembered, some 200 bytes each: the same ones come again in each reply."
_PORT: Final = struct.Struct("!H")
_NODE_LENGTHS: Final = (ID_BYTES + 6, ID_BYTES + 18)


@functools.lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def pack_address(address: Address) -> bytes:
    """Compact form of an address: 4 or 16 bytes, then the port."""
    host, port = address
    if ":" in host:
        return IPv6Address(host).packed + _PORT.pack(port)
    # Written out: this runs for every contact of every reply, and `IPv4Address` costs three times as much.
    a, b, c, d = host.split(".")
    return bytes((int(a), int(b), int(c), int(d), port >> 8, port & 255))


@functools.lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def unpack_address(data: bytes) -> Address:
    """The address in compact form.

    Raises:
        RemoteProtocolError: neither 6 nor 18 bytes, or port 0.
    """
    (port,) = _PORT.unpack(data[-2:]) if len(data) in (6, 18) else (0,)
    if not port:
        raise RemoteProtocolError("an address is 6 or 18 bytes with a port above 0")
    host = IPv4Address(data[:4]) if len(data) == 6 else IPv6Address(data[:16])
    return str(host), port


def pack_node(node: NodeRef) -> bytes:
    """Compact form of a contact: identifier, then address."""
    return id_bytes(node.id) + pack_address(node.address)


def unpack_node(data: bytes) -> NodeRef:
    """The contact in compact form; refuses wrong lengths and port 0."""
    if len(data) == _NODE_LENGTHS[0]:
        port = data[24] << 8 | data[25]
        if port:
            return NodeRef(id_from(data[:ID_BYTES]), (f"{data[20]}.{data[21]}.{data[22]}.{data[23]}", port))
    if len(data) == _NODE_LENGTHS[1]:
        return NodeRef(id_from(data[:ID_BYTES]), unpack_address(data[ID_BYTES:]))
    raise RemoteProtocolError("a contact is 26 or 38 bytes with a port above 0")

"""Messages of the NAT Port Mapping Protocol, RFC 6886: external address and UDP mapping, encode beside decode.

Requests are decoded and responses encoded too, for the other side of our tests.
"""

import ipaddress
import struct
from enum import IntEnum
from typing import Final, Self

import msgspec

from mdht.errors import RemoteProtocolError

VERSION: Final = 0
DATAGRAM_MAX: Final = 16
"A longer one has bytes that no version of the protocol has defined."
_MAP: Final = struct.Struct("!BBxxHHI")
_RESPONSE: Final = struct.Struct("!BBHI")
_MAPPED: Final = struct.Struct("!HHI")
_RESPONSE_BIT: Final = 0x80


class Opcode(IntEnum):
    """Sections 3.2 and 3.3; TCP is not mapped."""

    ADDRESS = 0
    MAP_UDP = 1


class Result(IntEnum):
    """Section 3.5."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    NO_RESOURCES = 4
    UNSUPP_OPCODE = 5


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """A UDP port of the router, and ours behind it."""

    internal_port: int
    external_port: int
    "Suggested in a request, 0 to delete; assigned in a response."
    lifetime_s: int


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """To map a port, or for the router's external address where there is no mapping."""

    mapping: Mapping | None = None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read one.

        Raises:
            RemoteProtocolError: it is none.
        """
        if data == bytes((VERSION, Opcode.ADDRESS)):
            return cls()
        if len(data) != _MAP.size or data[:2] != bytes((VERSION, Opcode.MAP_UDP)):
            raise RemoteProtocolError("no request of NAT-PMP for an address or a UDP port")
        _version, _opcode, internal_port, external_port, lifetime_s = _MAP.unpack(data)
        return cls(mapping=Mapping(internal_port=internal_port, external_port=external_port, lifetime_s=lifetime_s))

    def encode(self) -> bytes:
        """The datagram."""
        wanted = self.mapping
        if wanted is None:
            return bytes((VERSION, Opcode.ADDRESS))
        return _MAP.pack(VERSION, Opcode.MAP_UDP, wanted.internal_port, wanted.external_port, wanted.lifetime_s)


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response; address and mapping are there when the result is SUCCESS."""

    opcode: int
    result: int
    "A `Result`, or a number that is none yet."
    epoch_s: int
    "Since the router's state began."
    address: ipaddress.IPv4Address | None = None
    mapping: Mapping | None = None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read one; what follows an error is passed over.

        Raises:
            RemoteProtocolError: it is none.
        """
        if not _RESPONSE.size <= len(data) <= DATAGRAM_MAX:
            raise RemoteProtocolError(f"a NAT-PMP response of {len(data)} bytes, {_RESPONSE.size} to {DATAGRAM_MAX}")
        version, opcode, result, epoch_s = _RESPONSE.unpack_from(data)
        if version != VERSION or not opcode & _RESPONSE_BIT:
            raise RemoteProtocolError(f"no NAT-PMP response: version {version}, opcode {opcode:#x}")
        opcode &= ~_RESPONSE_BIT
        address, mapping, rest = None, None, data[_RESPONSE.size :]
        if result == Result.SUCCESS and opcode == Opcode.ADDRESS:
            if len(rest) != 4:
                raise RemoteProtocolError(f"an IPv4 address of {len(rest)} bytes")
            address = ipaddress.IPv4Address(rest)
        elif result == Result.SUCCESS and opcode == Opcode.MAP_UDP:
            if len(rest) != _MAPPED.size:
                raise RemoteProtocolError(f"a mapping of {len(rest)} bytes, not {_MAPPED.size}")
            internal_port, external_port, lifetime_s = _MAPPED.unpack(rest)
            mapping = Mapping(internal_port=internal_port, external_port=external_port, lifetime_s=lifetime_s)
        return cls(opcode=opcode, result=result, epoch_s=epoch_s, address=address, mapping=mapping)

    def encode(self) -> bytes:
        """The datagram."""
        header = _RESPONSE.pack(VERSION, self.opcode | _RESPONSE_BIT, self.result, self.epoch_s)
        if self.address is not None:
            return header + self.address.packed
        if self.mapping is None:
            return header
        got = self.mapping
        return header + _MAPPED.pack(got.internal_port, got.external_port, got.lifetime_s)

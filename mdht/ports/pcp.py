"""Messages of the Port Control Protocol, RFC 6887: ANNOUNCE and MAP, encode beside decode.

Requests are decoded and responses encoded too, for the other side of our tests; options are passed over, as none that
a server may add to an answer is of use here.
"""

import ipaddress
import struct
from enum import IntEnum
from typing import Final, Self

import msgspec

from mdht.errors import RemoteProtocolError

VERSION: Final = 2
PORT: Final = 5351
"Of the server, RFC 6887 section 7."
ANNOUNCE_PORT: Final = 5350
ANNOUNCE_GROUP: Final = "224.0.0.1"
"Where a server that has lost its state says so, section 14.1."
DATAGRAM_MAX: Final = 1100
"Section 7."
NONCE_BYTES: Final = 12
UDP: Final = 17
"IANA protocol number."
NO_ADDRESS: Final = ipaddress.IPv4Address(0)
_HEADER: Final = struct.Struct("!BBxxI16s")
_RESPONSE: Final = struct.Struct("!BBxBII12x")
_MAP: Final = struct.Struct("!12sB3xHH16s")
_RESPONSE_BIT: Final = 0x80
_MAPPED: Final = bytes(10) + b"\xff\xff"
"Before the four bytes of an IPv4 address, section 5."


class Opcode(IntEnum):
    """Section 19.1; PEER is not used."""

    ANNOUNCE = 0
    MAP = 1


class Result(IntEnum):
    """Section 7.4."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """What MAP says besides its header, section 11.1."""

    nonce: bytes
    "12 bytes, by which the server knows whose mapping it is."
    protocol: int = UDP
    internal_port: int
    external_port: int
    "Suggested in a request, 0 for any; assigned in a response."
    external: ipaddress.IPv4Address
    "Likewise; 0.0.0.0 for any."

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it; options may follow."""
        if len(data) < _MAP.size:
            raise RemoteProtocolError(f"a MAP of {len(data)} bytes, at least {_MAP.size} are needed")
        nonce, protocol, internal_port, external_port, address = _MAP.unpack_from(data)
        return cls(
            nonce=nonce,
            protocol=protocol,
            internal_port=internal_port,
            external_port=external_port,
            external=_address(address),
        )

    def encode(self) -> bytes:
        """Its bytes."""
        return _MAP.pack(self.nonce, self.protocol, self.internal_port, self.external_port, _bytes(self.external))


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request, section 7.1: MAP, or ANNOUNCE where there is no mapping."""

    client: ipaddress.IPv4Address
    "From where it is sent: a server that sees another address refuses."
    lifetime_s: int = 0
    mapping: Mapping | None = None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read one.

        Raises:
            RemoteProtocolError: it is none.
        """
        _check(data, _HEADER.size)
        version, opcode, lifetime_s, client = _HEADER.unpack_from(data)
        if version != VERSION or opcode not in {Opcode.ANNOUNCE, Opcode.MAP}:
            raise RemoteProtocolError(f"no request: version {version}, opcode {opcode:#x}")
        mapping = Mapping.decode(data[_HEADER.size :]) if opcode == Opcode.MAP else None
        return cls(client=_address(client), lifetime_s=lifetime_s, mapping=mapping)

    def encode(self) -> bytes:
        """The datagram."""
        opcode = Opcode.ANNOUNCE if self.mapping is None else Opcode.MAP
        header = _HEADER.pack(VERSION, opcode, self.lifetime_s, _bytes(self.client))
        return header + (b"" if self.mapping is None else self.mapping.encode())


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response, section 7.2."""

    opcode: int
    result: int
    "A `Result`, or a number that is none yet."
    lifetime_s: int
    "Of the mapping; of an error the time after which it may be different."
    epoch_s: int
    "Since the server's state began."
    mapping: Mapping | None = None
    "Of MAP; a server that has not understood the request may leave it out."

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read one.

        Raises:
            RemoteProtocolError: it is none, or not of this version.
        """
        _check(data, _RESPONSE.size)
        version, opcode, result, lifetime_s, epoch_s = _RESPONSE.unpack_from(data)
        if version != VERSION or not opcode & _RESPONSE_BIT:
            raise RemoteProtocolError(f"no response: version {version}, opcode {opcode:#x}")
        opcode &= ~_RESPONSE_BIT
        body, mapping = data[_RESPONSE.size :], None
        if opcode == Opcode.MAP and (body or result == Result.SUCCESS):
            mapping = Mapping.decode(body)
        return cls(opcode=opcode, result=result, lifetime_s=lifetime_s, epoch_s=epoch_s, mapping=mapping)

    def encode(self) -> bytes:
        """The datagram."""
        header = _RESPONSE.pack(VERSION, self.opcode | _RESPONSE_BIT, self.result, self.lifetime_s, self.epoch_s)
        return header + (b"" if self.mapping is None else self.mapping.encode())


def _check(data: bytes, least: int) -> None:
    """Sections 8.2 and 8.3."""
    if not least <= len(data) <= DATAGRAM_MAX or len(data) % 4:
        raise RemoteProtocolError(f"a PCP datagram of {len(data)} bytes: {least} to {DATAGRAM_MAX}, a multiple of 4")


def _address(data: bytes) -> ipaddress.IPv4Address:
    if data[:12] not in {_MAPPED, bytes(12)}:
        raise RemoteProtocolError(f"{ipaddress.IPv6Address(data)} is no IPv4 address")
    return ipaddress.IPv4Address(data[12:])


def _bytes(address: ipaddress.IPv4Address) -> bytes:
    return _MAPPED + address.packed

"""Which filter a packet belongs to, and what a module may send: in Python, and by the same rules in `_packetpath.c`.

Only plain packets go to modules: TCP or UDP right behind an IP header without options, no fragments. All others stay
with the kernel, in both planes.
"""

import struct
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Final, NamedTuple, TypeAlias

import msgspec

from netserv.checksum import internet_checksum, transport_checksum
from netserv.forwarding.filters import PROTOCOLS, PacketFilter, Prefix
from netserv.signaling.gist.addresses import GIST_PORT

TCP: Final = 6
UDP: Final = 17
_ICMP: Final = {4: 1, 6: 58}
_HEADER: Final = {4: 20, 6: 40}
_CHECKSUM_AT: Final = {TCP: 16, UDP: 6}
"Where the checksum stands in a transport header."
_TRANSPORT_MIN: Final = {TCP: 20, UDP: 8, 1: 8, 58: 4}
_NOT_WHOLE: Final = 0x3FFF
"More fragments, or an offset."
_NOWHERE: Final = tuple(
    ip_network(each) for each in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8", "::ffff:0:0/96")
)
"No packet on its way has one of these as source or destination: this host, loopback, multicast, reserved, mapped."
_PORTS: Final = struct.Struct("!HH")

Span: TypeAlias = tuple[int, int]
"A prefix as numbers: network and mask."


class Parts(NamedTuple):
    """What filters look at."""

    version: int
    proto: int
    source: int
    destination: int
    source_port: int
    destination_port: int
    transport_at: int


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A filter as the broker uses it."""

    number: int
    wanted: PacketFilter
    closed: bool
    "Whether packets are dropped where the module fails."
    allowed: tuple[Prefix, ...]
    "From and to which its publisher may send."


class EgressError(Exception):
    """A module may not send this packet; the text says why."""


def span(prefix: Prefix) -> Span:
    """A prefix as numbers."""
    return int(prefix.network_address), int(prefix.netmask)


def read(packet: bytes) -> Parts | None:
    """What filters look at; None for a packet that goes to no module."""
    size = len(packet)
    if not size:
        return None
    version = packet[0] >> 4
    at = _HEADER.get(version, 0xFFFF)
    if size < at + 8:
        return None
    if version == 4:
        if packet[0] != 0x45 or int.from_bytes(packet[6:8]) & _NOT_WHOLE:
            return None
        proto, source, destination = packet[9], packet[12:16], packet[16:20]
    else:
        proto, source, destination = packet[6], packet[8:24], packet[24:40]
    if proto not in _CHECKSUM_AT:
        return None
    sport, dport = _PORTS.unpack_from(packet, at)
    return Parts(version, proto, int.from_bytes(source), int.from_bytes(destination), sport, dport, at)


class Matcher:
    """Says whether packets belong to a filter."""

    __slots__ = ("_destination", "_ports", "_prematch", "_proto", "_reverse", "_source", "_version")

    def __init__(self, wanted: PacketFilter) -> None:
        self._proto, self._ports = PROTOCOLS[wanted.proto], frozenset(wanted.ports)
        self._version = wanted.destination.version
        self._destination = span(wanted.destination)
        self._source = (0, 0) if wanted.source is None else span(wanted.source)
        self._reverse = wanted.reverse
        self._prematch = tuple((each.offset, each.data) for each in wanted.prematch)

    def forward(self, parts: Parts) -> bool:
        """Whether it goes the way of the filter."""
        return (
            parts.proto == self._proto
            and parts.version == self._version
            and parts.destination_port in self._ports
            and parts.destination & self._destination[1] == self._destination[0]
            and parts.source & self._source[1] == self._source[0]
        )

    def backward(self, parts: Parts) -> bool:
        """Whether it goes the other way."""
        return (
            parts.proto == self._proto
            and parts.version == self._version
            and parts.source_port in self._ports
            and parts.source & self._destination[1] == self._destination[0]
            and parts.destination & self._source[1] == self._source[0]
        )

    def wants(self, parts: Parts, packet: bytes) -> bool:
        """Whether a packet goes to the module."""
        if not (self.forward(parts) or (self._reverse and self.backward(parts))):
            return False
        if not self._prematch:
            return True
        at = parts.transport_at + (8 if parts.proto == UDP else (packet[parts.transport_at + 12] >> 4) * 4)
        return any(packet.startswith(data, at + offset) for offset, data in self._prematch)


def outgoing(packet: bytes, matchers: Sequence[Matcher], allowed: Sequence[Prefix]) -> bytes:
    """Check a packet that a module sends; returns it with right checksums.

    Args:
        packet: as it stood in the ring.
        matchers: filters on whose behalf it may be.
        allowed: prefixes of the publisher.

    Raises:
        EgressError: it may not leave.
    """
    version, proto, at = _whole(packet)
    source, destination = (packet[12:16], packet[16:20]) if version == 4 else (packet[8:24], packet[24:40])
    ends = (int.from_bytes(source), int.from_bytes(destination))
    for end in ends:
        if any(each.version == version and _inside(end, each) for each in _NOWHERE):
            raise EgressError("its source or destination is nowhere")
    ports = _PORTS.unpack_from(packet, at) if proto in _CHECKSUM_AT else (0, 0)
    if proto == UDP and ports[1] == GIST_PORT:
        raise EgressError("modules send no signalling")
    parts = Parts(version, proto, ends[0], ends[1], ports[0], ports[1], at)
    if not any(each.forward(parts) or each.backward(parts) for each in matchers) and not any(
        each.version == version and (_inside(ends[0], each) or _inside(ends[1], each)) for each in allowed
    ):
        raise EgressError("it is outside of its filter and of its publisher's prefixes")
    return _mended(packet, version, proto, at)


def _inside(address: int, prefix: Prefix) -> bool:
    network, mask = span(prefix)
    return address & mask == network


def _whole(packet: bytes) -> tuple[int, int, int]:
    """Version, protocol, and where the transport header is, of one whole packet without options."""
    version = packet[0] >> 4 if packet else 0
    at = _HEADER.get(version)
    if at is None or len(packet) < at:
        raise EgressError("it is no IP packet")
    if version == 4:
        if packet[0] != 0x45:
            raise EgressError("it has IPv4 options, and one of them may be a source route")
        length, proto = int.from_bytes(packet[2:4]), packet[9]
        if int.from_bytes(packet[6:8]) & _NOT_WHOLE:
            raise EgressError("it is a fragment")
        hops = packet[8]
    else:
        length, proto, hops = int.from_bytes(packet[4:6]) + at, packet[6], packet[7]
    if length != len(packet):
        raise EgressError("its length is not that of its header")
    if proto not in _CHECKSUM_AT and proto != _ICMP[version]:
        raise EgressError(f"its protocol is {proto}: UDP, TCP and ICMP may leave, without IPv6 extension headers")
    if not hops:
        raise EgressError("its TTL is 0")
    if len(packet) - at < _TRANSPORT_MIN[proto]:
        raise EgressError("its transport header is cut off")
    if proto == UDP and int.from_bytes(packet[at + 4 : at + 6]) != len(packet) - at:
        raise EgressError("its UDP length is wrong")
    if proto == TCP and not 20 <= (packet[at + 12] >> 4) * 4 <= len(packet) - at:
        raise EgressError("its TCP header has a wrong length")
    return version, proto, at


def _mended(packet: bytes, version: int, proto: int, at: int) -> bytes:
    mended = bytearray(packet)
    if version == 4:
        mended[10:12] = bytes(2)
        mended[10:12] = internet_checksum(bytes(mended[:20])).to_bytes(2)
    if proto in _CHECKSUM_AT:
        field = at + _CHECKSUM_AT[proto]
        if not any(mended[field : field + 2]):
            ends = mended[12:20] if version == 4 else mended[8:40]
            mended[field : field + 2] = (transport_checksum(ends, proto, mended[at:]) or 0xFFFF).to_bytes(2)
    return bytes(mended)

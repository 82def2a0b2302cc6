"""IP packets with a UDP datagram inside, as bytes: read, built, and given another payload.

What this node catches in the nfqueue way comes as such bytes; what it sends under a foreign source leaves as such.
"""

import struct
from typing import Final

import msgspec

from netserv.checksum import internet_checksum, udp_checksum
from netserv.errors import RemoteProtocolError
from netserv.signaling.gist.addresses import Endpoint, PackedAddress

UDP: Final = 17
UDP_HEADER: Final = struct.Struct("!HHHH")
ROUTER_ALERT4: Final = bytes.fromhex("94040000")
"IPv4 option `examine this packet` (RFC 2113)."
ROUTER_ALERT6: Final = bytes.fromhex("1100050200000100")
"Hop-by-hop header with the same option of value 0 and two bytes of padding, in front of UDP (RFC 2711)."
OPTIONS_MAX: Final = 40
"Bytes of IPv4 options: the header has at most 60."
PACKET_MAX: Final = 0xFFFF
"Bytes of an IPv4 packet and of an IPv6 payload: their length fields have 16 bits."
_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
_IPV6: Final = struct.Struct("!IHBB16s16s")
_DONT_FRAGMENT: Final = 0x4000
_MORE_OR_OFFSET: Final = 0x3FFF
_ALERT4: Final = 0x94
_ALERT6: Final = 5
_HOP_BY_HOP: Final = 0
_SKIPPED: Final = frozenset({0, 43, 60})
"Extension headers that may stand before UDP in a Query: hop-by-hop, routing, destination (RFC 5971 section 5.8.1.2)."
_EXTENSIONS_MAX: Final = 4
"Each of them once, destination options twice (RFC 8200 section 4.1)."


class PacketError(RemoteProtocolError):
    """Not an IP packet with a whole UDP datagram."""


class UdpPacket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The parts of a packet."""

    source: Endpoint
    destination: Endpoint
    ttl: int
    "Hop limit in IPv6."
    tos: int
    "The whole byte: DSCP and ECN; traffic class in IPv6."
    options: bytes = b""
    "IPv4 options, or the hop-by-hop header of IPv6, next header included."
    flow_label: int = 0
    payload: bytes
    payload_at: int
    "Where the payload begins in the packet."
    checksum_right: bool
    "Whether the UDP checksum is that of the datagram, or is 0 in IPv4."


def has_router_alert(options: bytes, *, version: int) -> bool:
    """Whether IPv4 options, or a hop-by-hop header of IPv6, have the Router Alert Option."""
    at = 0 if version == 4 else 2
    wanted = _ALERT4 if version == 4 else _ALERT6
    pads = 1 if version == 4 else 0  # the option of one single byte: no operation, or Pad1
    while at < len(options):
        kind = options[at]
        if kind == wanted:
            return True
        if kind == pads:
            at += 1
            continue
        if (version == 4 and kind == 0) or at + 1 >= len(options):
            return False
        size = options[at + 1] + (0 if version == 4 else 2)
        if size < 2:
            return False
        at += size
    return False


def parse(packet: bytes) -> UdpPacket:
    """Take a packet apart.

    Raises:
        PacketError: it is no whole IP packet with UDP, or only a fragment of one.
    """
    if not packet:
        raise PacketError("an empty packet")
    match packet[0] >> 4:
        case 4:
            return _parse4(packet)
        case 6:
            return _parse6(packet)
        case version:
            raise PacketError(f"IP version {version}")


def _parse4(packet: bytes) -> UdpPacket:
    if len(packet) < _IPV4.size:
        raise PacketError(f"an IPv4 header of {len(packet)} bytes")
    first, tos, length, _, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(packet)
    at = (first & 15) * 4
    if at < _IPV4.size or length < at or length > len(packet):
        raise PacketError(f"IPv4 lengths do not fit: header {at}, packet {length} of {len(packet)} bytes")
    if fragment & _MORE_OR_OFFSET:
        raise PacketError("a fragment")
    if protocol != UDP:
        raise PacketError(f"IP protocol {protocol}")
    return _udp(
        packet[:length], at, (source, destination), ttl=ttl, tos=tos, options=packet[_IPV4.size : at], flow_label=0
    )


def _parse6(packet: bytes) -> UdpPacket:
    if len(packet) < _IPV6.size:
        raise PacketError(f"an IPv6 header of {len(packet)} bytes")
    word, length, following, hops, source, destination = _IPV6.unpack_from(packet)
    end = _IPV6.size + length
    if end > len(packet):
        raise PacketError(f"IPv6 payload of {length} bytes in a packet of {len(packet)}")
    at, options = _IPV6.size, b""
    for _ in range(_EXTENSIONS_MAX):
        if following not in _SKIPPED:
            break
        size = (packet[at + 1] + 1) * 8 if at + 2 <= end else PACKET_MAX
        if at + size > end:
            raise PacketError("an IPv6 extension header is cut off")
        if following == _HOP_BY_HOP:
            options = packet[at : at + size]
        following, at = packet[at], at + size
    if following != UDP:
        raise PacketError(f"IP protocol {following}")
    label, tos = word & 0xFFFFF, word >> 20 & 0xFF
    return _udp(packet[:end], at, (source, destination), ttl=hops, tos=tos, options=options, flow_label=label)


def _udp(
    packet: bytes,
    at: int,
    addresses: tuple[PackedAddress, PackedAddress],
    *,
    ttl: int,
    tos: int,
    options: bytes,
    flow_label: int,
) -> UdpPacket:
    if len(packet) - at < UDP_HEADER.size:
        raise PacketError("a UDP header is cut off")
    source_port, destination_port, length, checksum = UDP_HEADER.unpack_from(packet, at)
    if not UDP_HEADER.size <= length <= len(packet) - at:
        raise PacketError(f"a UDP length of {length} where {len(packet) - at} bytes follow")
    source, destination = addresses
    datagram = packet[at : at + length]
    right = udp_checksum(source, destination, datagram) == 0xFFFF if checksum else len(source) == 4
    return UdpPacket(
        source=(source, source_port),
        destination=(destination, destination_port),
        ttl=ttl,
        tos=tos,
        options=options,
        flow_label=flow_label,
        payload=datagram[UDP_HEADER.size :],
        payload_at=at + UDP_HEADER.size,
        checksum_right=right,
    )


def build(
    source: Endpoint,
    destination: Endpoint,
    payload: bytes,
    *,
    ttl: int,
    tos: int = 0,
    options: bytes = b"",
    flow_label: int = 0,
) -> bytes:
    """Make a packet; DF is set in IPv4, as a Query has it, and the header checksum is there.

    Args:
        source: address and port, of whatever host.
        destination: address and port.
        payload: of the UDP datagram.
        ttl: or hop limit.
        tos: DSCP and ECN.
        options: of IPv4, padded to words; or a hop-by-hop header that names UDP as next.
        flow_label: of IPv6.

    Raises:
        PacketError: over 65,535 bytes, or options that do not fit.
    """
    packed_source, packed_destination = source[0], destination[0]
    datagram = _datagram(source, destination, payload)
    if len(packed_source) == 4:
        if len(options) > OPTIONS_MAX or len(options) % 4:
            raise PacketError(f"IPv4 options of {len(options)} bytes: at most {OPTIONS_MAX}, in whole words")
        size = _IPV4.size + len(options)
        _fits(size + len(datagram))
        words = (0x40 | size // 4, tos, size + len(datagram), 0, _DONT_FRAGMENT, ttl, UDP)
        bare = _IPV4.pack(*words, 0, packed_source, packed_destination) + options
        header = _IPV4.pack(*words, internet_checksum(bare), packed_source, packed_destination)
        return header + options + datagram
    _fits(len(options) + len(datagram))
    first = 6 << 28 | tos << 20 | flow_label
    following = _HOP_BY_HOP if options else UDP
    header = _IPV6.pack(first, len(options) + len(datagram), following, ttl, packed_source, packed_destination)
    return header + options + datagram


def with_payload(packet: bytes, parts: UdpPacket, payload: bytes) -> bytes:
    """The same packet with another payload: lengths and checksums are right, every other byte is as it was.

    Args:
        packet: the original.
        parts: what `parse` found in it.
        payload: the new one.

    Raises:
        PacketError: the packet would be over 65,535 bytes.
    """
    datagram = _datagram(parts.source, parts.destination, payload)
    header = bytearray(packet[: parts.payload_at - UDP_HEADER.size])
    size = len(header) + len(datagram)
    if header[0] >> 4 == 4:
        _fits(size)
        struct.pack_into("!H", header, 2, size)
        header[10:12] = bytes(2)
        struct.pack_into("!H", header, 10, internet_checksum(bytes(header)))
    else:
        _fits(size - _IPV6.size)
        struct.pack_into("!H", header, 4, size - _IPV6.size)
    return bytes(header) + datagram


def _datagram(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    size = UDP_HEADER.size + len(payload)
    _fits(size)
    bare = UDP_HEADER.pack(source[1], destination[1], size, 0) + payload
    checksum = udp_checksum(source[0], destination[0], bare)
    return UDP_HEADER.pack(source[1], destination[1], size, checksum) + payload


def _fits(size: int) -> None:
    if size > PACKET_MAX:
        raise PacketError(f"{size} bytes do not fit into a packet of {PACKET_MAX}")

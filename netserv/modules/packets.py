"""An IP packet as a module sees it: a view of the shared memory, taken apart only where the module looks.

Addresses are packed bytes and the payload is a `memoryview`, for a packet has a few microseconds: an `ip_address` alone
takes one. What a module makes of a packet (`replaced`, `reply`) is new bytes with lengths and checksums that fit.
"""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, TypeAlias

from netserv.checksum import Buffer, internet_checksum, transport_checksum

TCP: Final = 6
UDP: Final = 17
PACKET_MAX: Final = 65_535
"Bytes: what a length field of 16 bits can say."
EXTENSIONS_MAX: Final = 8
"Extension headers of IPv6 that are stepped over; RFC 8200 section 4.1 knows fewer, each at most once or twice."
REPLY_TTL: Final = 64
"Of packets that begin here (IANA's recommended default)."
_NOWHERE: Final = -1
"There is no transport header: a later fragment, or an extension header that is not stepped over."
_LISTED: Final = frozenset({0, 43, 60})
"Hop-by-hop options, routing, destination options: length in units of 8 bytes, the first not counted."
_FRAGMENT: Final = 44
_PLAIN: Final = 0x45
"First byte of an IPv4 header without options."
_DONT_FRAGMENT: Final = 0x4000
_REPLY4: Final = struct.Struct("!HHHHBBH8s4sHH")
"Headers of IPv4 and UDP."


class PythonPacketView:
    """What is asked of each packet: `Packet` is this, and what it can be made into."""

    __slots__ = ("_proto", "_transport_at", "raw")

    _proto: int

    def __init__(self, raw: memoryview) -> None:
        self.raw = raw
        self._transport_at = 0

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.raw[0] >> 4

    @property
    def src(self) -> bytes:
        """Source address, packed: 4 or 16 bytes."""
        raw = self.raw
        return (raw[12:16] if raw[0] < 0x60 else raw[8:24]).tobytes()

    @property
    def dst(self) -> bytes:
        """Destination address, packed."""
        raw = self.raw
        return (raw[16:20] if raw[0] < 0x60 else raw[24:40]).tobytes()

    @property
    def ends(self) -> bytes:
        """Source and destination address, packed, in one: 8 or 32 bytes; none where the packet ends before them."""
        raw = self.raw
        first, last = (12, 20) if raw[0] < 0x60 else (8, 40)
        return raw[first:last].tobytes() if len(raw) >= last else b""

    @property
    def ttl(self) -> int:
        """TTL, or hop limit."""
        raw = self.raw
        return raw[8] if raw[0] < 0x60 else raw[7]

    @property
    def proto(self) -> int:
        """Transport protocol, 17 for UDP; behind the extension headers of IPv6."""
        raw = self.raw
        if raw[0] < 0x60:
            return raw[9]
        self._find_transport()
        return self._proto

    @property
    def sport(self) -> int:
        """Source port; 0 where there is none."""
        at = self._ports_at()
        return 0 if at == _NOWHERE else self.raw[at] << 8 | self.raw[at + 1]

    @property
    def dport(self) -> int:
        """Destination port; 0 where there is none."""
        at = self._ports_at()
        return 0 if at == _NOWHERE else self.raw[at + 2] << 8 | self.raw[at + 3]

    @property
    def payload(self) -> memoryview:
        """What UDP or TCP carry, without a copy; with another protocol what follows the IP header."""
        raw = self.raw
        at = self._transport_at or self._find_transport()
        if at != _NOWHERE and self._proto == UDP and at + 8 <= len(raw):
            return raw[at + 8 : at + max(8, raw[at + 4] << 8 | raw[at + 5])]
        return raw[self._payload_at() :]

    def _ports_at(self) -> int:
        at = self._find_transport()
        return at if at != _NOWHERE and self._proto in {TCP, UDP} and at + 8 <= len(self.raw) else _NOWHERE

    def _payload_at(self) -> int:
        raw, at = self.raw, self._find_transport()
        if at == _NOWHERE:
            return min(len(raw), max(20, (raw[0] & 15) * 4) if raw[0] < 0x60 else 40)
        if self._proto == UDP:
            return min(len(raw), at + 8)
        if self._proto == TCP and at + 13 <= len(raw):
            return min(len(raw), at + max(20, raw[at + 12] >> 4 << 2))
        return min(len(raw), at)

    def _find_transport(self) -> int:
        """Where the transport header begins; found once."""
        at = self._transport_at
        if not at:
            raw = self.raw
            if raw[0] == _PLAIN and not raw[7] and not raw[6] & 0x1F:  # nearly all packets
                self._proto, at = raw[9], 20
            else:
                self._proto, at = _transport_of(raw)
            self._transport_at = at
        return at


def python_plain_reply(raw: memoryview, payload: Buffer, ttl: int, /) -> bytearray | None:
    """`Packet.reply` for UDP in IPv4 without options, which keep-alives are: in a fifth of the time. None for others.

    Sums of 16-bit words are remainders by 65,535 of the whole number, so that those of the parts add up.
    """
    if len(raw) < 28 or raw[0] != _PLAIN or raw[9] != UDP or raw[6] & 0x1F or raw[7]:
        return None
    length = 8 + len(payload)
    if length > PACKET_MAX - 20:
        raise ValueError(f"a packet of {20 + length} bytes; {PACKET_MAX} are possible")
    head = raw[:24].tobytes()
    tos, number4, flags = head[1], head[4] << 8 | head[5], head[6] << 8 & _DONT_FRAGMENT
    first = _PLAIN << 8 | tos
    ends, ports = int.from_bytes(head[12:20]), int.from_bytes(head[20:24])
    sum4 = -(first + 20 + length + number4 + flags + (ttl << 8 | UDP) + ends) % 0xFFFF
    number = int.from_bytes(payload)
    if length & 1:
        number <<= 8
    # The length stands in the header and in the pseudo-header.
    found = 0xFFFF - (ports + ends + number + 2 * length + UDP) % 0xFFFF
    back, ports_back = head[16:20] + head[12:16], head[22:24] + head[20:22]
    new = bytearray(_REPLY4.pack(first, 20 + length, number4, flags, ttl, UDP, sum4, back, ports_back, length, found))
    new += payload
    return new


if TYPE_CHECKING:
    PacketView: TypeAlias = PythonPacketView
    plain_reply = python_plain_reply
else:
    try:
        from netserv.modules._fast import PacketView, plain_reply  # the same in C
    except ImportError:
        PacketView, plain_reply = PythonPacketView, python_plain_reply


class Packet(PacketView):
    """One IP packet, from its first byte on; valid until the handler returns.

    Attributes:
        raw: all of it, writable. Whoever changes bytes in place calls `refresh` and returns `CHANGED`.
    """

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        ends = f"{self.source} {self.sport} > {self.destination} {self.dport}"
        return f"<Packet {ends} proto {self.proto} ttl {self.ttl}, {len(self.raw)} bytes>"

    @property
    def source(self) -> IPv4Address | IPv6Address:
        """Source address, to be printed and compared with networks; slower than `src`."""
        return ip_address(self.src)

    @property
    def destination(self) -> IPv4Address | IPv6Address:
        """Destination address, likewise."""
        return ip_address(self.dst)

    def replaced(
        self,
        payload: Buffer | None = None,
        *,
        src: bytes | None = None,
        dst: bytes | None = None,
        sport: int | None = None,
        dport: int | None = None,
        ttl: int | None = None,
    ) -> bytearray:
        """This packet with something else in it, as a whole new one: return it from `process`, or `inject` it.

        Args:
            payload: instead of its own.
            src: packed address of the same family.
            dst: likewise.
            sport: source port.
            dport: destination port.
            ttl: TTL or hop limit.

        Returns:
            The packet, lengths and checksums right. The node sends it only if it is of the module's filter, of the
            reverse flow, or between addresses that the publisher may use.

        Raises:
            ValueError: it would be too long, or an address is of the other family.
        """
        new = bytearray(self.raw[: self._payload_at()])
        new += self.payload if payload is None else payload
        if len(new) > PACKET_MAX:
            raise ValueError(f"a packet of {len(new)} bytes; {PACKET_MAX} are possible")
        four = new[0] < 0x60
        for address, place in ((src, 12 if four else 8), (dst, 16 if four else 24)):
            if address is not None:
                if len(address) != (4 if four else 16):
                    raise ValueError("an address of the other family")
                new[place : place + len(address)] = address
        if ttl is not None:
            new[8 if four else 7] = ttl
        at = self._ports_at()
        if at != _NOWHERE:
            for port, place in ((sport, at), (dport, at + 2)):
                if port is not None:
                    new[place : place + 2] = port.to_bytes(2)
        set_lengths_and_checksums(new, self._find_transport(), self.proto)
        return new

    def reply(self, payload: Buffer, *, ttl: int = REPLY_TTL) -> bytearray:
        """A packet back to where this one is from, as if its receiver had answered."""
        plain = plain_reply(self.raw, payload, ttl)
        if plain is not None:
            return plain
        return self.replaced(payload, src=self.dst, dst=self.src, sport=self.dport, dport=self.sport, ttl=ttl)

    def refresh(self) -> None:
        """Make lengths and checksums right after `raw` was changed in place."""
        set_lengths_and_checksums(self.raw, self._find_transport(), self.proto)


def set_lengths_and_checksums(packet: bytearray | memoryview, transport_at: int, proto: int) -> None:
    """Write the length and checksum fields of IP, UDP and TCP.

    Args:
        packet: to be changed.
        transport_at: where its transport header begins; -1 for a fragment.
        proto: of that header.
    """
    four = packet[0] < 0x60
    if four:
        header = (packet[0] & 15) * 4
        packet[2:4] = len(packet).to_bytes(2)
        packet[10:12] = b"\0\0"
        packet[10:12] = internet_checksum(packet[:header]).to_bytes(2)
    else:
        packet[4:6] = (len(packet) - 40).to_bytes(2)
    if transport_at == _NOWHERE or proto not in {TCP, UDP}:
        return
    size = len(packet) - transport_at
    if size < (8 if proto == UDP else 20):
        return
    field = transport_at + (6 if proto == UDP else 16)
    if proto == UDP:
        packet[transport_at + 4 : transport_at + 6] = size.to_bytes(2)
    packet[field : field + 2] = b"\0\0"
    found = transport_checksum(packet[12:20] if four else packet[8:40], proto, packet[transport_at:])
    # 0 would say that there is no checksum.
    packet[field : field + 2] = (found or (0xFFFF if proto == UDP else 0)).to_bytes(2)


def _transport_of(raw: memoryview) -> tuple[int, int]:
    """Protocol and place of the transport header."""
    if raw[0] < 0x60:
        later = raw[6] & 0x1F or raw[7]
        return raw[9], _NOWHERE if later else max(20, (raw[0] & 15) * 4)
    proto, at = raw[6], 40
    for _ in range(EXTENSIONS_MAX):
        if at + 8 > len(raw):
            break
        if proto in _LISTED:
            proto, at = raw[at], at + 8 + raw[at + 1] * 8
        elif proto == _FRAGMENT:
            if raw[at + 2] or raw[at + 3] & 0xF8:
                return raw[at], _NOWHERE
            proto, at = raw[at], at + 8
        else:
            break
    return proto, _NOWHERE if proto in _LISTED or at > len(raw) else at

"""Packets for tests of the packet path: plain ones, and ones that are wrong in some way."""

import socket

from hypothesis import strategies as st

from netserv.checksum import internet_checksum, transport_checksum
from netserv.forwarding.matching import TCP, UDP

V4 = (
    "10.1.0.2",
    "10.2.0.2",
    "10.2.0.200",
    "10.3.0.1",
    "192.0.2.1",
    "0.0.0.1",
    "127.0.0.1",
    "224.0.0.1",
    "255.255.255.255",
)
V6 = ("2001:db8:1::2", "2001:db8:2::2", "2001:db8:2::ffff", "2001:db8:3::1", "::1", "::", "ff02::1", "::ffff:10.1.0.2")
PORTS = (5060, 5061, 4_000, 270, 0, 65_535)


def build(
    source: bytes, destination: bytes, proto: int, ports: tuple[int, int], payload: bytes, *, hops: int = 64
) -> bytes:
    """A whole packet with right checksums."""
    head = ports[0].to_bytes(2) + ports[1].to_bytes(2)
    if proto == UDP:
        transport = head + (8 + len(payload)).to_bytes(2) + bytes(2) + payload
    elif proto == TCP:
        transport = head + bytes(8) + b"\x50\x18\x01\x00" + bytes(4) + payload
    else:
        transport = b"\x08\0\0\0" + head + payload
    if len(source) == 4:
        bare = bytes([0x45, 0]) + (20 + len(transport)).to_bytes(2) + bytes(4) + bytes([hops, proto, 0, 0])
        bare += source + destination
        header = bare[:10] + internet_checksum(bare).to_bytes(2) + bare[12:]
    else:
        header = b"\x60\0\0\0" + len(transport).to_bytes(2) + bytes([proto, hops]) + source + destination
    packet = bytearray(header + transport)
    if proto in {TCP, UDP}:
        at = len(header)
        field = at + (6 if proto == UDP else 16)
        packet[field : field + 2] = (transport_checksum(source + destination, proto, packet[at:]) or 0xFFFF).to_bytes(2)
    return bytes(packet)


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """Packets of all kinds, most of them whole, some with a byte or the length wrong."""
    addresses = draw(st.sampled_from((V4, V6)))
    ends = [packed(draw(st.sampled_from(addresses))) for _ in range(2)]
    proto = draw(st.sampled_from((UDP, UDP, UDP, TCP, 1, 58, 132)))
    ports = (draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS)))
    payload = draw(st.sampled_from((b"", b"x", b"NOTIFY sip:a", b"abc")) | st.binary(max_size=40))
    packet = bytearray(build(ends[0], ends[1], proto, ports, payload, hops=draw(st.sampled_from((64, 1, 0, 255)))))
    match draw(st.integers(0, 7)):
        case 0:
            packet[draw(st.integers(0, len(packet) - 1))] = draw(st.integers(0, 255))
        case 1:
            del packet[draw(st.integers(0, len(packet))) :]
        case 2:
            packet += draw(st.binary(max_size=10))
        case 3:
            field = (20 if packet[0] >> 4 == 4 else 40) + (16 if proto == TCP else 6)
            packet[field : field + 2] = bytes(len(packet[field : field + 2]))
    return bytes(packet)

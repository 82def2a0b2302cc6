"""Captures, written byte by byte: frames of several kinds around UDP datagrams and TCP segments."""

from struct import pack
from typing import Final

from netserv.signaling.gist.addresses import packed

ETHERNET, RAW, COOKED, COOKED_2, LOOPBACK = 1, 101, 113, 276, 0
SYN, FIN, RST, ACK = 0x02, 0x01, 0x04, 0x10
TIME: Final = 1_795_805_026
UDP_PROTOCOL, TCP_PROTOCOL = 17, 6


def udp(payload: bytes, sport: int = 270, dport: int = 270) -> bytes:
    return pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def tcp(payload: bytes, sequence: int, flags: int = ACK, sport: int = 40_000, dport: int = 4711) -> bytes:
    return pack("!HHIIBBHHH", sport, dport, sequence, 0, 0x50, flags, 65_535, 0, 0) + payload


def ip(
    above: bytes, protocol: int, source: str = "10.71.1.1", destination: str = "10.71.2.2", options: bytes = b""
) -> bytes:
    """An IPv4 or IPv6 packet; options: of IPv4, or a hop-by-hop header of IPv6."""
    if ":" in source:
        first = 0 if options else protocol
        head = pack("!IHBB", 0x6000_0000, len(options) + len(above), first, 63)
        return head + packed(source) + packed(destination) + options + above
    head = pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(above), 7, 0x4000, 63, protocol, 0)
    return head + packed(source) + packed(destination) + options + above


def framed(packet: bytes, link: int, vlans: tuple[int, ...] = ()) -> bytes:
    version_6 = packet[0] >> 4 == 6
    kind = pack("!H", 0x86DD if version_6 else 0x0800)
    tags = b"".join(pack("!HH", 0x8100, vlan) for vlan in vlans)
    match link:
        case 1:
            return bytes(12) + tags + kind + packet + bytes(max(0, 46 - len(packet)))
        case 101:
            return packet
        case 113:
            return pack("!HHH8s", 4, 1, 6, bytes(8)) + kind + packet
        case 276:
            return kind + pack("!HIHBB8s", 0, 2, 1, 4, 6, bytes(8)) + packet
        case _:
            return pack("<I", 10 if version_6 else 2) + packet


def pcap(*frames: bytes, link: int = RAW, big_endian: bool = False, snap: int = 262_144) -> bytes:
    order = ">" if big_endian else "<"
    records = [
        pack(order + "IIII", TIME, number, len(frame[:snap]), len(frame)) + frame[:snap]
        for number, frame in enumerate(frames)
    ]
    return pack(order + "IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, link) + b"".join(records)


def pcapng(*frames: bytes, link: int = RAW) -> bytes:
    blocks = [_block(0x0A0D0D0A, pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)), _block(1, pack("<HHI", link, 0, 262_144))]
    for number, frame in enumerate(frames):
        time = TIME * 1_000_000 + number
        head = pack("<IIIII", 0, time >> 32, time & 0xFFFF_FFFF, len(frame), len(frame))
        blocks.append(_block(6, head + frame + bytes(-len(frame) % 4)))
    return b"".join(blocks)


def _block(kind: int, body: bytes) -> bytes:
    size = pack("<I", 12 + len(body))
    return pack("<I", kind) + size + body + size

"""The checksum of IP, UDP and ICMP (RFC 1071)."""

import struct
from typing import Final

_UDP: Final = 17
_PSEUDO4: Final = struct.Struct("!BBH")
_PSEUDO6: Final = struct.Struct("!IBBBB")


def internet_checksum(data: bytes) -> int:
    """The ones' complement of the ones' complement sum of 16-bit words; an odd byte at the end counts as `byte 00`.

    That sum is the remainder of the whole number by 65,535, which one division of a long integer finds in a tenth of
    the time of a loop. The remainder has no second zero: 0 stands for 0xffff but where all bytes are 0.
    """
    number = int.from_bytes(data)
    if len(data) & 1:
        number <<= 8
    rest = number % 0xFFFF
    return 0xFFFF - (rest or (0xFFFF if number else 0))


def udp_checksum(source: bytes, destination: bytes, datagram: bytes) -> int:
    """The checksum of a UDP datagram, header included, whose own field is 0 (RFC 768; RFC 8200 section 8.1).

    0 goes as 0xffff, since a field of 0 says that there is no checksum. Over a datagram with its checksum in place this
    is 0xffff exactly when nothing has changed.
    """
    size = len(datagram)
    rest = _PSEUDO4.pack(0, _UDP, size) if len(source) == 4 else _PSEUDO6.pack(size, 0, 0, 0, _UDP)
    return internet_checksum(source + destination + rest + datagram) or 0xFFFF

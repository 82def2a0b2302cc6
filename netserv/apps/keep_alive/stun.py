"""STUN binding requests as keep-alives (RFC 5626 section 4.4.2), and their answers (RFC 8489, RFC 3489).

Answered is the plain request of a keep-alive. One with credentials, or with an attribute that has to be understood, is
for the server itself.
"""

import struct
from ipaddress import ip_address
from typing import Final
from zlib import crc32

COOKIE: Final = b"\x21\x12\xa4\x42"
HEADER: Final = 20
_REQUEST: Final = b"\x00\x01"
_SUCCESS: Final = b"\x01\x01"
_MAPPED, _XOR_MAPPED, _FINGERPRINT = 0x0001, 0x0020, 0x8028
_FINGERPRINT_XOR: Final = 0x5354554E
_OPTIONAL: Final = 0x8000
"Attributes from here on need not be understood (section 14)."
ATTRIBUTES_MAX: Final = 16
_FAMILY: Final = {4: 1, 16: 2}
_ATTRIBUTE: Final = struct.Struct("!HH")


def answer(data: bytes, address: bytes, port: int) -> bytes | None:
    """The response to a binding request.

    Args:
        data: payload of a datagram.
        address: where it came from, packed.
        port: likewise.

    Returns:
        None: it is no binding request, or has what only the server can judge.
    """
    size = len(data)
    if size < HEADER or data[:2] != _REQUEST or int.from_bytes(data[2:4]) != size - HEADER or size % 4:
        return None
    fingerprinted = _sound(data)
    if fingerprinted is None:
        return None
    modern = data[4:8] == COOKIE
    attribute = _mapped(data[4:HEADER], address, port, modern=modern)
    length = len(attribute) + (8 if fingerprinted else 0)
    response = _SUCCESS + length.to_bytes(2) + data[4:HEADER] + attribute
    if fingerprinted:
        response += _ATTRIBUTE.pack(_FINGERPRINT, 4) + (crc32(response) ^ _FINGERPRINT_XOR).to_bytes(4)
    return response


def _sound(data: bytes) -> bool | None:
    """Whether it has a fingerprint; None where it is not to be answered."""
    at, count, fingerprinted = HEADER, 0, False
    while at < len(data):
        if fingerprinted or count >= ATTRIBUTES_MAX or at + 4 > len(data):
            return None  # the fingerprint is the last one (section 14.7)
        kind, length = _ATTRIBUTE.unpack_from(data, at)
        end = at + 4 + length
        if kind < _OPTIONAL or end > len(data):
            return None
        if kind == _FINGERPRINT:
            if length != 4 or int.from_bytes(data[at + 4 : end]) != crc32(data[:at]) ^ _FINGERPRINT_XOR:
                return None
            fingerprinted = True
        at, count = end + (-length & 3), count + 1
    return fingerprinted


def _mapped(transaction: bytes, address: bytes, port: int, *, modern: bool) -> bytes:
    """The attribute that says where the request came from.

    Args:
        transaction: magic cookie and transaction ID, 16 bytes; of RFC 3489 all are the ID.
        address: packed.
        port: of it.
        modern: whether to say it in the form that NATs do not change.
    """
    if modern:
        port ^= int.from_bytes(COOKIE[:2])
        address = bytes(a ^ b for a, b in zip(address, transaction, strict=False))
    value = bytes((0, _FAMILY[len(address)])) + port.to_bytes(2) + address
    return _ATTRIBUTE.pack(_XOR_MAPPED if modern else _MAPPED, len(value)) + value


def read_mapped(response: bytes) -> tuple[str, int] | None:
    """The address and port that a response with one attribute tells; for those who check one."""
    if len(response) < HEADER + 12 or response[:2] != _SUCCESS:
        return None
    kind, length = _ATTRIBUTE.unpack_from(response, HEADER)
    value = response[HEADER + 4 : HEADER + 4 + length]
    port, address = int.from_bytes(value[2:4]), value[4:]
    if kind == _XOR_MAPPED:
        port ^= int.from_bytes(COOKIE[:2])
        address = bytes(a ^ b for a, b in zip(address, response[4:HEADER], strict=False))
    return str(ip_address(address)), port

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.transport import ancillary


@given(st.integers(0, 255), st.integers(0, 255), st.binary(min_size=4, max_size=4), st.integers(1, 2**31 - 1))
def test_what_the_kernel_tells_of_ipv4(ttl: int, tos: int, address: bytes, interface: int) -> None:
    told = [
        (0, 8, struct.pack("=i4s4s", interface, bytes(4), address)),
        (0, 2, struct.pack("=i", ttl)),
        (0, 1, bytes([tos])),
        (0, 20, struct.pack("!HH4s8x", 2, 270, address)),
        (0, 6, b"\x94\x04\0\0"),
        (socket.SOL_SOCKET, 40, struct.pack("=I", 7)),
        (99, 99, b"what nobody knows"),
    ]
    assert ancillary.read(told) == ancillary.Beside(address, 270, interface, ttl, tos, b"\x94\x04\0\0", 0, 7)


@given(st.integers(0, 255), st.integers(0, 255), st.binary(min_size=16, max_size=16), st.integers(0, 0xFFFFF))
def test_what_the_kernel_tells_of_ipv6(limit: int, traffic_class: int, address: bytes, label: int) -> None:
    told = [
        (41, 50, struct.pack("=16si", address, 3)),
        (41, 52, struct.pack("=i", limit)),
        (41, 67, struct.pack("=i", traffic_class)),
        (41, 74, struct.pack("!HHI16sI", 10, 270, 0, address, 0)),
        (41, 54, bytes(8)),
        (41, 11, struct.pack("!I", 6 << 28 | traffic_class << 20 | label)),
    ]
    assert ancillary.read(told) == ancillary.Beside(address, 270, 3, limit, traffic_class, bytes(8), label, 0)


def test_without_anything_all_is_unknown() -> None:
    assert ancillary.read([]) == ancillary.Beside(b"", 0, 0, 0, 0, b"", 0, 0)


def test_a_scope_is_no_part_of_an_address() -> None:
    assert ancillary.packed_source(socket.AF_INET6, "fe80::1%eth0") == b"\xfe\x80" + bytes(13) + b"\x01"

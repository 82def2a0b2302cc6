import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.transport.icmp import ORIGIN_ICMP, ORIGIN_ICMP6, ORIGIN_LOCAL, IcmpError, drain, read_extended

HOST, ROUTER = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 254])


def extended(origin: int, kind: int, code: int, offender: bytes) -> bytes:
    head = struct.pack("=IBBBBII", 111, origin, kind, code, 0, 0, 0)
    if len(offender) == 4:
        return head + struct.pack("=HH", socket.AF_INET, 0) + offender + bytes(8)
    return head + struct.pack("=HHI", socket.AF_INET6, 0, 0) + offender + bytes(4)


@pytest.mark.parametrize("offender", [HOST, bytes(15) + b"\x01"])
def test_the_offender_is_read_in_both_families(offender: bytes) -> None:
    assert read_extended(extended(ORIGIN_ICMP, 3, 3, offender)) == (ORIGIN_ICMP, 3, 3, 111, offender)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_ignored(data: bytes) -> None:
    read_extended(data)


@pytest.mark.parametrize(
    ("origin", "kind", "code", "offender", "answer"),
    [
        (ORIGIN_ICMP, 3, 3, HOST, True),
        (ORIGIN_ICMP6, 1, 4, HOST, True),
        (ORIGIN_ICMP, 3, 1, HOST, False),
        (ORIGIN_ICMP, 11, 0, ROUTER, False),
        (ORIGIN_ICMP6, 3, 3, HOST, False),
        (ORIGIN_LOCAL, 3, 3, HOST, False),
        (ORIGIN_ICMP, 3, 3, ROUTER, False),  # some other machine in its name
        (ORIGIN_ICMP, 3, 3, None, False),
    ],
)
def test_only_the_destination_itself_says_that_its_port_is_unreachable(
    origin: int, kind: int, code: int, offender: bytes | None, answer: bool
) -> None:
    error = IcmpError(
        origin=origin, kind=kind, code=code, number=111, destination=(HOST, 270), offender=offender, quoted=b""
    )
    assert error.port_unreachable is answer


def test_a_socket_without_errors_gives_none() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        assert drain(sock) == []

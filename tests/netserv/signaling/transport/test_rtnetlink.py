import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.transport.netlink import NetlinkError, attribute
from netserv.signaling.transport.rtnetlink import (
    LOCAL,
    UNICAST,
    Route,
    read_address,
    read_mtu,
    read_route,
    route_request,
)


def route(kind: int, *parts: bytes) -> bytes:
    return struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 0, 0, kind, 0) + b"".join(parts)


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def test_a_route_with_one_way() -> None:
    body = route(
        UNICAST,
        attribute(1, bytes([192, 0, 2, 1])),
        attribute(4, number(3)),
        attribute(5, bytes([10, 0, 0, 1])),
        attribute(7, bytes([10, 0, 0, 2])),
        attribute(8 | 0x8000, attribute(2, number(1400))),
    )
    expected = Route(kind=UNICAST, interfaces=(3,), source=bytes([10, 0, 0, 2]), gateway=bytes([10, 0, 0, 1]), mtu=1400)
    assert read_route(body) == expected


def test_a_route_with_several_ways() -> None:
    hops = b"".join(
        struct.pack("=HBBi", 16, 0, 0, interface) + attribute(5, bytes([10, 0, interface, 1])) for interface in (2, 5)
    )
    assert read_route(route(UNICAST, attribute(9, hops))).interfaces == (2, 5)


def test_a_gateway_of_the_other_family() -> None:
    via = struct.pack("=H", 10) + bytes(15) + b"\x01"
    assert read_route(route(UNICAST, attribute(4, number(3)), attribute(18, via))).gateway == bytes(15) + b"\x01"


def test_an_own_address_without_ways() -> None:
    assert read_route(route(LOCAL)) == Route(kind=LOCAL, interfaces=())


def test_of_a_point_to_point_link_the_own_end_is_told() -> None:
    body = (
        struct.pack("=BBBBI", 2, 32, 0, 0, 7) + attribute(1, bytes([10, 0, 0, 1])) + attribute(2, bytes([10, 0, 0, 2]))
    )
    assert read_address(body) == (bytes([10, 0, 0, 2]), 7)


def test_a_request_names_family_and_length() -> None:
    assert route_request(bytes(16))[:2] == bytes([10, 128])
    assert route_request(bytes(4))[:2] == bytes([2, 32])


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_route, read_address, read_mtu):
        with suppress(NetlinkError):
            read(data)


@pytest.mark.parametrize("hops", [b"\0", struct.pack("=HBBi", 4, 0, 0, 1)])
def test_a_wrong_next_hop_is_refused(hops: bytes) -> None:
    with pytest.raises(NetlinkError):
        read_route(route(UNICAST, attribute(9, hops)))

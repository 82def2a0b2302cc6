import errno
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.transport import rtnetlink
from netserv.signaling.transport.netlink import (
    DUMP,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    error_of,
    message,
    messages,
)

KINDS = st.integers(0, 0x3FFF)
VALUES = st.binary(max_size=40)


@given(st.dictionaries(KINDS, VALUES))
def test_attributes_are_read_back(values: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(kind, value) for kind, value in values.items())) == values


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), VALUES, st.integers(0, 2**32 - 1))))
def test_messages_are_read_back(values: list[tuple[int, int, bytes, int]]) -> None:
    data = b"".join(message(kind, flags, body, sequence=number) for kind, flags, body, number in values)
    assert [(said.kind, said.flags, said.body, said.sequence) for said in messages(data)] == values


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(NetlinkError):
        list(messages(data))
    with suppress(NetlinkError):
        attributes(data)
    with suppress(NetlinkError):
        error_of(data)


@given(st.binary(min_size=1, max_size=40), st.integers(1, 39))
def test_a_cut_message_is_refused(body: bytes, cut: int) -> None:
    whole = message(1, 0, body)[: 16 + len(body)]
    with pytest.raises(NetlinkError):
        list(messages(whole[: -min(cut, len(body))]))


def test_the_flags_of_an_attribute_are_no_part_of_its_kind() -> None:
    assert attributes(attribute(0x8000 | 9, b"")) == {9: b""}


def test_an_attribute_has_16_bits_of_length() -> None:
    with pytest.raises(NetlinkError):
        attribute(1, bytes(65_532))


def test_the_kernel_answers_a_dump_and_a_question_and_refuses_nonsense() -> None:
    asking = NetlinkSocket(socket.NETLINK_ROUTE)
    try:
        said = asking.ask(rtnetlink.GET_ADDRESS, DUMP, rtnetlink.addresses_request())
        assert bytes([127, 0, 0, 1]) in {rtnetlink.read_address(each.body)[0] for each in said}
        (said_route,) = asking.ask(rtnetlink.GET_ROUTE, 0, rtnetlink.route_request(bytes([127, 0, 0, 1])))
        assert said_route.kind == rtnetlink.NEW_ROUTE
        with pytest.raises(OSError, match="No such device") as caught:
            asking.ask(rtnetlink.GET_LINK, 0, rtnetlink.link_request(0x7FFFFFF0))
        assert caught.value.errno == errno.ENODEV
        assert len(asking.ask(rtnetlink.GET_LINK, 0, rtnetlink.link_request(1))) == 1  # in step again
    finally:
        asking.close()

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.transport.netlink import NetlinkError, attribute, attributes, messages
from netserv.signaling.transport.nfqueue import ACCEPT, VERDICT, Queued, read_packet, verdict

HEADER = struct.pack("!BBH", 2, 0, 270)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1), st.binary(max_size=60))
def test_a_queued_packet_is_read(number: int, interface: int, data: bytes) -> None:
    body = HEADER + attribute(1, struct.pack("!IHB", number, 0x0800, 0)) + attribute(5, struct.pack("!I", interface))
    body += attribute(10, data)
    assert read_packet(body) == Queued(number, interface, data)


@given(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1), st.none() | st.binary(max_size=60))
def test_a_verdict_names_queue_packet_and_decision(queue: int, number: int, data: bytes | None) -> None:
    (said,) = messages(verdict(queue, number, ACCEPT, data))
    assert said.kind == VERDICT
    assert said.body[:4] == struct.pack("!BBH", 0, 0, queue)
    found = attributes(said.body, 4)
    assert found[2] == struct.pack("!II", ACCEPT, number)
    assert found.get(10) == data


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(NetlinkError):
        read_packet(data)


def test_a_packet_without_its_number_is_refused() -> None:
    with pytest.raises(NetlinkError):
        read_packet(HEADER + attribute(10, b"data"))

"""Packets of the record store: whatever is put into them fits, and whatever arrives is a value or refused."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.errors import RemoteProtocolError
from dhtboot.ids import NodeRef
from dhtboot.kademlia.messages import Ask, FindNode, Nodes, Packet, Reply, Tell
from dhtboot.wire import MAX_DATAGRAM
from mdht.messages import Get, Got
from mdht.records import Copy, Record
from mdht.wire import PAGE_BYTES, SHARED_PAGE_BYTES, copy_bytes, page, store_codec
from tests.mdht.record_messages import answers, copies, keys, notes, questions, some_copies, u64

CODEC = store_codec("test")

messages = st.one_of(
    questions(PAGE_BYTES).map(Ask),
    answers(PAGE_BYTES).map(Reply),
    notes(PAGE_BYTES).map(Tell),
    st.builds(FindNode, target=keys, question=st.builds(Get, key=keys)),
)
packets = st.builds(Packet, sender=keys, request_id=u64, message=messages, cookie=st.just(bytes(8)))


@given(packets)
def test_every_packet_fits_a_datagram_and_comes_back(packet: Packet) -> None:
    assert CODEC.decode(CODEC.encode(packet)) == packet


@given(some_copies)
def test_a_page_beside_eight_contacts_fits_a_datagram(held: list[Copy]) -> None:
    nodes = tuple(NodeRef(2**159 + at, (f"2001:db8:ffff:ffff:ffff:ffff:ffff:{at:x}", 65_535)) for at in range(8))
    answer = Got(page(held, SHARED_PAGE_BYTES), 1000, 2**64 - 1)
    packet = Packet(bytes(20), 2**64 - 1, Nodes(nodes, answer))
    assert len(CODEC.encode(packet)) <= MAX_DATAGRAM


@given(copies)
def test_the_size_of_a_copy_is_never_underestimated(copy: Copy) -> None:
    assert len(msgspec.msgpack.encode(copy)) <= copy_bytes(copy)


@pytest.mark.parametrize("room", [PAGE_BYTES])
def test_the_largest_record_fits_a_page(room: int) -> None:
    record = Record(bytes(20), bytes(32), bytes(64), 2**64 - 1, 604_800, False, bytes(900), bytes(64))
    assert len(page([Copy(record, 604_800.0)], room)) == 1


@given(st.binary(max_size=1300))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for candidate in (data, CODEC.encode(Packet(bytes(20), 1, Ask(Get(bytes(20)))))[:5] + data):
        with suppress(RemoteProtocolError):
            CODEC.decode(candidate)


@given(packets, st.data())
def test_a_damaged_packet_decodes_or_is_refused(packet: Packet, data: st.DataObject) -> None:
    encoded = bytearray(CODEC.encode(packet))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        CODEC.decode(bytes(encoded))

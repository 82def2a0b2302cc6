from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.bootstrap_messages import BootstrapPacket, ContactRequest
from dhtboot.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from dhtboot.ids import NodeRef
from dhtboot.kademlia.messages import Nodes, Packet, Ping, Tell
from dhtboot.wire import MAX_DATAGRAM, Codec, PeerCodec, network_tag
from tests.dhtboot.strategies import packets

CODEC: Codec[Any] = Codec(Packet[str, str, str], network="test")
PREFIX = b"\x01" + network_tag("test")
ME = bytes(range(20))


def code_of(data: bytes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        CODEC.decode(data)
    return caught.value.code


@given(packets)
def test_every_kind_of_packet_keeps_its_value_through_bytes(packet: Any) -> None:
    assert CODEC.decode(CODEC.encode(packet)) == packet


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_decode_or_are_refused(data: bytes, with_prefix: bool) -> None:
    with suppress(RemoteProtocolError):
        packet = CODEC.decode(PREFIX + data if with_prefix else data)
        assert CODEC.decode(CODEC.encode(packet)) == packet


@given(packets, st.randoms(use_true_random=False))
def test_a_mutated_packet_decodes_or_is_refused(packet: Any, rng: Random) -> None:
    original = CODEC.encode(packet)
    for _ in range(30):
        data = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(PREFIX), len(data))  # mutations before that are refused at once
            match rng.randrange(4):
                case 0:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    data.insert(at, rng.randrange(256))
                case 2 if len(data) > len(PREFIX) + 1:
                    del data[at]
                case _:
                    data[at] = rng.choice((0, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xDF, 0xFF))
        with suppress(RemoteProtocolError):
            CODEC.decode(bytes(data))


@given(packets)
def test_every_beginning_of_a_packet_is_refused(packet: Any) -> None:
    data = CODEC.encode(packet)
    for end in range(len(data)):
        code_of(data[:end])


@given(packets)
def test_bytes_after_a_packet_are_refused(packet: Any) -> None:
    assert code_of(CODEC.encode(packet) + b"\x00") is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ErrorCode.VERSION),
        (b"\x02" + network_tag("test") + b"\x90", ErrorCode.VERSION),
        (b"\x01" + network_tag("other") + b"\x90", ErrorCode.OTHER_NETWORK),
        (b"\x01" + network_tag("test")[:3], ErrorCode.OTHER_NETWORK),
        (PREFIX, ErrorCode.MALFORMED),
        (PREFIX + b"\xc1", ErrorCode.MALFORMED),
        (PREFIX + b"\x91" * 1100, ErrorCode.MALFORMED),
        (PREFIX + b"\x90" * 1200, ErrorCode.TOO_LARGE),
        (PREFIX + msgspec.msgpack.encode([ME, 1, [99]]), ErrorCode.UNKNOWN_KIND),
        (PREFIX + msgspec.msgpack.encode([ME, 1, ["ping"]]), ErrorCode.MALFORMED),
        (PREFIX + msgspec.msgpack.encode([ME[:19], 1, [1]]), ErrorCode.MALFORMED),
        (PREFIX + msgspec.msgpack.encode([ME, 1, [3, ME[:19]]]), ErrorCode.MALFORMED),
        (PREFIX + msgspec.msgpack.encode([ME, 1, [3, ME + b"x"]]), ErrorCode.MALFORMED),
        (PREFIX + msgspec.msgpack.encode([ME, 1, [4, [b"x" * 25]]]), ErrorCode.MALFORMED),
        (PREFIX + msgspec.msgpack.encode([ME, 1, [4, ["no bytes"]]]), ErrorCode.MALFORMED),
        (PREFIX + msgspec.msgpack.encode([ME, 1, [7, b"\xff"]]), ErrorCode.MALFORMED),
    ],
)
def test_each_fault_has_its_code(data: bytes, code: ErrorCode) -> None:
    assert code_of(data) is code


def test_fields_that_a_later_version_appends_are_ignored() -> None:
    data = PREFIX + msgspec.msgpack.encode([ME, 5, [1, "new"], b"", {"more": 1}])
    assert CODEC.decode(data) == Packet(ME, 5, Ping())


def test_the_largest_packet_has_1200_bytes() -> None:
    room = MAX_DATAGRAM - len(CODEC.encode(Packet(ME, 0, Tell("x" * 300)))) + 300
    assert len(CODEC.encode(Packet(ME, 0, Tell("x" * room)))) == MAX_DATAGRAM
    with pytest.raises(LocalProtocolError, match="1201 bytes"):
        CODEC.encode(Packet(ME, 0, Tell("x" * (room + 1))))


def test_sixteen_contacts_of_ipv6_fit_into_a_datagram() -> None:
    # The settings of the thesis put 16 contacts into a reply.
    contacts = tuple(NodeRef((1 << 160) - 1 - i, ("2001:db8::1", 65_535)) for i in range(16))
    assert len(CODEC.encode(Packet(ME, (1 << 64) - 1, Nodes(contacts, None, bytes(8)), bytes(8)))) <= MAX_DATAGRAM


def test_overlay_and_bootstrap_server_refuse_the_packets_of_each_other() -> None:
    bootstrap = Codec(BootstrapPacket, network="test")
    assert code_of(bootstrap.encode(BootstrapPacket(ME, 1, ContactRequest()))) is ErrorCode.UNKNOWN_KIND
    with pytest.raises(RemoteProtocolError) as caught:
        bootstrap.decode(CODEC.encode(Packet(ME, 1, Ping())))
    assert caught.value.code is ErrorCode.UNKNOWN_KIND


PEER_CODEC = PeerCodec(CODEC, Codec(BootstrapPacket, network="test"))


@pytest.mark.parametrize(
    "packet",
    [Packet(ME, 1, Ping()), Packet(ME, 2, Tell("note")), BootstrapPacket(ME, 3, ContactRequest(), b"12345678")],
    ids=lambda packet: type(packet.message).__name__,
)
def test_one_socket_serves_a_node_and_its_bootstrap_client(packet: Any) -> None:
    assert PEER_CODEC.decode(PEER_CODEC.encode(packet)) == packet


@given(st.binary(max_size=100))
def test_what_neither_of_the_two_knows_is_refused_as_the_overlay_refuses_it(data: bytes) -> None:
    def outcome(codec: Any) -> Any:
        try:
            return codec.decode(PREFIX + data)
        except RemoteProtocolError as error:
            return error.code

    found = outcome(PEER_CODEC)
    if isinstance(found, ErrorCode):
        assert outcome(CODEC) is found

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.bootstrap_messages import BootstrapMessage
from dhtboot.chord import messages as chord
from dhtboot.chord.messages import LIST_MAX, Packet, Step
from dhtboot.errors import RemoteProtocolError
from dhtboot.ids import NodeRef
from dhtboot.kademlia import messages as kademlia
from dhtboot.wire import MAX_DATAGRAM, Codec, network_tag
from tests.dhtboot.strategies import id_blobs, nodes

CODEC: Codec[Any] = Codec(Packet[str], network="test")
PREFIX = b"\x01" + network_tag("test")
LISTS = st.lists(nodes, max_size=LIST_MAX).map(tuple)
HOPS = st.integers(0, 255)
MESSAGES: st.SearchStrategy[Any] = st.one_of(
    st.builds(chord.FindSuccessor, id_blobs),
    st.builds(chord.Successors, LISTS, st.sampled_from(Step), HOPS),
    st.builds(chord.Route, id_blobs, st.none() | nodes, HOPS),
    st.builds(chord.JoinRequest, st.none() | nodes, HOPS),
    st.builds(chord.JoinReply, st.none() | nodes, st.booleans(), LISTS.map(lambda found: found[:15])),
    st.builds(chord.NewSuccessorHint, nodes),
    st.just(chord.Stabilize()),
    st.builds(chord.Predecessor, st.none() | nodes),
    st.builds(chord.Notify, st.none() | nodes),
    st.builds(chord.Notified, LISTS),
    st.just(chord.Ping()),
    st.just(chord.Pong()),
    st.builds(chord.Tell, st.text(max_size=20)),
    st.builds(chord.Leaving, st.none() | nodes, LISTS.map(lambda found: found[:15])),
    st.just(chord.Refused()),
)
PACKETS = st.builds(Packet, id_blobs, st.integers(0, (1 << 64) - 1), MESSAGES)


@given(PACKETS)
def test_every_kind_of_packet_keeps_its_value_through_bytes(packet: Any) -> None:
    assert CODEC.decode(CODEC.encode(packet)) == packet


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        packet = CODEC.decode(PREFIX + data)
        assert CODEC.decode(CODEC.encode(packet)) == packet


@given(PACKETS, st.data())
def test_a_mutated_packet_decodes_or_is_refused(packet: Any, data: st.DataObject) -> None:
    mutated = bytearray(CODEC.encode(packet))
    at = data.draw(st.integers(len(PREFIX), len(mutated) - 1))
    mutated[at] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        CODEC.decode(bytes(mutated))


def test_the_longest_lists_fit_into_a_datagram() -> None:
    far = tuple(NodeRef((1 << 160) - 1 - at, ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 65_535)) for at in range(16))
    longest = [chord.Successors(far, Step.HOPS, 255), chord.JoinReply(far[0], True, far[:15]), chord.Notified(far)]
    for message in longest:
        assert len(CODEC.encode(Packet(bytes(20), (1 << 64) - 1, message))) <= MAX_DATAGRAM


@pytest.mark.parametrize("message", [chord.Successors((NodeRef(1, ("10.0.0.1", 1)),) * 17, Step.HOPS)])
def test_a_list_that_is_too_long_is_refused(message: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        CODEC.decode(CODEC.encode(Packet(bytes(20), 1, message)))


def test_no_tag_is_one_of_another_protocol() -> None:
    def tags(module: Any) -> set[int]:
        configs = [getattr(value, "__struct_config__", None) for value in vars(module).values()]
        return {config.tag for config in configs if config is not None and isinstance(config.tag, int)}

    bootstrap = {kind.__struct_config__.tag for kind in BootstrapMessage.__args__}
    assert not tags(chord) & tags(kademlia)
    assert not tags(chord) & bootstrap
    assert not tags(kademlia) & bootstrap
    assert len(tags(chord)) == 15

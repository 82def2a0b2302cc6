import contextlib
import json
from pathlib import Path
from random import Random
from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtboot.chord import messages as chord
from dhtboot.chord.config import ChordConfig
from dhtboot.ids import ID_BYTES, NodeRef, id_bytes
from dhtboot.kademlia import messages as kademlia
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import packet_type
from mdht.messages import Got, Pushed, Put
from mdht.records import Copy
from mdht.subnet.errors import WireError
from mdht.subnet.face_messages import (
    NAMED_MAX,
    RECORDS_ROOM,
    Asked,
    Body,
    Carried,
    Noted,
    OverlayDatagram,
    Taken,
    Told,
    WhoIs,
    entry_bytes,
    head_bytes,
    marks_bytes,
    packet_bytes,
    record_bytes,
)
from mdht.subnet.face_nodes import pseudo_address
from mdht.subnet.face_packets import named_in
from mdht.subnet.framing import DATAGRAM_MAX, MAC_BYTES
from mdht.subnet.overlay_wire import BODIES as NUMBERS
from mdht.subnet.overlay_wire import OverlayCodec, looks_like_overlay
from mdht.subnet.wire import LinkCodec
from mdht.wire import page
from tests.dhtboot.strategies import ids
from tests.mdht.record_messages import copies
from tests.mdht.subnet.link_messages import EXAMPLES as LINK_EXAMPLES
from tests.mdht.subnet.link_messages import HEADER
from tests.mdht.subnet.overlay_messages import (
    BODIES,
    BODY_VALUES,
    CHORD_MESSAGES,
    EXAMPLES,
    FAR,
    FIND,
    FULL_ENTRY,
    KADEMLIA_MESSAGES,
    ME,
    NODES,
    OVERLAY,
    bodies,
    datagram,
    datagrams,
    node,
)

VECTORS = Path(__file__).with_name("overlay_vectors.json")
KEY, NEW_KEY = b"k" * 16, b"new" * 5
HEADER_BYTES = 32
MUTATIONS = 6000
CHORD = OverlayCodec(OVERLAY, chord.Packet[str])
KADEMLIA = OverlayCodec(OVERLAY, kademlia.Packet[str, str, str])
KEYED: dict[type, OverlayCodec] = {
    chord.Packet: OverlayCodec(OVERLAY, chord.Packet[str], [KEY]),
    kademlia.Packet: OverlayCodec(OVERLAY, kademlia.Packet[str, str, str], [KEY]),
}
KEYED[type(None)] = KEYED[kademlia.Packet]
OPEN = {name: CHORD if name == "Carried by Chord" else KADEMLIA for name in EXAMPLES}
KNOCK = EXAMPLES["Knock"]


def codec_of(datagram: OverlayDatagram) -> OverlayCodec:
    return KEYED[type(getattr(datagram.body, "packet", None))]


def bound(datagram: OverlayDatagram) -> int:
    """What the face takes a datagram for, when it counts the identifiers in `avoid` as contacts."""
    told = [*datagram.named, *([datagram.entry] if datagram.entry else [])]
    size = head_bytes(datagram.identity) + sum(map(entry_bytes, told)) + record_bytes(datagram.body)
    size += marks_bytes(datagram.marks)
    if not isinstance(datagram.body, Carried):
        return size
    message = datagram.body.packet.message
    payloads = [getattr(message, name, None) for name in ("question", "answer", "note")]
    size += sum(len(msgspec.msgpack.encode(payload)) for payload in payloads if payload is not None)
    return size + packet_bytes(len(named_in(message)) + len(getattr(message, "avoid", ())))


def with_length(data: bytes) -> bytes:
    """Of a datagram without code whose fields were changed."""
    return data[:6] + (len(data) - HEADER_BYTES).to_bytes(2, "big") + data[8:]


def carrying(packet: bytes) -> bytes:
    """A datagram with these bytes for the packet."""
    whole = CHORD.encode(datagram(Carried(packet=chord.Packet(ME, 7, chord.Ping()))))
    head = whole[: whole.index(b"\x10\x00")]
    return with_length(head + b"\x10" + len(packet).to_bytes(2, "big") + packet)


def mutated(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(5):
            case 0 if changed:
                changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xDD, 0xDF, 0xFF))
            case 1 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 2 if changed:
                del changed[at]
            case 3 if rng.random() < 0.2:
                del changed[at:]
            case _:
                changed[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(changed)


def same_again(codec: OverlayCodec, data: bytes) -> bool:
    """Whether the bytes are a datagram; what they say can then be said again."""
    try:
        found = codec.decode(data)
    except WireError:
        return False
    again = codec.encode(found)
    assert codec.encode(codec.decode(again)) == again  # not the values: a number may have become NaN
    return True


def test_every_body_and_every_message_is_tried_here() -> None:
    def kinds(union: Any) -> set[type]:
        return {get_origin(kind) or kind for kind in get_args(union)}

    assert set(NUMBERS) == set(get_args(Body)) == {*BODY_VALUES, Carried}
    assert len({number for number, _ in NUMBERS.values()}) == len(NUMBERS)
    assert kinds(chord.Packet.__annotations__["message"]) == set(CHORD_MESSAGES)
    assert kinds(kademlia.Packet.__annotations__["message"]) == set(KADEMLIA_MESSAGES)


def comes_back(datagram: OverlayDatagram) -> None:
    codec = codec_of(datagram)
    try:
        data = codec.encode(datagram)
    except ValueError:
        assert bound(datagram) > DATAGRAM_MAX
        return
    assert codec.decode(data) == datagram
    assert len(data) <= bound(datagram)


@given(copies, st.sampled_from([Put, Got, Pushed]))
def test_copies_with_room_for_them_fit_a_datagram_with_the_longest_identity(copy: Copy, kind: Any) -> None:
    held = page([copy] * 8, RECORDS_ROOM)
    assert held
    told = {Put: Asked(number=7, question=Put(held)), Got: Told(number=7, answer=Got(held, 8, 1 << 63))}
    body: Body = told.get(kind) or Noted(note=Pushed(held))
    full = datagram(body, identity=FULL_ENTRY.identity, held=(1 << 32) - 1, cookie=b"cookie_1")
    assert len(KEYED[kademlia.Packet].encode(full)) <= bound(full) <= DATAGRAM_MAX


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_body_comes_back_as_it_was_and_is_no_larger_than_calculated(kind: type) -> None:
    @settings(max_examples=30)
    @given(bodies(ME, BODIES[kind]))
    def check(body: Body) -> None:
        comes_back(datagram(body))

    check()


@given(datagrams())
def test_every_datagram_comes_back_as_it_was_and_is_no_larger_than_calculated(datagram: OverlayDatagram) -> None:
    comes_back(datagram)


def test_every_body_has_the_published_bytes() -> None:
    found = {name: OPEN[name].encode(example).hex() for name, example in EXAMPLES.items()}
    found["Knock with a key"] = KEYED[chord.Packet].encode(KNOCK).hex()
    assert found == json.loads(VECTORS.read_text())
    assert all(OPEN[name].decode(bytes.fromhex(found[name])) == example for name, example in EXAMPLES.items())


@pytest.mark.parametrize("name", EXAMPLES)
def test_mutated_datagrams_raise_nothing_but_the_wire_error(name: str) -> None:
    rng, codec = Random(name), OPEN[name]
    whole = codec.encode(EXAMPLES[name])
    read = 0
    for turn in range(MUTATIONS // len(EXAMPLES)):
        if turn % 10:
            data = with_length(whole[:HEADER_BYTES] + mutated(whole[HEADER_BYTES:], rng))
        else:
            data = mutated(whole, rng)
        read += same_again(codec, data)
    assert 0 < read < MUTATIONS // len(EXAMPLES)


@pytest.mark.parametrize("codec", [CHORD, KADEMLIA])
def test_mutated_packets_raise_nothing_but_the_wire_error(codec: OverlayCodec) -> None:
    rng = Random(1)
    packets = (
        chord.Packet(b"", 7, FIND),
        chord.Packet(b"", 7, chord.JoinReply(node(1), True, (node(2),))),
        chord.Packet(b"", 7, chord.Tell("a note")),
        kademlia.Packet(b"", 7, NODES),
        kademlia.Packet(b"", 7, kademlia.Busy(1.5), b"cookie_8"),
    )
    whole = [msgspec.msgpack.encode(packet, enc_hook=lambda node: id_bytes(node.id)) for packet in packets]
    read = sum(same_again(codec, carrying(mutated(whole[turn % len(whole)], rng))) for turn in range(MUTATIONS // 2))
    assert 0 < read < MUTATIONS // 2


@given(st.binary(max_size=120), st.integers(0, 9))
def test_any_bytes_raise_nothing_but_the_wire_error(data: bytes, number: int) -> None:
    with pytest.raises(WireError):
        CHORD.decode(data)
    head = bytearray(CHORD.encode(KNOCK)[:HEADER_BYTES])
    head[4] = number
    with contextlib.suppress(WireError):
        CHORD.decode(with_length(bytes(head) + data))


def test_the_first_bytes_tell_it_from_a_datagram_of_the_link() -> None:
    ours, link = CHORD.encode(KNOCK), LinkCodec(OVERLAY).encode(HEADER, LINK_EXAMPLES[0])
    assert looks_like_overlay(ours)
    assert not looks_like_overlay(link)
    with pytest.raises(WireError, match="not of this protocol"):
        CHORD.decode(link)


@given(ids)
def test_a_contact_has_the_address_that_follows_from_its_identifier(number: int) -> None:
    packet = kademlia.Packet(ME, 7, kademlia.Nodes((NodeRef(number, ("192.0.2.1", 4000)),)))
    body = KADEMLIA.decode(KADEMLIA.encode(datagram(Carried(packet=packet)))).body
    assert body.packet.message.nodes == (NodeRef(number, pseudo_address(number)),)


@pytest.mark.parametrize("config", [ChordConfig(), KademliaConfig()])
def test_a_bare_overlay_says_nothing_above_its_packets(config: ChordConfig | KademliaConfig) -> None:
    codec = OverlayCodec(OVERLAY, packet_type(config, None))
    messages = chord if isinstance(config, ChordConfig) else kademlia
    carried = datagram(Carried(packet=messages.Packet(ME, 7, messages.Tell(None))))
    assert codec.decode(codec.encode(carried)) == carried


NIL, BLOB = b"\xc4\x00", b"\xc4\x14" + bytes(ID_BYTES)


@pytest.mark.parametrize(
    ("codec", "packet", "why"),
    [
        (CHORD, b"\x93" + BLOB + b"\x07\x91\x4b", "names its sender"),
        (CHORD, b"\x93" + NIL + b"\xff\x91\x4b", "-1 is no request id"),
        (CHORD, b"\x93" + NIL + b"\xca\x40\xe0\x00\x00\x91\x4b", "Expected `int`"),
        (CHORD, b"\x93" + NIL + b"\x07\x92\x46\xc4\x13" + bytes(19), "a contact is 20 bytes"),
        (CHORD, b"\x93" + NIL + b"\x07\x92\x46\x07", "a contact is 20 bytes"),
        (CHORD, b"\x93" + NIL + b"\x07\x92\x41\xc4\x15" + bytes(21), "length <= 20"),
        (CHORD, b"\x93" + NIL + b"\x07\x93\x41" + BLOB + b"\x99" + BLOB * 9, "length <= 8"),
        (CHORD, b"\x93" + NIL + b"\x07\x92\x4a\xdc\x00\x11" + BLOB * 17, "length <= 16"),
        (CHORD, b"\x93" + NIL + b"\x07\x92\x4a\xdd\xff\xff\xff\xff", "length <= 16"),
        (KADEMLIA, b"\x93" + NIL + b"\x07\x92\x04\xdd\xff\xff\xff\xff", "truncated"),
        (CHORD, b"\x93" + NIL + b"\x07\x91\x01", "Invalid value 1"),
        (CHORD, b"\x93" + NIL + b"\x07\x92\x4d\xa1\xff", "utf-8"),
        (CHORD, b"\x93" + NIL + b"\x07\x91\x4b\x00", "trailing"),
        (CHORD, b"\x94" + NIL + b"\x07\x91\x4b" + b"\x91" * 1000, "recursion"),
        (CHORD, b"", "truncated"),
        (KADEMLIA, b"\x93" + NIL + b"\x07\x92\x04\xdc\x00\x19" + BLOB * 25, "25 contacts"),
        (KADEMLIA, b"\x93" + NIL + b"\x07\x91\x4b", "Invalid value 75"),
    ],
)
def test_a_packet_that_is_wrong_is_refused(codec: OverlayCodec, packet: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        codec.decode(carrying(packet))


def test_a_field_of_a_later_version_is_skipped() -> None:
    for name, example in EXAMPLES.items():
        data = OPEN[name].encode(example)
        for number in (b"\x0f", b"\xc8"):
            for at in (HEADER_BYTES, len(data)):
                longer = data[:at] + number + b"\x00\x03new" + data[at:]
                assert OPEN[name].decode(with_length(longer)) == example


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (b"", "number"),
        (b"\x01\x00\x06CN\x03lab", "number"),
        (b"\x10\x00\x08" + bytes(8), "identity"),
        (b"\x01\x00\x06CN\x03lab" * 2, "identity twice"),
        (b"\x01\x00\x06XX\x03lab", "Kind"),
        (b"\x01\x00\x06CN\x03lab\x02\x00\x03\x00\x00\x00", "4 bytes wanted"),
        (b"\x01\x00\x06CN\x03lab\x10\x00\x09" + bytes(9), "1 bytes too many"),
        ((b"\x04\x00\x15\x06CN\x03lab" + bytes(14)) * 25, "more than 24 named"),
        (b"\x01\x00", "3 bytes wanted"),
    ],
)
def test_fields_that_are_wrong_are_refused(fields: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        CHORD.decode(with_length(CHORD.encode(KNOCK)[:HEADER_BYTES] + fields))


def test_a_body_of_a_later_version_is_refused() -> None:
    data = bytearray(CHORD.encode(KNOCK))
    data[4] = 200
    with pytest.raises(WireError, match="no body has the number 200"):
        CHORD.decode(bytes(data))


def test_a_datagram_of_another_overlay_is_refused() -> None:
    with pytest.raises(WireError, match="another overlay"):
        OverlayCodec("home", chord.Packet[str]).decode(CHORD.encode(KNOCK))


def test_without_the_key_nothing_is_believed() -> None:
    ours = KEYED[chord.Packet]
    for codec in (CHORD, OverlayCodec(OVERLAY, chord.Packet[str], [NEW_KEY])):
        with pytest.raises(WireError, match=r"key|bytes behind"):
            ours.decode(codec.encode(KNOCK))
    with pytest.raises(WireError, match="none is configured"):
        CHORD.decode(ours.encode(KNOCK))
    with pytest.raises(WireError, match="0 bytes behind"):
        ours.decode(ours.encode(KNOCK)[:-MAC_BYTES])


def test_two_keys_are_accepted_while_they_are_replaced() -> None:
    former = KEYED[chord.Packet]
    both = OverlayCodec(OVERLAY, chord.Packet[str], [NEW_KEY, KEY])
    assert both.decode(former.encode(KNOCK)) == both.decode(both.encode(KNOCK)) == KNOCK
    with pytest.raises(WireError, match="does not prove"):
        former.decode(both.encode(KNOCK))
    with pytest.raises(ValueError, match="3 keys"):
        OverlayCodec(OVERLAY, chord.Packet[str], [KEY, NEW_KEY, b"x"])


def test_a_changed_bit_breaks_the_proof() -> None:
    codec = KEYED[chord.Packet]
    data = codec.encode(KNOCK)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            codec.decode(bytes(changed))


def test_a_datagram_has_1200_bytes_at_most() -> None:
    def note(size: int) -> OverlayDatagram:
        return datagram(Carried(packet=chord.Packet(ME, 7, chord.Tell("x" * size))))

    room = DATAGRAM_MAX - len(CHORD.encode(note(1000))) + 1000
    assert CHORD.decode(CHORD.encode(note(room))) == note(room)
    with pytest.raises(ValueError, match="Carried of 1201 bytes; a datagram holds 1200"):
        CHORD.encode(note(room + 1))
    with pytest.raises(WireError, match="1201 bytes"):
        CHORD.decode(CHORD.encode(note(room)) + b"x")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (datagram(Carried(packet=chord.Packet(bytes(20), 7, chord.Ping()))), "a packet from 0000"),
        (datagram(Carried(packet=chord.Packet(b"", 7, chord.Ping()))), "a packet from  in"),
        (datagram(Carried(packet=chord.Packet(ME, -1, chord.Ping()))), "-1 is no request id"),
        (datagram(Carried(packet=chord.Packet(ME, 1 << 64, chord.Ping()))), "is no request id"),
        (datagram(Carried(packet=kademlia.Packet(ME, 7, kademlia.Nodes((node(1),) * 25)))), "25 contacts"),
        (datagram(Taken(request_id=7), tag=b"short"), "a tag of 5 bytes"),
        (datagram(Taken(request_id=7), hid=b""), "a host's name of 0"),
        (datagram(WhoIs(number=1, node_id=b"short")), "20 bytes wanted"),
    ],
)
def test_what_nobody_would_believe_is_not_made(wrong: OverlayDatagram, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        KADEMLIA.encode(wrong)


@pytest.mark.parametrize(
    "message",
    [
        chord.FindSuccessor(ME, (ME,) * 8),
        chord.JoinReply(FAR, True, (FAR,) * 16),
        chord.Route(ME, FAR, 255),
        chord.Notify(FAR),
        kademlia.Pong(b"x" * 18, b"cookie_8"),
        kademlia.Nodes((FAR,) * NAMED_MAX, None, b"cookie_8"),
    ],
)
def test_the_largest_packets_leave_room_for_all_that_a_host_tells_of_its_node(message: Any) -> None:
    sender = id_bytes(FULL_ENTRY.identity.node_id(OVERLAY))
    packet: Any = chord.Packet(sender, (1 << 64) - 1, message)
    if type(message) in KADEMLIA_MESSAGES:
        packet = kademlia.Packet(sender, (1 << 64) - 1, message, b"cookie_8")
    body = Carried(packet=packet, reply_to=("2001:db8::7", 4000))
    full = datagram(body, identity=FULL_ENTRY.identity, held=(1 << 32) - 1, entry=FULL_ENTRY, cookie=b"cookie_1")
    codec = codec_of(full)
    data = codec.encode(full)
    assert codec.decode(data) == full
    assert len(data) <= bound(full)

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling import associations_seen
from netserv.signaling.associations_seen import AssociationsSeen, Found
from netserv.signaling.gist import wire
from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.messages import MaHello
from netserv.signaling.pcap_io import Packet
from tests.netserv.signaling.gist.gist_messages import VECTORS

CONFIRM, HELLO = VECTORS["ka_confirm_tcp"].message, wire.encode(MaHello(hello_id=7))
DATA = VECTORS["ka_data_dmode"].message
ASKER, ANSWERER = (packed("10.71.1.1"), 40_000), (packed("10.71.2.2"), 4711)


def segment(
    payload: bytes, at: int, *, back: bool = False, opens: bool = False, ends: bool = False, breaks: bool = False
) -> Packet:
    return Packet(
        number=1,
        time=0.0,
        tcp=True,
        source=ANSWERER if back else ASKER,
        destination=ASKER if back else ANSWERER,
        ip_ttl=64,
        router_alert=False,
        payload=payload,
        sequence=at % (1 << 32),
        opens=opens,
        ends=ends,
        breaks=breaks,
    )


def taken(seen: AssociationsSeen, *segments: Packet) -> list[Found]:
    return [found for one in segments for found in seen.segment(one)]


def messages(found: list[Found]) -> list[bytes]:
    assert all(one.note is None for one in found)
    return [one.data for one in found]


def test_connection_that_begins_with_a_confirm_is_an_association_both_ways() -> None:
    seen = AssociationsSeen()
    found = taken(
        seen, segment(b"", 9, opens=True), segment(CONFIRM, 10), segment(HELLO, 500, back=True), segment(HELLO, 150)
    )
    assert messages(found) == [CONFIRM, HELLO, HELLO]
    assert [one.source for one in found] == [ASKER, ANSWERER, ASKER]


def test_other_connections_are_passed_over() -> None:
    seen = AssociationsSeen()
    assert taken(seen, segment(b"GET / HTTP/1.1\r\n\r\n", 1), segment(DATA, 500, back=True), segment(DATA, 19)) == []
    assert seen.finish() == []


def test_connection_to_a_named_port_is_one_whatever_it_begins_with() -> None:
    seen = AssociationsSeen([4711])
    assert messages(taken(seen, segment(b"", 9, opens=True), segment(DATA[:20], 10), segment(DATA[20:], 30))) == [DATA]
    assert taken(AssociationsSeen([4712]), segment(CONFIRM, 10)) == []


def test_first_segment_of_three_bytes_is_no_hindrance_on_a_named_port() -> None:
    seen = AssociationsSeen([4711])
    assert messages(taken(seen, segment(b"", 9, opens=True), segment(CONFIRM[:3], 10), segment(CONFIRM[3:], 13))) == [
        CONFIRM
    ]


@given(st.integers(0, 9_999).map(Random), st.integers(0, (1 << 32) - 1), st.integers(4, 70))
def test_segments_in_disorder_doubled_and_overlapping_make_the_same_messages(
    rng: Random, beginning: int, size: int
) -> None:
    """The sequence number runs over its end in some of them."""
    stream = (CONFIRM + HELLO + DATA) * 3
    seen = AssociationsSeen([4711])
    pieces = [(at, stream[at : at + size + rng.randint(0, 9)]) for at in range(0, len(stream), size)]
    pieces += rng.sample(pieces, k=len(pieces) // 3)
    rng.shuffle(pieces)
    opening = segment(b"", beginning - 1, opens=True)
    found = taken(seen, opening, *(segment(piece, beginning + at) for at, piece in pieces))
    assert messages(found) == [CONFIRM, HELLO, DATA] * 3
    assert seen.finish() == []


def test_stream_that_ends_in_a_message_says_so() -> None:
    seen = AssociationsSeen()
    found = taken(seen, segment(CONFIRM + HELLO[:5], 10), segment(b"", 155, ends=True))
    assert [(one.data, one.note) for one in found] == [
        (CONFIRM, None),
        (HELLO[:5], "the stream ends in the middle of it"),
    ]


def test_reset_ends_both_ways() -> None:
    seen = AssociationsSeen()
    found = taken(
        seen, segment(CONFIRM + b"\1", 10), segment(HELLO + b"\1", 500, back=True), segment(b"", 155, breaks=True)
    )
    assert [one.source for one in found if one.note] == [ASKER, ANSWERER]
    assert seen.finish() == []


def test_end_of_the_capture_in_a_message_says_so() -> None:
    seen = AssociationsSeen()
    assert messages(taken(seen, segment(CONFIRM + HELLO[:5], 10))) == [CONFIRM]
    assert [one.data for one in seen.finish()] == [HELLO[:5]]


def test_lost_segment_costs_what_waited_and_the_next_message_is_found() -> None:
    seen = AssociationsSeen()
    taken(seen, segment(CONFIRM, 0))
    at, found = 10_000, []
    while not found:
        found = taken(seen, segment(HELLO * 60, at))
        at += len(HELLO) * 60
    assert [one.note for one in found] == ["segments are missing in the capture"]
    assert at < 10_000 + 2 * associations_seen.WAITING_MAX
    assert taken(seen, segment(HELLO[8:], at)) == []
    assert messages(taken(seen, segment(HELLO, at + 8))) == [HELLO]


def test_small_segments_behind_a_gap_are_bounded_by_their_number() -> None:
    seen = AssociationsSeen()
    taken(seen, segment(CONFIRM, 0))
    found = [one for at in range(2_000) for one in taken(seen, segment(b"x", 10_000 + 2 * at))]
    assert len(found) == 1


def test_senseless_stream_is_reported_once() -> None:
    seen = AssociationsSeen()
    found = taken(seen, segment(CONFIRM + HELLO + b"\2senseless", 0), segment(b"more of it", 167), segment(HELLO, 300))
    assert [one.note is None for one in found] == [True, True, False, True]
    assert found[2].data == b"\2senseless"


def test_tls_on_a_named_port_is_said_once() -> None:
    seen = AssociationsSeen([4711])
    found = taken(seen, segment(b"", 9, opens=True), *(segment(b"\x16\x03\x01hello", 10 + 8 * at) for at in range(3)))
    assert [one.note for one in found] == ["TLS: what is inside cannot be read"]


def test_connection_on_the_same_ports_begins_anew() -> None:
    seen = AssociationsSeen()
    found = taken(seen, segment(CONFIRM, 10), segment(b"", 900, opens=True), segment(CONFIRM, 901))
    assert messages(found) == [CONFIRM, CONFIRM]


def test_number_of_connections_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(associations_seen, "WAYS_MAX", 10)
    seen = AssociationsSeen()
    for port in range(50):
        one = segment(CONFIRM + b"\1", 0)
        seen.segment(
            Packet(**{name: getattr(one, name) for name in one.__struct_fields__} | {"source": (b"1234", port)})
        )
    assert len(seen.finish()) == 10

"""What is said over a connection comes back as it was, and whatever else arrives is refused."""

import contextlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.bulk_wire import (
    COPIES_MAX,
    FRAME_MAX,
    PAGE_BYTES,
    TRANSFER_BYTES_MAX,
    BulkCodec,
    Fetching,
    Gauge,
    Greeting,
    Records,
    Said,
    Sending,
    Statuses,
    pages,
)
from mdht.subnet.errors import WireError
from mdht.subnet.messages import AckStatus
from tests.mdht.subnet.link_messages import eights, exactly, keys, tuples

KEY, OTHER = b"k" * 16, b"o" * 16
sayings: st.SearchStrategy[Said] = st.one_of(
    st.builds(Greeting, nonce=exactly(16), hid=eights),
    st.builds(Fetching, subnet_tag=eights, hid=eights, qid=eights, key=keys, cached=st.none() | st.booleans()),
    st.builds(Sending, subnet_tag=eights, hid=eights, qid=eights),
    st.builds(Records, records=tuples(st.binary(max_size=300), 8), more=st.booleans()),
    st.builds(Statuses, statuses=tuples(st.sampled_from(AckStatus), 20)),
)


def heard(codec: BulkCodec, data: bytes, step: int) -> list[Said]:
    """What a codec makes of bytes that arrive in pieces."""
    found = []
    for at in range(0, len(data), step):
        codec.feed(data[at : at + step])
        while (said := codec.next_said()) is not None:
            found.append(said)
    return found


@given(st.lists(sayings, max_size=5), st.sampled_from([(), (KEY,)]), st.integers(1, 400))
def test_a_conversation_comes_back_as_it_was_however_it_is_cut(
    said: list[Said], shared: tuple[bytes, ...], step: int
) -> None:
    speaker = BulkCodec("office", shared)
    data = b"".join([speaker.encode(each) for each in said])
    assert heard(BulkCodec("office", shared), data, step) == said


def test_both_speak_in_turn_and_each_code_holds_at_its_place_only() -> None:
    ours, theirs = BulkCodec("office", [KEY]), BulkCodec("office", [KEY])
    greeting = ours.encode(Greeting(nonce=bytes(16), hid=bytes(8)))
    assert heard(theirs, greeting, 100)
    question = theirs.encode(Fetching(subnet_tag=bytes(8), hid=bytes(8), qid=bytes(8), key=bytes(20)))
    assert heard(ours, question, 100)
    # The same question on a connection whose greeting had another number.
    other = BulkCodec("office", [KEY])
    other.encode(Greeting(nonce=b"x" * 16, hid=bytes(8)))
    with pytest.raises(WireError, match="key"):
        heard(other, question, 100)


@pytest.mark.parametrize(
    ("speaker", "listener", "why"),
    [
        (BulkCodec("home"), BulkCodec("office"), "another overlay"),
        (BulkCodec("office", [OTHER]), BulkCodec("office", [KEY]), "shared key"),
        (BulkCodec("office"), BulkCodec("office", [KEY]), "behind the body|shared key"),
        (BulkCodec("office", [KEY]), BulkCodec("office"), "none is configured"),
    ],
)
def test_strangers_are_refused(speaker: BulkCodec, listener: BulkCodec, why: str) -> None:
    with pytest.raises(WireError, match=why):
        heard(listener, speaker.encode(Greeting(nonce=bytes(16), hid=bytes(8))), 500)


def test_mutated_bytes_raise_nothing_but_the_wire_error() -> None:
    rng = Random(1)
    speaker = BulkCodec("office")
    whole = [
        speaker.encode(Greeting(nonce=bytes(16), hid=bytes(8))),
        speaker.encode(Records(records=(b"one", b"two"), more=True)),
        speaker.encode(Statuses(statuses=(AckStatus.FULL,))),
    ]
    for turn in range(20_000):
        data = bytearray(whole[turn % 3])
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(WireError):
            heard(BulkCodec("office"), bytes(data), len(data))


def test_records_go_in_frames_and_too_many_are_refused_by_both() -> None:
    records = [bytes([number % 256]) * 900 for number in range(1000)]
    found = pages(records)
    assert len(found) > 10
    assert [record for page in found for record in page.records] == records
    assert [page.more for page in found] == [True] * (len(found) - 1) + [False]
    gauge = Gauge()
    for page in found:
        gauge.add(page)
        assert len(BulkCodec("office", [KEY]).encode(page)) <= FRAME_MAX
    assert pages([]) == [Records(records=(), more=False)]
    with pytest.raises(ValueError, match="more than one transfer"):
        pages([b""] * (COPIES_MAX + 1))
    with pytest.raises(ValueError, match="more than one transfer"):
        pages([bytes(1000)] * (TRANSFER_BYTES_MAX // 1000 + 1))
    with pytest.raises(ValueError, match="does not fit"):
        pages([bytes(PAGE_BYTES)])
    with pytest.raises(WireError, match="more than one transfer"):
        gauge.add(Records(records=(b"",) * COPIES_MAX, more=False))
    with pytest.raises(WireError, match="promises more"):
        Gauge().add(Records(records=(), more=True))


def test_a_frame_that_is_too_large_is_refused_before_it_has_arrived() -> None:
    frame = bytearray(BulkCodec("office").encode(Greeting(nonce=bytes(16), hid=bytes(8))))
    frame[6:10] = (FRAME_MAX + 1).to_bytes(4, "big")
    codec = BulkCodec("office")
    codec.feed(bytes(frame[:14]))
    with pytest.raises(WireError, match="a frame holds"):
        codec.next_said()

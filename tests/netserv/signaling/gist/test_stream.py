from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.gist import wire
from netserv.signaling.gist.errors import ErrorCode, GistError, HeaderFault
from netserv.signaling.gist.messages import MaHello, Message
from netserv.signaling.gist.stream import StreamCutter
from tests.netserv.signaling.gist.gist_messages import MESSAGES, VECTORS

HELLO = wire.encode(MaHello(hello_id=7))


@given(st.lists(MESSAGES, max_size=4), st.data())
def test_stream_is_cut_wherever_the_segments_end(messages: list[Message], data: st.DataObject) -> None:
    written = [wire.encode(message) for message in messages]
    stream = b"".join(written)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    cutter, found = StreamCutter(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += cutter.feed(stream[begin:end])
    assert found == written
    assert cutter.rest == b""


@pytest.mark.parametrize("name", ["ka_confirm_tcp", "ka_ma_hello_reply_tcp"])
def test_golden_stream_is_cut_byte_by_byte(name: str) -> None:
    message = VECTORS[name].message
    cutter = StreamCutter()
    found = [one for byte in message * 2 for one in cutter.feed(bytes((byte,)))]
    assert found == [message, message]


def test_beginning_of_the_next_message_waits() -> None:
    cutter = StreamCutter()
    assert cutter.feed(HELLO + HELLO[:5]) == [HELLO]
    assert cutter.rest == HELLO[:5]
    assert cutter.feed(HELLO[5:]) == [HELLO]


def test_other_version_is_refused_at_its_first_byte() -> None:
    with pytest.raises(GistError) as refused:
        StreamCutter().feed(b"\2")
    assert (refused.value.code, refused.value.subcode) == (ErrorCode.COMMON_HEADER_PARSE_ERROR, HeaderFault.VERSION)


def test_message_over_the_limit_is_refused_before_it_has_come() -> None:
    long = bytes.fromhex("0101002000000300")
    assert StreamCutter(message_max=8 + 4 * 32).feed(long) == []
    with pytest.raises(GistError) as refused:
        StreamCutter(message_max=8 + 4 * 31).feed(long)
    assert (refused.value.code, refused.value.subcode) == (ErrorCode.COMMON_HEADER_PARSE_ERROR, HeaderFault.LENGTH)


def test_messages_before_a_bad_one_are_not_lost() -> None:
    cutter = StreamCutter()
    assert cutter.feed(HELLO + b"\2nonsense") == [HELLO]
    for _ in range(2):
        with pytest.raises(GistError):
            cutter.feed(b"")
    assert cutter.rest == b"\2nonsense"


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_stream_is_cut_or_refused_within_the_limit(pieces: list[bytes]) -> None:
    cutter = StreamCutter(message_max=100)
    with suppress(GistError):
        for piece in pieces:
            for message in cutter.feed(piece):
                assert 8 <= len(message) <= 100
            assert len(cutter.rest) <= 100 + len(piece)

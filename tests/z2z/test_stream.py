import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.exports import item, stored
from z2z.errors import RemoteProtocolError
from z2z.keys import dht_key
from z2z.stream import LINE_MAX, StreamEvent, decode_line, encode_line

VALUE = stored(item())
PLUS = StreamEvent(
    event="+", key=dht_key("office"), writer=VALUE.writer, name=VALUE.name, lease_s=300, value=VALUE.value
)


def test_a_line_comes_back_as_it_went():
    assert decode_line(encode_line(PLUS)) == PLUS
    minus = StreamEvent(event="-", key=PLUS.key, writer=PLUS.writer, name=PLUS.name)
    assert decode_line(encode_line(minus)) == minus


def test_a_line_can_be_read_by_people():
    text = encode_line(PLUS).decode()
    assert text.count("\n") == 1
    shown = json.loads(text)
    assert (shown["event"], shown["service"], shown["where"]) == ("+", "Tom's Music", ["198.51.100.7:3689"])


def good(**changes):
    return json.dumps({**json.loads(encode_line(PLUS)), **changes}).encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not a z2z event"),
        (b"{}", "not a z2z event"),
        (good(event="?"), "not a z2z event"),
        (good(key="00"), "not a z2z event"),
        (good(key="xyz"), "not a z2z event"),
        (good(value="%%%"), "not a z2z event"),
        (good(value=""), "with a value of 0 bytes"),
        (good(event="-"), "'-' with a value"),
        (good(lease_s=-1), "not a z2z event"),
        (good(lease_s=1e12), "not a z2z event"),
        (good(name="00" * 65), "not a z2z event"),
        (b"[" * 10_000, "not JSON|not a z2z event"),
        (b" " * (LINE_MAX + 1), "more than"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason(line, reason):
    with pytest.raises(RemoteProtocolError, match=reason):
        decode_line(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_refused(data):
    with suppress(RemoteProtocolError):
        decode_line(data)


@given(
    st.builds(
        StreamEvent,
        event=st.sampled_from(["+", "~"]),
        key=st.binary(min_size=20, max_size=20),
        writer=st.binary(max_size=32),
        name=st.binary(max_size=64),
        lease_s=st.floats(0, 1000),
        value=st.binary(min_size=1, max_size=200),
    )
)
def test_every_event_survives_its_line(event):
    assert decode_line(encode_line(event)) == event

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.service import LastBy
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.responses import FIXED, Response, StackEntry, decode, encode, is_response, pushed
from netserv.signaling.nslp.text import RESPONSE_BYTES_MAX, padded
from netserv.signaling.nslp.values import ModuleRef
from tests.netserv.signaling.nslp.request_values import modules, texts, words

line_names = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True).filter(lambda name: name not in FIXED)
entries = st.builds(
    StackEntry,
    node_id=words,
    address=st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    hops=st.integers(0, 255),
    code=st.sampled_from(list(Code)).map(int) | st.integers(100, 599),
    text=texts,
    last_by=st.none() | st.sampled_from(LastBy),
    lines=st.dictionaries(line_names, texts, max_size=4).map(lambda table: tuple(table.items())),
    signature=st.none() | st.binary(min_size=64, max_size=64),
)
responses = st.builds(
    Response,
    target=st.none() | modules,
    request=st.binary(min_size=16, max_size=16),
    code=st.integers(100, 599),
    truncated=st.integers(0, 99),
    others=st.dictionaries(st.from_regex(r"x-[a-z0-9]{0,9}", fullmatch=True), texts, max_size=2).map(
        lambda table: tuple(table.items())
    ),
    stack=st.lists(entries, max_size=4).map(tuple),
)
REQUEST = bytes(range(16))
N1 = StackEntry(node_id="n1", address=packed("10.0.1.1"), hops=1, code=202, text="work has begun")
N2 = StackEntry(
    node_id="n2", address=packed("2001:db8::2"), hops=2, code=401, text="ü", last_by=LastBy.ICMP, lines=(("load", "1"),)
)
TEXT = (
    "RESPONSE NetServ.apps.NetMonitor_1.0.0 NETSERV/0.1\n"
    "request:000102030405060708090a0b0c0d0e0f\n"
    "code:401\n"
    "\n"
    "node-id:n2\n"
    "address:2001:db8::2\n"
    "hops:2\n"
    "code:401\n"
    "text:ü\n"
    "last-by:icmp\n"
    "load:1\n"
    "\n"
    "node-id:n1\n"
    "address:10.0.1.1\n"
    "hops:1\n"
    "code:202\n"
    "text:work has begun\n"
    "\n"
)


def unread(response: Response) -> Response:
    """As if its entries had not come from a text."""
    stack = tuple(msgspec.structs.replace(entry, block=b"") for entry in response.stack)
    return msgspec.structs.replace(response, stack=stack)


@given(responses)
def test_responses_come_back_as_they_were(response: Response) -> None:
    read = decode(padded(encode(response)))
    assert unread(read) == response
    assert encode(read) == encode(response)


@given(responses, st.data())
@settings(max_examples=300)
def test_any_change_of_a_response_is_read_or_one_error(response: Response, data: st.DataObject) -> None:
    text = bytearray(encode(response))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(NslpError):
        assert decode(encode(decode(bytes(text)))) == decode(bytes(text))


@given(st.binary(max_size=99))
def test_any_bytes_are_read_or_one_error(data: bytes) -> None:
    for start in (b"", b"RESPONSE * NETSERV/0.1\n", TEXT.encode()):
        with suppress(NslpError):
            decode(start + data)


def test_each_node_puts_its_entry_behind_the_others() -> None:
    response = Response(target=ModuleRef("NetServ.apps.NetMonitor", "1.0.0"), request=REQUEST, code=200)
    response = pushed(pushed(response, N2), N1)
    assert encode(response).decode() == TEXT
    assert [entry.node_id for entry in response.nearest_first()] == ["n1", "n2"]
    assert is_response(encode(response))
    assert not is_response(b"PROBE * NETSERV/0.1\n")


def test_the_code_is_the_largest() -> None:
    response = Response(target=None, request=REQUEST, code=200)
    assert pushed(response, N1).code == 202
    assert pushed(pushed(response, N2), N1).code == 401


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RESPONSE", "PROBE"),
        ("request:000102030405060708090a0b0c0d0e0f\n", ""),
        ("request:0001", "request:"),
        ("code:401\n\n", "\n"),
        ("code:401\n\n", "code:4\n\n"),
        ("code:401\n\n", "code:600\n\n"),
        ("code:401\n\n", "code:401\ncode:401\n\n"),
        ("code:401\n\n", "code:401\n\n\n"),
        ("code:401\n\n", "code:401\ntruncated:-1\n\n"),
        ("node-id:n2\n", ""),
        ("node-id:n2\n", "node-id:\n"),
        ("node-id:n2\n", "node-id:a b\n"),
        ("address:10.0.1.1\n", ""),
        ("address:10.0.1.1\n", "address:10.0.1\n"),
        ("hops:1\n", "hops:\n"),
        ("hops:1\n", "hops:-1\n"),
        ("last-by:icmp", "last-by:magic"),
        ("load:1", "load:1\nload:1"),
        ("load:1", f"signature:{'A' * 85}Q==\nload:1"),
        ("load:1", "signature:A"),
        ("text:work has begun\n\n", "text:work has begun\n"),
        ("text:work", "text:" + "x" * 512),
    ],
)
def test_strange_responses_are_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(NslpError):
        decode(TEXT.replace(old, new, 1).encode())


def test_a_caller_meets_the_checks_of_the_text() -> None:
    for change in (
        {"node_id": "a b"},
        {"address": bytes(5)},
        {"hops": -1},
        {"code": 99},
        {"text": "a\nb"},
        {"text": "x" * 513},
        {"lines": (("load", "1"), ("load", "2"))},
        {"lines": (("code", "200"),)},
        {"lines": (("Load", "1"),)},
    ):
        with pytest.raises(NslpError):
            msgspec.structs.replace(N1, **change)
    for change in (
        {"request": bytes(15)},
        {"code": 1000},
        {"truncated": -1},
        {"others": (("code", "1"),)},
        {"others": (("x", "1"), ("x", "1"))},
    ):
        with pytest.raises(NslpError):
            msgspec.structs.replace(Response(target=None, request=REQUEST, code=200), **change)


def test_a_stack_without_room_grows_no_more_and_counts() -> None:
    response = Response(target=None, request=REQUEST, code=200)
    big = msgspec.structs.replace(N1, lines=tuple((f"line-{number}", "x" * 500) for number in range(8)))
    sizes = []
    for _ in range(6):
        response = pushed(response, big)
        sizes.append(len(response.stack))
    assert sizes == [1, 2, 3, 3, 3, 3]
    assert response.truncated == 3
    assert len(encode(response)) <= RESPONSE_BYTES_MAX
    small = pushed(response, N2)
    assert (len(small.stack), small.truncated, small.code) == (3, 4, 401)
    assert decode(encode(small)).truncated == 4


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=12), st.integers(300, RESPONSE_BYTES_MAX))
def test_a_stack_never_passes_its_limit_and_loses_no_node_unseen(sizes: list[int], bytes_max: int) -> None:
    response = Response(target=None, request=REQUEST, code=200)
    for count, size in enumerate(sizes, 1):
        lines = tuple((f"line-{number}", "x" * min(500, size - number * 500)) for number in range(-(-size // 500)))
        response = pushed(response, msgspec.structs.replace(N1, lines=lines), bytes_max=bytes_max)
        assert len(encode(response)) <= bytes_max
        assert len(response.stack) + response.truncated == count
    assert decode(encode(response)).truncated == response.truncated


def test_a_text_over_the_limit_is_refused() -> None:
    with pytest.raises(NslpError) as caught:
        decode(TEXT.encode() + b"x" * RESPONSE_BYTES_MAX)
    assert caught.value.code is Code.TOO_LARGE

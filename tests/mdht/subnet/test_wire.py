import contextlib
import json
from pathlib import Path
from random import Random
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.errors import WireError
from mdht.subnet.identity import POLICY_MAX, Identity, Kind
from mdht.subnet.messages import COPIES_MAX, Bye, Message, Ping, View
from mdht.subnet.wire import BODIES, DATAGRAM_MAX, Header, LinkCodec
from tests.mdht.subnet.link_messages import EXAMPLES, EXAMPLES_IN_FULL, HEADER, headers, messages

VECTORS = Path(__file__).with_name("vectors.json")
KEY = b"k" * 16
MUTATIONS = 1_000_000
TO_ALL = msgspec.structs.replace(HEADER, to_all=True)
PING = Ping(nonce=b"noncenon")


def mutated(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(4):
            case 0 if changed:
                changed[at] = rng.randrange(256)
            case 1 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at:]
            case _:
                changed[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(changed)


@given(headers, messages)
def test_every_message_comes_back_as_it_was(header: Header, message: Message) -> None:
    for codec in (LinkCodec("office"), LinkCodec("office", [KEY])):
        assert codec.decode(codec.encode(header, message)) == (header, message)


def test_every_message_has_a_number_and_an_example() -> None:
    assert set(BODIES) == set(get_args(Message)) == {type(example) for example in EXAMPLES}
    assert len({number for number, _ in BODIES.values()}) == len(BODIES)


def test_every_message_has_the_published_bytes() -> None:
    codec, keyed = LinkCodec("office"), LinkCodec("office", [KEY])
    found = {type(example).__name__: codec.encode(HEADER, example).hex() for example in EXAMPLES}
    found |= {name: codec.encode(HEADER, example).hex() for name, example in EXAMPLES_IN_FULL.items()}
    found["Ping with a key"] = keyed.encode(HEADER, PING).hex()
    found["Bye to all"] = codec.encode(TO_ALL, Bye(handed_over=True)).hex()
    found["Bye to all, with a key"] = keyed.encode(TO_ALL, Bye(handed_over=True)).hex()
    assert found == json.loads(VECTORS.read_text())


def test_mutated_datagrams_raise_nothing_but_the_wire_error() -> None:
    rng = Random(1)
    codec = LinkCodec("office")
    whole = [codec.encode(HEADER, example) for example in (*EXAMPLES, *EXAMPLES_IN_FULL.values())]
    refused = 0
    for turn in range(MUTATIONS):
        try:
            codec.decode(mutated(whole[turn % len(whole)], rng))
        except WireError:
            refused += 1
    assert MUTATIONS / 2 < refused < MUTATIONS


@given(st.binary(max_size=100))
def test_any_bytes_raise_nothing_but_the_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        LinkCodec("office").decode(data)


def test_a_field_of_a_later_version_is_skipped() -> None:
    codec = LinkCodec("office")
    data = bytearray(codec.encode(HEADER, PING))
    data += b"\xc8\x00\x03new"
    data[6:8] = (len(data) - 36).to_bytes(2, "big")
    assert codec.decode(bytes(data)) == (HEADER, PING)


def test_a_heartbeat_with_all_it_can_have_fits_a_datagram() -> None:
    here = EXAMPLES_IN_FULL["Here with its subnet"]
    full = msgspec.structs.replace(
        here,
        addresses=(("2001:db8::7", 27183),) * 4,
        identity=Identity(Kind.NAME, b"x" * 64, b"saltsalt"),
        policy="x" * POLICY_MAX,
    )
    assert len(LinkCodec("office", [KEY]).encode(HEADER, full)) < 400
    most = msgspec.structs.replace(full, unheard=(b"unheard0",) * COPIES_MAX)
    assert len(LinkCodec("office", [KEY]).encode(HEADER, most)) <= DATAGRAM_MAX


def test_that_a_datagram_is_for_all_is_proved_as_the_rest_of_it() -> None:
    codec = LinkCodec("office", [KEY])
    data = bytearray(codec.encode(HEADER, PING))
    data[5] |= 2
    with pytest.raises(WireError, match="does not prove"):
        codec.decode(bytes(data))


@pytest.mark.parametrize("name", [b"", b"x" * 41, b"full\n", b"f\xc3\xbcll"])
def test_what_cannot_be_the_name_of_a_policy_is_refused(name: bytes) -> None:
    codec = LinkCodec("office")
    data = bytearray(codec.encode(HEADER, EXAMPLES_IN_FULL["Here with its subnet"]))
    at = data.index(b"fixed:3")
    data[at - 2 :] = len(name).to_bytes(2, "big") + name
    data[6:8] = (len(data) - 36).to_bytes(2, "big")
    with pytest.raises(WireError, match="policy"):
        codec.decode(bytes(data))


def test_a_message_of_a_later_version_is_counted() -> None:
    codec = LinkCodec("office")
    data = bytearray(codec.encode(HEADER, PING))
    data[4] = 200
    assert codec.decode(bytes(data)) is None
    assert codec.strange == 1


def test_a_datagram_of_another_overlay_is_counted() -> None:
    codec = LinkCodec("home")
    assert codec.decode(LinkCodec("office").encode(HEADER, PING)) is None
    assert codec.strange == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "nonce"),
        (b"\x01\x00\x08noncenon" * 2, "nonce twice"),
        (b"\x01\x00\x07noncen1", "8 bytes wanted"),
        (b"\x01\x00\x09noncenonc", "1 bytes too many"),
        (b"\x01\x00\xffnoncenon", "255 bytes wanted"),
        (b"\x01\x00", "3 bytes wanted"),
    ],
)
def test_a_body_that_is_wrong_is_refused(body: bytes, why: str) -> None:
    codec = LinkCodec("office")
    head = bytearray(codec.encode(HEADER, PING)[:36])
    head[6:8] = len(body).to_bytes(2, "big")
    with pytest.raises(WireError, match=why):
        codec.decode(bytes(head) + body)


def test_too_many_of_a_field_are_refused() -> None:
    codec = LinkCodec("office")
    body = b"\x02\x00\x06\xc0\x00\x02\x07\x6a\x2f" * 5
    head = bytearray(codec.encode(HEADER, PING)[:36])
    head[4] = 2
    head[6:8] = len(body).to_bytes(2, "big")
    with pytest.raises(WireError, match="more than 4 addresses"):
        codec.decode(bytes(head) + body)


def test_without_the_key_nothing_is_believed() -> None:
    ours = LinkCodec("office", [KEY])
    for codec in (LinkCodec("office"), LinkCodec("office", [b"x" * 16])):
        with pytest.raises(WireError, match=r"key|bytes behind"):
            ours.decode(codec.encode(HEADER, PING))
    with pytest.raises(WireError, match="none is configured"):
        LinkCodec("office").decode(ours.encode(HEADER, PING))


def test_the_former_key_is_accepted_while_keys_are_replaced() -> None:
    former, both = LinkCodec("office", [KEY]), LinkCodec("office", [b"new" * 5, KEY])
    assert both.decode(former.encode(HEADER, PING)) == (HEADER, PING)
    with pytest.raises(WireError, match="does not prove"):
        former.decode(both.encode(HEADER, PING))


def test_a_changed_bit_breaks_the_proof() -> None:
    codec = LinkCodec("office", [KEY])
    data = codec.encode(HEADER, Bye(handed_over=True))
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(WireError):
            assert codec.decode(bytes(changed)) is None, "of another overlay: nothing is believed either"


def test_a_message_too_large_for_a_datagram_is_not_made() -> None:
    with pytest.raises(ValueError, match=f"a datagram holds {DATAGRAM_MAX}"):
        LinkCodec("office").encode(HEADER, View(epoch=1, members=EXAMPLES[13].members * 40))

import hashlib
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserv_discovery.errors import LocalProtocolError, Refusal, RemoteProtocolError
from netserv_discovery.location import Location
from netserv_discovery.record import (
    AHEAD_MAX_S,
    LIST_MAX,
    OFFERS_MAX,
    RECORD_MAX,
    SPLIT_BYTES,
    NodeRecord,
    check_signature,
    decode,
    decode_list,
    encode,
    made_name,
    split,
)
from netserv_discovery.versions import Offer
from tests.netserv_discovery.strategies import KEY, OTHER_KEY, UNIX, records

RECORD = NodeRecord(
    public_key=KEY.public_key,
    node_id=made_name(KEY.public_key),
    addresses=(b"\xa0\x27\xf3\x63",),
    ping_port=4_270,
    blocks=(Offer("ffmpeg", "6.1"), Offer("http", "1.0")),
    modules=(Offer("NetServ.apps.NetMonitor", "1.0.0"),),
    location=Location(40.71, -74.01),
    operator="Columbia",
    issued=UNIX - 10,
    expires=UNIX + 290,
)


def changed(**changes) -> NodeRecord:
    return msgspec.structs.replace(RECORD, **changes)


def refusal(data: bytes, unix_now: float = UNIX) -> Refusal:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data, unix_now)
    return caught.value.code


@settings(max_examples=40)  # each signs
@given(records())
def test_a_record_comes_back_as_it_went(record):
    with suppress(LocalProtocolError):  # too long: the only thing that may be wrong with it
        data = encode(record, KEY)
        assert decode(data, UNIX) == record
        assert len(data) <= RECORD_MAX


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_refused(data):
    with pytest.raises(RemoteProtocolError):
        decode(data, UNIX)


@given(st.integers(0, 1_000), st.integers(0, 255), st.booleans())
def test_any_change_of_a_record_is_refused(at, byte, cut):
    good = encode(RECORD, KEY)
    at %= len(good)
    bad = good[:at] if cut else good[:at] + bytes([byte]) + good[at + 1 :]
    if bad != good:
        with pytest.raises(RemoteProtocolError):
            decode(bad, UNIX)


@settings(max_examples=40)  # each signs
@given(st.recursive(st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=9), st.lists, max_leaves=30))
def test_any_msgpack_signed_by_anybody_is_refused(value):
    with suppress(OverflowError):
        body = msgspec.msgpack.encode(value)
        with pytest.raises(RemoteProtocolError):
            decode(body + KEY.sign(body), UNIX)


def test_a_typical_record_takes_one_piece_of_the_dht():
    assert len(encode(RECORD, KEY)) < 300


def test_a_record_counts_from_its_issue_to_its_end():
    data = encode(RECORD, KEY)
    assert decode(data, RECORD.issued - AHEAD_MAX_S) == RECORD
    assert decode(data, RECORD.expires - 0.001) == RECORD
    assert refusal(data, RECORD.expires) is Refusal.EXPIRED
    assert refusal(data, RECORD.issued - AHEAD_MAX_S - 1) is Refusal.TOO_FAR_AHEAD


def test_a_record_signed_by_another_key_is_refused():
    data = encode(RECORD, KEY)
    assert refusal(data[:-64] + OTHER_KEY.sign(data[:-64])) is Refusal.BAD_SIGNATURE
    assert refusal(data[:-64] + bytes(64)) is Refusal.BAD_SIGNATURE
    with pytest.raises(LocalProtocolError, match="key of its node"):
        encode(RECORD, OTHER_KEY)


def test_the_signature_can_be_left_for_later():
    data = encode(RECORD, KEY)
    forged = data[:-1] + bytes([data[-1] ^ 1])
    record = decode(forged, UNIX, verified=False)
    with pytest.raises(RemoteProtocolError):
        check_signature(record, forged)
    check_signature(record, data)


def test_a_signature_for_another_purpose_does_not_fit():
    data = encode(RECORD, KEY)
    assert refusal(data[:-64] + KEY.sign(data[:-64])) is Refusal.BAD_SIGNATURE


def test_the_made_name_of_another_key_is_refused():
    name = made_name(OTHER_KEY.public_key)
    with pytest.raises(LocalProtocolError, match="made from another key"):
        encode(changed(node_id=name), KEY)
    data = encode(changed(node_id="z" + name[1:]), KEY)
    body = data[:-64].replace(b"z" + name[1:].encode(), name.encode())
    assert refusal(body + KEY.sign(b"netserv node record 1\0" + body)) is Refusal.WRONG_NAME


def test_a_later_version_and_a_long_one_are_told_apart():
    body = msgspec.msgpack.encode([2, "other fields"])
    assert refusal(body + bytes(64)) is Refusal.VERSION
    assert refusal(bytes(RECORD_MAX + 1)) is Refusal.TOO_LONG
    assert refusal(b"") is Refusal.MALFORMED


def test_a_longer_form_of_the_same_is_refused():
    fields = msgspec.msgpack.decode(encode(RECORD, KEY)[:-64])
    body = msgspec.msgpack.encode(fields).replace(b"\xcd\x01\x0e", b"\xce\0\0\x01\x0e")  # the port in 4 bytes
    assert body != encode(RECORD, KEY)[:-64]
    assert refusal(body + KEY.sign(b"netserv node record 1\0" + body)) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"public_key": b"short"},
        {"node_id": ""},
        {"node_id": "a b"},
        {"node_id": "x" * 64},
        {"addresses": (b"12345",)},
        {"addresses": (b"1234",) * 5},
        {"gist_port": 65_536},
        {"ping_port": -1},
        {"load": 11},
        {"within_km": 0},
        {"operator": "x" * 65},
        {"operator": "a\nb"},
        {"expires": UNIX - 10},
        {"expires": UNIX + 8 * 86_400},
        {"more": b"short"},
        {"blocks": (Offer("ffmpeg", "6.1"), Offer("FFMPEG", "6.1"))},
        {"blocks": tuple(Offer(f"b{number}", "1") for number in range(OFFERS_MAX + 1))},
    ],
)
def test_what_no_record_may_say_is_refused_at_once(changes):
    with pytest.raises(LocalProtocolError):
        changed(**changes)


def test_places_are_rounded_and_without_one_nothing_is_said_of_its_exactness():
    assert changed(location=Location(40.712_345, -74.009_9)).location == Location(40.71, -74.01)
    assert changed(location=None, within_km=77) == changed(location=None, within_km=1)


def many(count: int) -> NodeRecord:
    blocks = tuple(Offer(f"building-block-{number}", "1.0.0") for number in range(count))
    return changed(blocks=blocks, modules=blocks[: count // 2])


@pytest.mark.parametrize("count", [0, 5, 15, 16, 17, 18, 40, 100, OFFERS_MAX])
def test_long_lists_go_to_a_document_of_their_own(count):
    part, document = split(many(count))
    data = encode(part, KEY)
    assert len(data) <= SPLIT_BYTES
    if document is None:
        assert part == many(count)
        return
    assert len(document) <= LIST_MAX
    offers = decode_list(document, decode(data, UNIX).more)
    assert (offers.blocks, offers.modules) == (many(count).blocks, many(count).modules)
    assert len(part.blocks) + len(part.modules) < len(offers.blocks) + len(offers.modules)
    assert set(part.blocks) <= set(offers.blocks)
    assert len(data) > SPLIT_BYTES - 40, "as many as there is room for stay"


def test_the_offer_that_is_looked_for_stays_in_the_record():
    part, _ = split(many(200), "BUILDING-block-199")
    assert part.blocks[0] == Offer("building-block-199", "1.0.0")
    part, _ = split(msgspec.structs.replace(many(200), modules=(Offer("NetMonitor", "2"),)), "netmonitor")
    assert part.modules == (Offer("NetMonitor", "2"),)


@given(st.binary(max_size=100))
def test_any_bytes_are_the_list_or_refused(data):
    _, document = split(many(100))
    with pytest.raises(RemoteProtocolError):
        decode_list(data, split(many(100))[0].more)
    with pytest.raises(RemoteProtocolError):
        decode_list(document + data[:1] + b"x", split(many(100))[0].more)


def test_a_document_of_that_digest_that_is_no_list_is_refused():
    for data in (b"", b"\x93\x02\x90\x90", b"\x93\x01\x91\x92\xa1?\xa11\x90", b"x" * (LIST_MAX + 1)):
        with pytest.raises(RemoteProtocolError):
            decode_list(data, hashlib.sha256(data).digest())


def test_names_that_fill_more_than_a_list_are_refused():
    blocks = tuple(Offer(f"{'x' * 100}{number}", "1.0.0") for number in range(OFFERS_MAX))
    with pytest.raises(LocalProtocolError, match="at most 16384"):
        split(changed(blocks=blocks))

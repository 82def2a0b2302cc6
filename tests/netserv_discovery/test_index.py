import base64
import hashlib
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserv_discovery.errors import LocalProtocolError, Refusal, RemoteProtocolError
from netserv_discovery.index import (
    RECORD_MAX,
    IndexRecord,
    check_bundle,
    choose,
    decode,
    encode,
    index_record,
    read_publishers,
)
from netserv_discovery.versions import Offer, parse_need
from tests.netserv_discovery.strategies import KEY, OTHER_KEY, UNIX, offers

BUNDLE = b"PK bundle"
BELIEVED = {KEY.public_key: "columbia"}


def record(version: str = "1.0.0", signer=KEY, **changes) -> IndexRecord:
    fields = {
        "digest": hashlib.sha256(BUNDLE).digest(),
        "size": len(BUNDLE),
        "urls": ("https://example.org/monitor.zip",),
        "issued": UNIX - 5,
        "life_s": 86_400,
    }
    return index_record(Offer("NetMonitor", version), signer.public_key, **{**fields, **changes})


def value(version: str = "1.0.0", signer=KEY, **changes) -> bytes:
    return encode(record(version, signer, **changes), signer)


@settings(max_examples=40)  # each signs
@given(offers, st.integers(1, 2**26), st.integers(0, 2**40), st.integers(1, 400 * 86_400))
def test_a_record_comes_back_as_it_went(offer, size, issued, life_s):
    made = index_record(
        offer, KEY.public_key, digest=bytes(32), size=size, urls=["http://a.example/b"], issued=issued, life_s=life_s
    )
    assert decode(encode(made, KEY), issued) == made


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    with pytest.raises(RemoteProtocolError):
        decode(data, UNIX)


@given(st.integers(0, 400), st.integers(0, 255))
def test_any_change_is_refused(at, byte):
    good = value()
    at %= len(good)
    bad = good[:at] + bytes([byte]) + good[at + 1 :]
    if bad != good:
        with pytest.raises(RemoteProtocolError):
            decode(bad, UNIX)


@settings(max_examples=40)  # each signs
@given(st.recursive(st.none() | st.integers(0, 9) | st.binary(max_size=40) | st.text(max_size=9), st.lists))
def test_any_signed_msgpack_is_refused(content):
    with suppress(OverflowError):
        body = msgspec.msgpack.encode(content)
        with pytest.raises(RemoteProtocolError):
            decode(body + KEY.sign(b"netserv index record 1\0" + body), UNIX)


@pytest.mark.parametrize(
    ("data", "unix_now", "code"),
    [
        (value(), UNIX + 86_400, Refusal.EXPIRED),
        (value(), UNIX - 1_000, Refusal.TOO_FAR_AHEAD),
        (value()[:-1] + b"\0", UNIX, Refusal.BAD_SIGNATURE),
        (bytes(RECORD_MAX + 1), UNIX, Refusal.TOO_LONG),
        (msgspec.msgpack.encode([2, 3]) + bytes(64), UNIX, Refusal.VERSION),
    ],
    ids=lambda each: None if isinstance(each, bytes) else str(each),
)
def test_what_does_not_count_says_why(data, unix_now, code):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data, unix_now)
    assert caught.value.code is code


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": b"short"},
        {"size": 0},
        {"size": 2**26 + 1},
        {"urls": ()},
        {"urls": ("https://a.example/",) * 5},
        {"urls": ("ftp://a.example/x",)},
        {"urls": ("https:///x",)},
        {"urls": ("https://user@a.example/x",)},
        {"urls": ("https://a.example/x y",)},
        {"urls": ("https://a.example:99999/",)},
        {"urls": ("https://a.example/" + "x" * 200,)},
        {"life_s": 0},
        {"life_s": 401 * 86_400},
    ],
)
def test_what_no_record_may_say_is_refused_at_once(changes):
    with pytest.raises(LocalProtocolError):
        record(**changes)


def test_only_the_publisher_signs():
    with pytest.raises(LocalProtocolError, match="key of its publisher"):
        encode(record(), OTHER_KEY)


def test_the_longest_record_fits():
    urls = tuple(f"https://a.example/{number}{'x' * 181}" for number in range(4))
    data = value(urls=urls)
    assert len(data) <= RECORD_MAX
    assert decode(data, UNIX).urls == urls


@pytest.mark.parametrize(
    ("need", "best"),
    [
        ("netmonitor", "1.10.0"),
        ("NetMonitor>=1,<1.5", "1.2.0"),
        ("NetMonitor==1.2", "1.2.0"),
        ("NetMonitor>=2", None),
    ],
)
def test_the_newest_version_that_fits_is_chosen(need, best):
    choice = choose([value(each) for each in ("1.0.0", "1.10.0", "1.2.0")], parse_need(need), BELIEVED, UNIX)
    assert (choice.best and choice.best.module.version) == best
    assert choice.refused == {}


def test_strangers_and_forgers_do_not_count_however_new():
    values = [
        value("9.0", OTHER_KEY),
        value("8.0")[:-1] + b"\0",
        value("7.0", issued=UNIX - 90_000),
        b"garbage",
        encode(msgspec.structs.replace(record(), module=Offer("Other", "9")), KEY),
        value("1.0.0"),
    ]
    choice = choose(values, parse_need("NetMonitor"), BELIEVED, UNIX)
    assert choice.best == record("1.0.0")
    assert choice.refused == {
        Refusal.UNBELIEVED: 1,
        Refusal.BAD_SIGNATURE: 1,
        Refusal.EXPIRED: 1,
        Refusal.MALFORMED: 1,
        Refusal.WRONG_PLACE: 1,
    }


def test_of_one_version_the_later_record_counts():
    old, new = value(issued=UNIX - 100), value(urls=("https://mirror.example/m.zip",))
    for values in ([old, new], [new, old]):
        choice = choose(values, parse_need("NetMonitor"), BELIEVED, UNIX)
        assert choice.best.urls == ("https://mirror.example/m.zip",)
        assert choice.refused == {Refusal.SUPERSEDED: 1}


def test_of_two_publishers_the_first_on_the_list_counts():
    values = [value("1.0.0", KEY), value("1.0.0", OTHER_KEY)]
    both = {OTHER_KEY.public_key: "first", KEY.public_key: "second"}
    choice = choose(values, parse_need("NetMonitor"), both, UNIX)
    assert choice.best.publisher == OTHER_KEY.public_key
    assert [each.publisher for each in choice.others] == [KEY.public_key]


def test_a_flood_is_cut_off():
    choice = choose([b""] * 2_000, parse_need("NetMonitor"), BELIEVED, UNIX)
    assert choice.refused == {Refusal.MALFORMED: 1_000, Refusal.TOO_MANY: 1}


def test_a_bundle_is_the_one_that_was_signed_for():
    check_bundle(record(), BUNDLE)
    for other in (b"", BUNDLE + b"x", b"PK bundlf"):
        with pytest.raises(RemoteProtocolError, match=r"NetMonitor 1\.0\.0"):
            check_bundle(record(), other)


def test_publishers_are_read_from_toml():
    one, two = (base64.b64encode(each.public_key).decode() for each in (KEY, OTHER_KEY))
    believed = read_publishers(f'columbia = "{one}"\nbell = ["{two}"]\n')
    assert believed == {KEY.public_key: "columbia", OTHER_KEY.public_key: "bell"}
    for text in ("x", "a = 1", 'a = "!!"', f'a = "{one[:20]}"', 'a = ["ä"]'):
        with pytest.raises(LocalProtocolError, match="publisher"):
            read_publishers(text)

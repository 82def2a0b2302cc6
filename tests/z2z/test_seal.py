from contextlib import suppress
from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.signing import SigningKey
from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.seal import Site, seal, site_id, unseal
from z2z.service_item import ServiceItem

SIGNER = SigningKey.from_seed(b"1" * 32)
SITE = Site(id=site_id(SIGNER.public_key), name="office")
ITEM = ServiceItem(
    instance="Tom\u2019s. Music".encode(),
    service_type="_daap._tcp",
    subtypes=("_jazz",),
    host=b"toms-mac",
    port=3689,
    txt=b"\x09txtvers=1\x03\xff\x00=",
    addresses=(ip_address("198.51.100.7"), ip_address("2001:db8::7")),
)


def sealed(item: ServiceItem = ITEM, **changes: int) -> bytes:
    return seal(item, site=SITE, signer=SIGNER, **{"seq": 5, "lease_s": 300, **changes})


def test_an_item_comes_back_as_it_went():
    opened = unseal(sealed())
    assert opened.item == ITEM
    assert (opened.site, opened.writer, opened.seq, opened.lease_s) == (SITE, SIGNER.public_key, 5, 300)
    assert opened.hops == (SITE.id,)


def test_a_typical_envelope_fits_a_datagram():
    assert len(sealed()) < 500
    large_txt = b"".join(bytes([99]) + b"x" * 99 for _ in range(7))
    assert len(sealed(msgspec.structs.replace(ITEM, txt=large_txt))) <= 1_200


def test_the_largest_txt_still_fits_an_envelope():
    largest = b"".join(bytes([249]) + b"x" * 249 for _ in range(35))
    assert unseal(sealed(msgspec.structs.replace(ITEM, txt=largest))).item.txt == largest


def test_a_changed_byte_anywhere_is_refused():
    good = sealed()
    for at in range(len(good)):
        bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        with pytest.raises(RemoteProtocolError):
            unseal(bad)


def test_a_signature_of_another_site_is_refused():
    other = SigningKey.from_seed(b"2" * 32)
    fields = msgspec.msgpack.decode(sealed())
    fields[8] = other.sign(b"anything")
    with pytest.raises(RemoteProtocolError, match="forged"):
        unseal(msgspec.msgpack.encode(fields))
    fields[3] = other.public_key
    with pytest.raises(RemoteProtocolError, match="site id"):
        unseal(msgspec.msgpack.encode(fields))


def test_another_version_is_named():
    fields = msgspec.msgpack.decode(sealed())
    fields[0] = 2
    with pytest.raises(RemoteProtocolError, match="version 2"):
        unseal(msgspec.msgpack.encode([*fields, "a field of the future"]))


def test_too_many_bytes_are_refused_unread():
    with pytest.raises(RemoteProtocolError, match="at most 16384"):
        unseal(b"\0" * 16_385)


def test_an_item_that_does_not_fit_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("z2z.seal.ENVELOPE_MAX", 100)
    with pytest.raises(LocalProtocolError, match="Music"):
        sealed()


def test_a_tail_or_a_longer_form_is_refused():
    with pytest.raises(RemoteProtocolError):
        unseal(sealed() + b"\0")
    longer = b"\xdc\x00\x09" + sealed()[1:]  # the same nine fields, counted in 16 bits
    with pytest.raises(RemoteProtocolError, match="shortest"):
        unseal(longer)


@pytest.mark.parametrize("name", ["", "x" * 64, "a\nb", "\x9b31m"])
def test_site_names_that_would_break_a_terminal_are_refused(name):
    with pytest.raises(RemoteProtocolError):
        Site(id=SITE.id, name=name)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_opened(data):
    with suppress(RemoteProtocolError):
        unseal(data)


@given(st.binary(max_size=80), st.integers(0, 400))
def test_any_splice_into_an_envelope_is_refused_cleanly(patch, at):
    good = sealed()
    bad = good[:at] + patch + good[at + len(patch) :]
    with suppress(RemoteProtocolError):
        assert unseal(bad).item == ITEM


@given(
    st.recursive(st.none() | st.integers() | st.binary() | st.text(), lambda x: st.lists(x, max_size=10), max_leaves=20)
)
def test_any_msgpack_is_refused_cleanly(value):
    try:
        data = msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return
    with pytest.raises(RemoteProtocolError):
        unseal(data)


def test_deep_nesting_is_refused_cleanly():
    with pytest.raises(RemoteProtocolError):
        unseal(b"\x92\x01" + b"\x91" * 16_000)

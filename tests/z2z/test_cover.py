"""What a store sees of items whose sites share a secret: nothing."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.exports import item, signer, site, stored
from z2z.cover import MASTER_BYTES, PLAIN, Secret
from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.exporter import ExportConfig, Exporter, Put
from z2z.importer import ImportConfig, Importer
from z2z.keys import dht_key
from z2z.presence import Register
from z2z.reports import Report
from z2z.seal import ENVELOPE_MAX
from z2z.stores.base import StoredValue

SECRET, OTHER = Secret(b"s" * MASTER_BYTES), Secret(b"o" * MASTER_BYTES)
KEY = "office"


def importer() -> Importer:
    return Importer(ImportConfig(site=site(9, "here")), Random(1))


def puts(cover) -> list[Put]:
    config = ExportConfig(site=site(), keys=(KEY,))
    effects = Exporter(config, signer(), Random(1), 100, cover).found(item(), 0)
    return [effect for effect in effects if isinstance(effect, Put)]


def shown_by_store(put: Put, cover=SECRET, writer: bytes | None = None) -> StoredValue:
    by = cover.writer(signer()).public_key if writer is None else writer
    return StoredValue(writer=by, name=put.name, value=put.value, remaining_s=300.0)


def registered(effects) -> bool:
    return any(isinstance(effect, Register) for effect in effects)


def reason(effects) -> str:
    (report,) = effects
    assert isinstance(report, Report)
    return report.reason


@given(st.binary(max_size=1000), st.integers(0, 255))
def test_what_is_sealed_comes_back_with_its_proof_and_has_one_form(envelope: bytes, seed: int) -> None:
    value = SECRET.close(envelope, signer(seed))
    assert value == SECRET.close(envelope, signer(seed))
    opened = SECRET.open(value)
    assert opened.envelope == envelope
    assert SECRET.wrote(SECRET.writer(signer(seed)).public_key, signer(seed).public_key, opened.proof)
    assert not SECRET.wrote(OTHER.writer(signer(seed)).public_key, signer(seed).public_key, opened.proof)


@given(st.binary(max_size=200), st.data())
def test_whatever_is_changed_is_refused(envelope: bytes, data: st.DataObject) -> None:
    value = bytearray(SECRET.close(envelope, signer()))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteProtocolError):
        SECRET.open(bytes(value))


@given(st.binary(max_size=300))
def test_bytes_of_strangers_are_refused(data: bytes) -> None:
    for value in (data, b"\x01" + data, OTHER.close(data, signer())):
        with pytest.raises(RemoteProtocolError):
            SECRET.open(value)


def test_an_item_passes_under_its_secret() -> None:
    for put in puts(SECRET):
        assert registered(importer().seen(KEY, shown_by_store(put), 0, SECRET))


def test_keys_are_the_same_for_whoever_types_them_otherwise_and_others_for_another_secret() -> None:
    assert SECRET.key("Joe's Music") == SECRET.key("joesmusic")
    assert len({cover.key("office") for cover in (PLAIN, SECRET, OTHER)}) == 3
    assert PLAIN.key("office") == dht_key("office")
    assert {len(SECRET.key("office")), len(SECRET.name(b"n"))} == {20}


def test_the_store_sees_neither_names_nor_places_nor_who_it_is() -> None:
    for put in puts(SECRET):
        seen = put.key + put.name + put.value + SECRET.writer(signer()).public_key
        for what in (
            b"Tom",
            b"_daap",
            b"toms-mac",
            b"office",
            bytes([198, 51, 100, 7]),
            site().id,
            signer().public_key,
        ):
            assert what not in seen, what
    assert {put.key for put in puts(SECRET)}.isdisjoint({put.key for put in puts(PLAIN)})
    assert {put.name for put in puts(SECRET)}.isdisjoint({put.name for put in puts(PLAIN)})


def test_who_writes_cannot_be_told_from_site_or_secret_and_stays_the_same() -> None:
    writers = [cover.writer(signer(seed)).public_key for cover in (SECRET, OTHER) for seed in (1, 2)]
    assert len({*writers, signer(1).public_key, signer(2).public_key}) == 6
    assert SECRET.writer(signer(1)).public_key == Secret(b"s" * MASTER_BYTES).writer(signer(1)).public_key


def test_with_another_secret_or_none_nothing_is_shown() -> None:
    (put, *_) = puts(SECRET)
    assert "another secret" in reason(importer().seen(KEY, shown_by_store(put), 0, OTHER))
    assert "not an envelope" in reason(importer().seen(KEY, shown_by_store(put), 0))
    assert "not sealed" in reason(importer().seen(KEY, stored(item()), 0, SECRET))


def test_a_copy_that_somebody_else_has_put_is_refused_whether_he_knows_the_secret_or_not() -> None:
    (put, *_) = puts(SECRET)
    for stranger in (signer(7).public_key, SECRET.writer(signer(7)).public_key):
        assert "somebody else" in reason(importer().seen(KEY, shown_by_store(put, writer=stranger), 0, SECRET))
    # One who knows it may seal the envelope anew, but not prove that the site writes by his key.
    envelope = SECRET.open(put.value).envelope
    forged = msgspec.structs.replace(put, value=SECRET.close(envelope, signer(7)))
    by = SECRET.writer(signer(7)).public_key
    assert "somebody else" in reason(importer().seen(KEY, shown_by_store(forged, writer=by), 0, SECRET))


def test_a_store_without_writers_shows_it_too() -> None:
    (put, *_) = puts(SECRET)
    assert registered(importer().seen(KEY, shown_by_store(put, writer=b""), 0, SECRET))


def test_an_item_that_only_its_secret_makes_too_large_is_not_exported() -> None:
    with pytest.raises(LocalProtocolError, match="under its secret"):
        SECRET.close(bytes(ENVELOPE_MAX), signer())


def test_a_secret_is_never_printed() -> None:
    assert repr(SECRET) == f"Secret({SECRET.fingerprint})"
    assert SECRET.fingerprint not in {OTHER.fingerprint, PLAIN.fingerprint}
    with pytest.raises(LocalProtocolError):
        Secret(b"short")

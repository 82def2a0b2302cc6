import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z2z.errors import LocalProtocolError
from z2z.keys import dht_key, normalise


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Joe's Music", "joesmusic"),
        ("joesmusic", "joesmusic"),
        ("  OFFICE-2 ", "office2"),
        ("Straße", "strasse"),
        ("\uff2f\uff26\uff26\uff29\uff23\uff25", "office"),
        ("Ökonomie №5", "ökonomieno5"),
        ("ﬁle", "file"),
        ("İstanbul", "istanbul"),
    ],
)
def test_only_letters_and_digits_of_a_key_count(typed, meant):
    assert normalise(typed) == meant


@pytest.mark.parametrize("typed", ["", " ", "'-_.", "🎵"])
def test_a_key_without_letters_and_digits_is_refused(typed):
    with pytest.raises(LocalProtocolError, match="no letter and no digit"):
        normalise(typed)


def test_the_stored_key_is_the_sha1_of_the_prefixed_text():
    assert dht_key("Joe's Music") == hashlib.sha1(b"z2z.joesmusic").digest()
    assert dht_key("Joe's Music") == dht_key("JOESMUSIC")
    assert dht_key("office") != dht_key("office 2")


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing_more(text):
    try:
        once = normalise(text)
    except LocalProtocolError:
        return
    assert normalise(once) == once
    assert normalise(text.swapcase()) == normalise(text.swapcase().swapcase().swapcase())


@given(st.text(max_size=40))
def test_any_text_gives_a_20_byte_key_or_is_refused(text):
    try:
        assert len(dht_key(text)) == 20
    except LocalProtocolError:
        return

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError
from netserv.signaling.nslp.publishers import KEYS_MAX, Publishers, publisher_line, read_publishers
from tests.netserv.signaling.nslp.request_values import words

KEY, OTHER = bytes(32), bytes(range(32))
TEXT = base64.b64encode(KEY).decode()


@given(st.dictionaries(words, st.binary(min_size=32, max_size=32), max_size=5))
def test_lines_are_read_back(keys: dict[str, bytes]) -> None:
    text = "".join(publisher_line(name, key) + "\n" for name, key in keys.items())
    assert read_publishers(text) == Publishers({name: (key,) for name, key in keys.items()})


@given(st.text(max_size=60))
def test_any_text_is_read_or_one_error(text: str) -> None:
    with suppress(LocalProtocolError):
        read_publishers(text)


def test_a_publisher_may_have_several_keys() -> None:
    publishers = read_publishers(
        f'alice = ["{TEXT}", "{base64.b64encode(OTHER).decode()}"]\n"bob@example.com" = "{TEXT}"\n'
    )
    assert publishers.keys_of("alice") == (KEY, OTHER)
    assert publishers.keys_of("bob@example.com") == (KEY,)
    assert publishers.keys_of("carol") == ()
    assert Publishers().keys_of("alice") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alice = ", "not TOML"),
        ('alice = "x"', "publisher alice: 32 bytes in base64"),
        (f'alice = "{TEXT[:-4]}"', "publisher alice: 32 bytes in base64"),
        ("alice = 5", "publisher alice: 32 bytes in base64"),
        ("[alice]\nkey = 5", "publisher alice: 32 bytes in base64"),
        ("alice = []", "1 to 4 public keys"),
        (f"alice = [{', '.join([repr(TEXT)] * (KEYS_MAX + 1))}]", "1 to 4 public keys"),
        (f'"a b" = "{TEXT}"', "name 'a b' is not of letters"),
        (f'alice = "{TEXT}"\nalice = "{TEXT}"', "not TOML"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        read_publishers(text)

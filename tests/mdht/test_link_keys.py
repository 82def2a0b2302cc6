from pathlib import Path

import pytest

from mdht.errors import LocalProtocolError
from mdht.link_keys import derive_key, read_keys


def key_file(tmp_path: Path, text: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "key"
    path.write_bytes(text)
    path.chmod(mode)
    return path


def test_a_key_depends_on_passphrase_and_overlay_and_on_nothing_else() -> None:
    key = derive_key(b"correct horse", "office")
    # scrypt(N=16384, r=8, p=1), RFC 7914; published so that another implementation can check itself.
    assert key.hex() == "81b999c6458d89a42c4dc3125cdc6a8e00459439f05159b06c1a86331c1f4347"
    assert derive_key(b"correct horse", "home") != key
    assert derive_key(b"correct house", "office") != key


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        (b"correct horse", [b"correct horse"]),
        (b"\xef\xbb\xbf caf\xc3\xa9 au lait \r\n", [b"\xef\xbb\xbf caf\xc3\xa9 au lait"]),
        (b"\nthe new one\n\nthe former one\n\n", [b"the new one", b"the former one"]),
    ],
)
def test_a_file_has_the_passphrase_and_perhaps_the_former_one(
    tmp_path: Path, text: bytes, phrases: list[bytes]
) -> None:
    keys = tuple(derive_key(phrase, "office") for phrase in phrases)
    assert read_keys(key_file(tmp_path, text), "office") == keys


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (b"", 0o600, "has 0 passphrases; write one"),
        (b"passphrase 1\npassphrase 2\npassphrase 3", 0o600, "has 3 passphrases"),
        (b"secret", 0o600, "under 8 bytes"),
        (b"correct horse", 0o640, "open to other users: chmod 600"),
        (b"x" * 5000, 0o600, "some other file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, text: bytes, mode: int, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said) as caught:
        read_keys(key_file(tmp_path, text, mode), "office")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(LocalProtocolError, match=f"key file {path}"):
            read_keys(path, "office")

import base64
import datetime as dt
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError
from mdht.signing import SigningKey, verify

RFC8032_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC8032_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
RFC8032_EMPTY = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


def test_rfc8032_vector_is_reproduced() -> None:
    key = SigningKey.from_seed(RFC8032_SEED)
    assert key.public_key == RFC8032_PUBLIC
    assert key.sign(b"") == RFC8032_EMPTY
    assert verify(RFC8032_PUBLIC, b"", RFC8032_EMPTY)


def test_other_data_or_writer_does_not_verify() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"data")
    assert verify(key.public_key, b"data", signature)
    assert not verify(key.public_key, b"Data", signature)
    assert not verify(SigningKey.generate().public_key, b"data", signature)


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=80))
def test_any_bytes_are_judged_without_an_exception(public_key: bytes, data: bytes, signature: bytes) -> None:
    assert verify(public_key, data, signature) is False


def test_a_key_never_shows_its_seed() -> None:
    key = SigningKey.from_seed(RFC8032_SEED)
    assert key.seed.hex() not in repr(key)
    with pytest.raises(LocalProtocolError, match="32 bytes, not 31"):
        SigningKey.from_seed(bytes(31))


def test_created_file_is_private_and_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity.pem"
    created = SigningKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load_or_create(path).seed == created.seed
    assert [file.name for file in path.parent.iterdir()] == ["identity.pem"]


def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    path.write_text("my diary\n")
    path.chmod(0o600)
    with pytest.raises(LocalProtocolError, match="does not hold an Ed25519 key"):
        SigningKey.load_or_create(path)
    assert path.read_text() == "my diary\n"


def test_a_key_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    make = ["openssl", "genpkey", "-algorithm", "X25519", "-out", str(path)]
    try:
        subprocess.run(make, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl command")
    path.chmod(0o600)
    with pytest.raises(LocalProtocolError, match="another kind"):
        SigningKey.load_or_create(path)


def test_a_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    SigningKey.load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(LocalProtocolError, match="chmod 600"):
        SigningKey.load_or_create(path)


def test_a_directory_in_its_place_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match=str(tmp_path)):
        SigningKey.load_or_create(tmp_path)


def test_a_key_gives_itself_a_certificate_that_openssl_reads(tmp_path: Path) -> None:
    begins = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    pem = SigningKey.from_seed(RFC8032_SEED).certificate(
        "node-1.example", begins=begins, ends=begins + dt.timedelta(days=36_500)
    )
    (tmp_path / "node.pem").write_bytes(pem)
    words = [
        "openssl",
        "x509",
        "-in",
        str(tmp_path / "node.pem"),
        "-noout",
        "-subject",
        "-ext",
        "subjectAltName",
        "-pubkey",
    ]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "CN = node-1.example" in shown
    assert "DNS:node-1.example" in shown
    # SubjectPublicKeyInfo of RFC 8410 ends with the key itself.
    assert base64.b64decode("".join(shown[shown.index("-----BEGIN") :].splitlines()[1:-1]))[-32:] == RFC8032_PUBLIC
    path = str(tmp_path / "node.pem")
    subprocess.run(["openssl", "verify", "-CAfile", path, path], capture_output=True, check=True)

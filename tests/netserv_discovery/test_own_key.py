from pathlib import Path

import pytest

from mdht.signing import SigningKey
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.own_key import Identity, own_identity
from netserv_discovery.record import made_name


def identity(
    home: Path, *, key_file: Path | None = None, node_id: str | None = None, state_dir: Path | None = None
) -> Identity:
    environ = {"XDG_STATE_HOME": str(home)}
    return own_identity(key_file=key_file, node_id=node_id, state_dir=state_dir, environ=environ)


def test_a_node_has_the_key_and_name_of_its_signalling(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "netserv" / "identity.pem", "key")
    (tmp_path / "netserv" / "node-id").write_text("router-7\n")
    found = identity(tmp_path)
    assert (found.key.public_key, found.node_id) == (key.public_key, "router-7")
    assert identity(tmp_path, node_id="other").node_id == "other"


def test_without_signalling_it_makes_a_key_that_stays_and_a_name_of_it(tmp_path: Path) -> None:
    found = identity(tmp_path)
    assert found.where == tmp_path / "netserv-discovery" / "identity.pem"
    assert found.node_id == made_name(found.key.public_key)
    assert identity(tmp_path).key.public_key == found.key.public_key


def test_a_key_or_directory_that_is_named_counts_more_than_signalling(tmp_path: Path) -> None:
    SigningKey.create(tmp_path / "netserv" / "identity.pem", "key")
    own = SigningKey.create(tmp_path / "own" / "own.pem", "key")
    assert identity(tmp_path, key_file=tmp_path / "own" / "own.pem").key.public_key == own.public_key
    assert identity(tmp_path, state_dir=tmp_path / "state").where == tmp_path / "state" / "identity.pem"


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="No such file"):
        identity(tmp_path, key_file=tmp_path / "none.pem")
    bad = tmp_path / "bad.pem"
    bad.write_text("no key")
    bad.chmod(0o600)
    with pytest.raises(LocalProtocolError, match="does not hold an Ed25519 key"):
        identity(tmp_path, key_file=bad)

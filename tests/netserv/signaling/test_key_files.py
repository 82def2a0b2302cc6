import stat
from pathlib import Path

import pytest

from netserv.errors import LocalProtocolError
from netserv.signaling.key_files import create_key, load_key, load_publishers
from netserv.signaling.nslp.publishers import publisher_line


def test_a_new_key_is_private_and_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "alice.pem"
    key = create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path).seed == key.seed


def test_a_key_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "alice.pem"
    key = create_key(path)
    with pytest.raises(LocalProtocolError, match=r"key file .* is there already; name another, or move it away"):
        create_key(path)
    assert load_key(path).seed == key.seed
    assert [file.name for file in tmp_path.iterdir()] == ["alice.pem"]


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (None, 0, "key file .*: No such file or directory; `netserv key new` makes one"),
        (b"my diary", 0o600, "key file .* does not hold an Ed25519 key"),
        (b"my diary", 0o644, "key file .* is open to other users: chmod 600"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes | None, mode: int, why: str) -> None:
    path = tmp_path / "alice.pem"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(LocalProtocolError, match=why) as caught:
        load_key(path)
    assert "identity" not in str(caught.value)


def test_a_key_cannot_be_made_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalProtocolError, match="key file"):
        create_key(tmp_path / "file" / "alice.pem")


def test_publishers_are_loaded(tmp_path: Path) -> None:
    key = create_key(tmp_path / "alice.pem")
    path = tmp_path / "publishers.toml"
    path.write_text(publisher_line("alice", key.public_key))
    assert load_publishers(path).keys_of("alice") == (key.public_key,)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"\xff", "not UTF-8"),
        (b"alice=5", "publisher alice"),
        (b"#" * (8 << 20) + b"#", "more than"),
    ],
)
def test_errors_of_a_publishers_file_name_it(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "publishers.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalProtocolError, match=f"publishers file .*publishers.toml: .*{why}"):
        load_publishers(path)

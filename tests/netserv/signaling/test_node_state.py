import stat
from pathlib import Path

import pytest

from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.signaling.node_state import NAME_DIGITS, NodeState, default_state_dir, node_state


def visit(directory: Path, node_id: str | None = None) -> NodeState:
    with node_state(directory, node_id) as state:
        return state


def test_a_node_comes_back_as_itself(tmp_path: Path) -> None:
    first, second = visit(tmp_path / "a"), visit(tmp_path / "a")
    assert first.key.public_key == second.key.public_key
    assert first.node_id == second.node_id
    assert len(first.node_id) == NAME_DIGITS
    assert stat.S_IMODE(first.key_file.stat().st_mode) == 0o600
    assert visit(tmp_path / "b").node_id != first.node_id


def test_a_name_that_was_given_once_stays(tmp_path: Path) -> None:
    visit(tmp_path)
    assert visit(tmp_path, "edge-1.example").node_id == "edge-1.example"
    assert visit(tmp_path).node_id == "edge-1.example"


def test_the_certificate_has_the_name(tmp_path: Path) -> None:
    certificate = visit(tmp_path, "edge-1").certificate.read_bytes()
    assert certificate.startswith(b"-----BEGIN CERTIFICATE-----")
    assert visit(tmp_path).certificate.read_bytes() != b""


def test_two_nodes_cannot_have_one_directory(tmp_path: Path) -> None:
    with node_state(tmp_path), pytest.raises(SystemRefusedError, match="is in use by another node"):
        visit(tmp_path)
    visit(tmp_path)


def test_an_error_of_the_user_of_a_directory_is_not_taken_for_one_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), node_state(tmp_path):
        raise BlockingIOError


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\n", "a/b", "x" * 64, "é"])
def test_a_strange_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalProtocolError, match="no name of a node"):
        visit(tmp_path, name)


def test_a_damaged_name_is_refused_with_the_remedy(tmp_path: Path) -> None:
    visit(tmp_path)
    (tmp_path / "node-id").write_bytes(b"\xff\xff")
    with pytest.raises(LocalProtocolError, match="give one with --node-id"):
        visit(tmp_path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    visit(tmp_path).key_file.chmod(0o644)
    with pytest.raises(LocalProtocolError, match="open to other users: chmod 600"):
        visit(tmp_path)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemRefusedError, match="give another --state-dir"):
        visit(tmp_path / "file" / "state")


def test_the_directory_is_where_xdg_says() -> None:
    assert default_state_dir({"XDG_STATE_HOME": "/state"}) == Path("/state/netserv")
    assert default_state_dir({"XDG_STATE_HOME": "relative"}) == Path.home() / ".local/state/netserv"

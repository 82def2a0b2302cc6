import json
import stat
from pathlib import Path

import pytest

from mdht.errors import LocalProtocolError
from mdht.link_state import INCARNATION_MAX, HostState


def test_the_name_stays_and_each_start_and_refutation_counts(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    with HostState.open(directory) as first:
        hid = first.hid
        assert (len(hid), first.incarnation) == (8, 1)
        first.keep(2)
        assert first.incarnation == 2
    with HostState.open(directory) as second:
        assert (second.hid, second.incarnation) == (hid, 3)
    assert stat.S_IMODE((directory / "link.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in directory.iterdir()) == ["link.json", "link.lock"]


def test_two_members_cannot_have_one_name(tmp_path: Path) -> None:
    with (
        HostState.open(tmp_path),
        pytest.raises(LocalProtocolError, match=r"another member \(pid \d+\).*--state-dir"),
    ):
        HostState.open(tmp_path)
    HostState.open(tmp_path).close()


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff", b"[]", b'{"hid":"00","incarnation":1}', b'{"hid":"%s","incarnation":-1}' % (b"0" * 16)],
)
def test_a_damaged_file_means_a_new_name(tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "link.json").write_bytes(text)
    with HostState.open(tmp_path) as state:
        assert (len(state.hid), state.incarnation) == (8, 1)
    assert "damaged" in caplog.text


def test_before_the_number_runs_out_the_host_takes_a_new_name(tmp_path: Path) -> None:
    for incarnation, stays in ((INCARNATION_MAX - 1, True), (INCARNATION_MAX, False)):
        (tmp_path / "link.json").write_text(json.dumps({"hid": "ab" * 8, "incarnation": incarnation}))
        with HostState.open(tmp_path) as state:
            assert (state.hid == b"\xab" * 8) is stays
            assert state.incarnation == (incarnation + 1 if stays else 1)


def test_a_directory_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalProtocolError, match=r"state directory .*file"):
        HostState.open(tmp_path / "file")
    (tmp_path / "link.json").mkdir()
    with pytest.raises(LocalProtocolError, match="state directory"):
        HostState.open(tmp_path)
    HostState.open(tmp_path / "other").close()  # the lock was let go

from pathlib import Path

import pytest

from tests.z2z.exports import signer
from z2z.errors import LocalProtocolError
from z2z.known_sites import FILE_MAX, KnownSites, change_known, read_known, sites_in
from z2z.trust import Known

OFFICE, LAB = Known("office", signer(1).public_key), Known("lab", signer(2).public_key)


def test_sites_are_kept_and_other_programs_see_them(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known-sites"
    ours, theirs = KnownSites(path, fixed=False), KnownSites(path, fixed=False)
    assert ours.read() == theirs.read() == []
    ours.add(OFFICE)
    assert theirs.changed() == [OFFICE]
    assert theirs.changed() is None
    theirs.add(LAB)
    assert ours.changed() == [LAB, OFFICE]
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    assert not [each for each in path.parent.iterdir() if each.name.startswith(".")]


def test_a_change_that_is_none_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "known-sites"
    assert change_known(path, lambda sites: sites.add(OFFICE))
    before = path.stat().st_mtime_ns
    assert not change_known(path, lambda sites: sites.add(OFFICE))
    assert path.stat().st_mtime_ns == before


def test_the_users_own_file_is_read_only_and_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    with pytest.raises(LocalProtocolError, match="there is no file"):
        KnownSites(path, fixed=True).read()
    path.write_text(f"{OFFICE.key.hex()} Office\n")
    sites = KnownSites(path, fixed=True)
    assert sites.read() == [OFFICE]
    sites.add(LAB)
    assert read_known(path) == [OFFICE]


def test_a_file_that_was_damaged_changes_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "known-sites"
    sites = KnownSites(path, fixed=False)
    sites.add(OFFICE)
    assert sites.changed() == [OFFICE]
    for text in ("nonsense", "more nonsense"):
        path.write_text(text)
        assert sites.changed() is None
    assert [record.message.partition(";")[2] for record in caplog.records] == [
        " going on with the sites known so far"
    ] * len(caplog.records)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LocalProtocolError):
        read_known(path)
    path.write_bytes(b"#" * (FILE_MAX + 1))
    with pytest.raises(LocalProtocolError, match="some other file"):
        read_known(path)


def test_what_cannot_be_kept_is_told_and_nothing_stops(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    KnownSites(tmp_path / "file" / "known-sites", fixed=False).add(OFFICE)
    assert "is not remembered" in caplog.text


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"#" * (FILE_MAX + 1), "some other file"), (b"\xff", "codec"), (b"nonsense", "line 1")],
)
def test_what_was_read_elsewhere_is_refused_by_its_own_name(data: bytes, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^standard input.*{text}"):
        sites_in(data, "standard input")

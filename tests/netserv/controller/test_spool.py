"""Bundles in files: whole or not at all, and no more than there is room for."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from netserv.controller import spool as spools
from netserv.controller.spool import DigestError, Spool
from netserv.errors import SystemRefusedError
from netserv.signaling.nslp.codes import Code, NslpError


def put(spool: Spool, data: bytes, at: float = 0.0) -> bytes:
    digest = hashlib.sha256(data).digest()
    with spool.draft(digest) as draft:
        draft.write(data)
    os.utime(spool.path(digest), (at, at))
    return digest


def test_a_bundle_is_there_when_all_of_it_came(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "bundles")
    digest = hashlib.sha256(b"onetwo").digest()
    with spool.draft(digest) as draft:
        draft.write(b"one")
        assert not spool.has(digest)
        draft.write(b"two")
    assert spool.has(digest)
    assert spool.path(digest).read_bytes() == b"onetwo"
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [f"{digest.hex()}.zip"]


def test_another_one_and_half_of_one_leave_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "bundles")
    with pytest.raises(DigestError), spool.draft(bytes(32)) as draft:
        draft.write(b"one")
    with pytest.raises(ZeroDivisionError), spool.draft(bytes(32)) as draft:
        draft.write(b"one"[1 // 0 :])
    assert not list((tmp_path / "bundles").iterdir())


def test_what_a_killed_node_has_left_half_done_is_removed(tmp_path: Path) -> None:
    digest = put(Spool(tmp_path), b"x")
    (tmp_path / ".draft-1234").write_bytes(b"half")
    assert Spool(tmp_path).has(digest)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemRefusedError, match="give another state_dir"):
        Spool(tmp_path / "file" / "bundles")


def test_those_that_were_used_longest_ago_go_first_and_those_in_use_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "SPARE_BYTES", 25)
    monkeypatch.setattr(Spool.trim, "__defaults__", (25,))
    spool = Spool(tmp_path)
    digests = [put(spool, bytes([number]) * 10, float(number)) for number in range(5)]
    spool.trim({digests[0]})
    assert [spool.has(digest) for digest in digests] == [True, False, False, True, True]


def test_room_is_bounded_for_all_and_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "BYTES_MAX", 100)
    monkeypatch.setattr(spools, "OF_PUBLISHER_BYTES_MAX", 60)
    spool = Spool(tmp_path)
    first, second = put(spool, b"a" * 40), put(spool, b"b" * 30)
    assert spool.room({first}, {first, second}) == 20
    assert spool.room(set(), {first, second}) == 30
    assert spool.room({first, second}, {first, second}) == 0
    assert spool.room(set(), {first}) == 60, "the other one is not used, and makes room"
    assert not spool.has(second)


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)

    def full(_path: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NslpError) as caught:
        put(spool, b"x")
    assert caught.value.code == Code.INSUFFICIENT_STORAGE
    assert not list(tmp_path.iterdir())

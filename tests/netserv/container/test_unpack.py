"""Unpacking a bundle."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netserv.container.unpack import forget, unpack
from netserv.errors import LocalProtocolError, SystemRefusedError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_files_are_written_below_one_directory(store: int, tmp_path: Path) -> None:
    unpack({"module.toml": b"a", "package/deep/x.py": b"b", "package/y.py": b""}, store, "7")
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"7/module.toml": b"a", "7/package/deep/x.py": b"b", "7/package/y.py": b""}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.py")} == {0o444}
    forget(store, "7")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "a//x", "./x", "", "a/", "a\0b"])
def test_a_path_that_leads_elsewhere_writes_nothing(store: int, tmp_path: Path, path: str) -> None:
    with pytest.raises(LocalProtocolError, match="no path in a bundle"):
        unpack({"good": b"", path: b"x"}, store, "7")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_nothing(store: int, tmp_path: Path) -> None:
    with pytest.raises(SystemRefusedError, match="cannot be unpacked"):
        unpack({"a": b"", "a/b": b""}, store, "7")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_not_touched(store: int, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "7").symlink_to("elsewhere")
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "kept").touch()
    for name in ("7", "8"):
        with pytest.raises(SystemRefusedError):
            unpack({"a": b"x"}, store, name)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "8" / "kept").exists()

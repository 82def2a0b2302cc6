from pathlib import Path

import pytest

from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.modules.blocks.storage import KEY_MAX, SIZE_MIN, VALUE_MAX, KeyValue, StorageFullError


def test_values_outlive_the_store(tmp_path: Path) -> None:
    with KeyValue(tmp_path / "kept.db") as store:
        store.put("a", b"1")
        store.put("a", b"2")
        store.put("b", b"")
    with KeyValue(tmp_path / "kept.db") as store:
        assert (store.get("a"), store.get("b"), store.get("c")) == (b"2", b"", None)
        store.delete("a")
        store.delete("a")
        assert store.get("a") is None


def test_keys_of_a_prefix_come_in_order(tmp_path: Path) -> None:
    with KeyValue(tmp_path / "kept.db") as store:
        for number in range(600):
            store.put(f"user/{number:03d}", b"x")
        store.put("other", b"")
        assert list(store.keys("user/")) == [f"user/{number:03d}" for number in range(600)]
        assert next(store.keys()) == "other"


def test_a_full_store_keeps_what_it_has(tmp_path: Path) -> None:
    with KeyValue(tmp_path / "kept.db", SIZE_MIN) as store:
        store.put("a", b"first")
        with pytest.raises(StorageFullError, match="no room for it"):
            store.put("a", bytes(SIZE_MIN))
        assert store.get("a") == b"first"
        store.put("b", b"small ones still fit")
    assert (tmp_path / "kept.db").stat().st_size <= SIZE_MIN


@pytest.mark.parametrize("key", ["", "x" * (KEY_MAX + 1)])
def test_strange_keys_and_values_are_refused(tmp_path: Path, key: str) -> None:
    with KeyValue(tmp_path / "kept.db") as store:
        with pytest.raises(LocalProtocolError, match="a key has 1 to 512 characters"):
            store.put(key, b"")
        with pytest.raises(LocalProtocolError, match="use a file of its own"):
            store.put("a", bytes(VALUE_MAX + 1))


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("my diary, which is not a database at all" * 100)
    with pytest.raises(SystemRefusedError, match="remove it if it is no store of yours"):
        KeyValue(tmp_path / "text")
    with pytest.raises(SystemRefusedError, match="unable to open"):
        KeyValue(tmp_path / "no" / "place")
    with pytest.raises(LocalProtocolError, match="or more are needed"):
        KeyValue(tmp_path / "small", 100)

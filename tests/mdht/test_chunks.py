from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.chunks import LARGE_VALUE_MAX, WHOLE_MAX, chunk_keys, is_manifest, join, split
from mdht.errors import LocalProtocolError, MissingChunkError, RemoteProtocolError
from mdht.records import VALUE_MAX

SIZES = [0, 1, WHOLE_MAX, WHOLE_MAX + 1, 2 * WHOLE_MAX, 2 * WHOLE_MAX + 1, LARGE_VALUE_MAX]


@given(st.sampled_from(SIZES) | st.integers(0, LARGE_VALUE_MAX), st.binary(min_size=1, max_size=8))
def test_every_value_comes_back(size: int, pattern: bytes) -> None:
    value = (pattern * (size // len(pattern) + 1))[:size]
    head, chunks = split(value)
    assert max(map(len, [head, *chunks])) <= VALUE_MAX
    assert is_manifest(head) == (size > WHOLE_MAX) == bool(chunks)
    assert len(set(chunk_keys(head))) == len(chunks)
    assert join(head, chunks) == value


@given(st.binary(max_size=60))
def test_no_user_value_passes_for_a_manifest(value: bytes) -> None:
    manifest, _chunks = split(bytes(2_000))
    for hostile in (value, manifest + value):
        head, _ = split(hostile)
        assert not is_manifest(head)
        assert join(head) == hostile


@given(st.binary(max_size=200), st.lists(st.none() | st.binary(max_size=20), max_size=4))
def test_any_bytes_are_joined_or_refused(head: bytes, chunks: list[bytes | None]) -> None:
    with suppress(RemoteProtocolError, MissingChunkError):
        assert chunk_keys(head) is not None
        join(head, chunks)


@given(st.integers(0, 22), st.integers(0, 718), st.integers(1, 255))
def test_a_changed_chunk_is_named(index: int, at: int, flip: int) -> None:
    head, chunks = split(bytes(LARGE_VALUE_MAX))
    broken = bytearray(chunks[index])
    broken[at % len(broken)] ^= flip
    chunks[index] = bytes(broken)
    with pytest.raises(MissingChunkError, match=f"chunk {index + 1} of 23 is not the one that was put"):
        join(head, chunks)


def test_a_missing_chunk_is_named() -> None:
    head, chunks = split(bytes(3_000))
    with pytest.raises(MissingChunkError, match="chunk 2 of 5 is missing"):
        join(head, [chunks[0], None, *chunks[2:]])
    with pytest.raises(MissingChunkError, match="chunk 5 of 5 is missing"):
        join(head, chunks[:-1])


def test_a_value_over_the_limit_is_refused_by_size() -> None:
    with pytest.raises(LocalProtocolError, match="16385 bytes; the store takes at most 16384"):
        split(bytes(LARGE_VALUE_MAX + 1))


@pytest.mark.parametrize("cut", [0, 1, 34, 35, 50])
def test_a_cut_manifest_is_refused(cut: int) -> None:
    head, _ = split(bytes(3_000))
    with pytest.raises(RemoteProtocolError):
        join(head[:cut], [])


def test_another_value_has_other_chunk_keys() -> None:
    assert not set(chunk_keys(split(bytes(2_000))[0])) & set(chunk_keys(split(bytes(2_001))[0]))

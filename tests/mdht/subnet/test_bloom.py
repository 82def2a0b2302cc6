from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError
from mdht.subnet.bloom import FILTER_BYTES, HASHES, KEYS_MAX, Bloom, mask
from mdht.subnet.errors import WireError

KEYS = st.sets(st.binary(min_size=20, max_size=20), max_size=50)


@given(KEYS)
def test_what_is_in_it_is_never_denied(keys: set[bytes]) -> None:
    bloom = Bloom.of(keys)
    assert all(key in bloom for key in keys)
    assert all(bloom.covers(mask(key)) for key in keys)


@given(KEYS)
def test_it_comes_back_from_its_bytes(keys: set[bytes]) -> None:
    data = bytes(Bloom.of(keys))
    assert len(data) == FILTER_BYTES
    assert bytes(Bloom.from_bytes(data)) == data
    assert all(key in Bloom.from_bytes(data) for key in keys)


def test_a_full_one_takes_one_stranger_in_a_hundred_for_a_member() -> None:
    shares = []
    for seed in range(5):
        rng = Random(seed)
        bloom = Bloom.of(rng.randbytes(20) for _ in range(KEYS_MAX))
        shares.append(sum(rng.randbytes(20) in bloom for _ in range(20_000)) / 20_000)
    assert sum(shares) / 5 == pytest.approx(0.0086, abs=0.0012), shares
    assert max(shares) < 0.012, shares


def test_hashes_are_slices_of_the_key() -> None:
    slices = [0, 8191, 1, 4096, 77]
    number = sum(value << (13 * at) for at, value in enumerate(slices))
    key = number.to_bytes(9, "big") + bytes(11)
    assert mask(key) == sum(1 << value for value in slices)
    assert mask(bytes(20)) == 1, "all slices may be alike"


def test_keys_that_differ_in_one_slice_have_other_bits() -> None:
    rng = Random(1)
    assert max(mask(rng.randbytes(20)).bit_count() for _ in range(100)) == HASHES


@pytest.mark.parametrize("size", [0, 1023, 1025])
def test_a_filter_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(WireError, match="1024 wanted"):
        Bloom.from_bytes(bytes(size))


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="20 bytes"):
        Bloom().add(b"short")

from collections import Counter

import pytest

from netserv.signaling import chance
from netserv.signaling.chance import BLOCK_BYTES, BlockwiseRandom


def test_no_byte_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    read = bytearray()

    def numbered(size: int) -> bytes:
        block = bytes(len(read) + index & 0xFF for index in range(size))
        read.extend(block)
        return block

    monkeypatch.setattr(chance.os, "urandom", numbered)
    rng = BlockwiseRandom()
    given = b"".join(rng.randbytes(16) for _ in range(BLOCK_BYTES // 8))
    assert given == bytes(read)[: len(given)]
    assert len(given) == 2 * BLOCK_BYTES


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_any_number_of_bytes_can_be_had(size: int) -> None:
    rng = BlockwiseRandom()
    rng.randbytes(5)
    assert len(rng.randbytes(size)) == size


@pytest.mark.parametrize("bits", [0, 1, 7, 8, 9, 128])
def test_numbers_have_the_bits_that_were_asked_for(bits: int) -> None:
    rng = BlockwiseRandom()
    drawn = [rng.getrandbits(bits) for _ in range(200)]
    assert all(0 <= number < 1 << bits for number in drawn)
    if bits:
        assert max(number.bit_length() for number in drawn) > bits - 8
    with pytest.raises(ValueError, match="not negative"):
        rng.getrandbits(-1)


def test_what_random_makes_of_it_is_spread_over_its_range() -> None:
    rng = BlockwiseRandom()
    tenths = Counter(int(rng.random() * 10) for _ in range(10_000))
    assert set(tenths) == set(range(10))
    assert min(tenths.values()) > 800  # 1,000 expected, with a standard deviation of 30
    assert {rng.randrange(3) for _ in range(100)} == {0, 1, 2}

import struct

from hypothesis import given
from hypothesis import strategies as st

from netserv.checksum import internet_checksum, udp_checksum


def by_the_book(data: bytes) -> int:
    """RFC 1071 section 4.1, word by word."""
    total = sum(word for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_the_example_of_the_standard() -> None:
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


@given(st.binary(max_size=600) | st.lists(st.sampled_from([b"\0\0", b"\xff\xff", b"\xff\xfe"])).map(b"".join))
def test_one_division_finds_what_the_loop_finds(data: bytes) -> None:
    assert internet_checksum(data) == by_the_book(data)


@given(st.sampled_from([4, 16]), st.binary(min_size=8, max_size=100), st.integers(0, 2**128 - 1))
def test_a_datagram_with_its_checksum_adds_up_and_one_changed_bit_does_not(size: int, data: bytes, seed: int) -> None:
    source, destination = (seed % 256**size).to_bytes(size), (seed // 3 % 256**size).to_bytes(size)
    bare = data[:6] + bytes(2) + data[8:]
    checksum = udp_checksum(source, destination, bare)
    assert checksum != 0
    whole = bare[:6] + checksum.to_bytes(2) + bare[8:]
    assert udp_checksum(source, destination, whole) == 0xFFFF
    changed = bytearray(whole)
    changed[seed % len(whole)] ^= 1 << seed % 8
    assert udp_checksum(source, destination, bytes(changed)) != 0xFFFF


def test_a_checksum_of_zero_goes_as_all_ones() -> None:
    bare = bytes(6) + bytes(2)
    source, destination = bytes(4), bytes.fromhex("ffe6ffff")  # with protocol 17 and length 8 the sum is 0xffff
    assert internet_checksum(source + destination + bytes.fromhex("00110008") + bare) == 0
    assert udp_checksum(source, destination, bare) == 0xFFFF

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dhtboot.cookies import COOKIE_BYTES, PEERS_MAX, CookieJar
from dhtboot.ids import Address
from tests.dhtboot.strategies import addresses

A = ("10.0.0.1", 1)


def new_jar(seed: int = 1) -> CookieJar:
    return CookieJar(Random(seed), rotation_s=100.0, now=0.0)


@given(addresses, addresses)
def test_a_cookie_is_good_for_its_address_only(asker: Address, other: Address) -> None:
    jar = new_jar()
    cookie = jar.make(asker, 0.0)
    assert len(cookie) == COOKIE_BYTES
    assert jar.check(cookie, asker, 0.0)
    assert jar.check(cookie, other, 0.0) == (other == asker)
    assert not new_jar(2).check(cookie, asker, 0.0)


@given(st.binary(max_size=20))
def test_any_other_bytes_are_no_cookie(data: bytes) -> None:
    jar = new_jar()
    assert not jar.check(data, A, 0.0) or data == jar.make(A, 0.0)


def test_a_cookie_lives_for_one_to_two_rotations() -> None:
    jar = new_jar()
    cookie = jar.make(A, 99.0)
    assert jar.check(cookie, A, 101.0)
    assert jar.make(A, 101.0) != cookie
    assert jar.check(cookie, A, 200.0)
    assert not jar.check(cookie, A, 201.5)


def test_cookies_of_others_are_kept_within_bounds() -> None:
    jar = new_jar()
    assert jar.for_peer(A) == b""
    jar.keep(A, bytes(8))
    jar.keep(A, b"12345678")
    jar.keep(A, b"of a strange length")
    assert jar.for_peer(A) == b"12345678"
    for port in range(1, PEERS_MAX + 1):
        jar.keep(("10.0.0.2", port), bytes(8))
    assert jar.for_peer(A) == b""
    assert jar.for_peer(("10.0.0.2", 1)) == bytes(8)

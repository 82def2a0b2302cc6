import hashlib
from random import Random

from hypothesis import given

from dhtboot.ids import ID_BITS, NodeRef, format_address, hash_id, id_bytes, id_from, random_id
from tests.dhtboot.strategies import ids


@given(ids)
def test_identifiers_keep_their_value_through_bytes(identifier: int) -> None:
    data = id_bytes(identifier)
    assert len(data) == 20
    assert id_from(data) == identifier


def test_a_hash_is_sha1() -> None:
    assert id_bytes(hash_id(b"office")) == hashlib.sha1(b"office").digest()


def test_random_identifiers_are_repeatable_and_use_all_bits() -> None:
    assert random_id(Random(7)) == random_id(Random(7))
    rng = Random(1)
    seen = 0
    for _ in range(200):
        seen |= random_id(rng)
    assert seen == (1 << ID_BITS) - 1


def test_contacts_are_equal_by_identifier_and_address() -> None:
    one = NodeRef(1, ("10.0.0.1", 5))
    assert one == NodeRef(1, ("10.0.0.1", 5))
    assert one != NodeRef(2, ("10.0.0.1", 5))
    assert one != NodeRef(1, ("10.0.0.1", 6))
    assert one != "something else"
    assert len({one, NodeRef(1, ("10.0.0.1", 5))}) == 1
    assert repr(one).endswith("1 at 10.0.0.1:5)")


def test_ipv6_addresses_are_shown_in_brackets() -> None:
    assert format_address(("::1", 80)) == "[::1]:80"
    assert format_address(("10.0.0.1", 80)) == "10.0.0.1:80"

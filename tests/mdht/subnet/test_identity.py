import ipaddress
from hashlib import sha1
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError
from mdht.subnet.identity import (
    Identity,
    Kind,
    Subnet,
    derive,
    gateway,
    gives_way,
    named,
    new_tag,
    thesis_id,
)


def interfaces(*texts: str) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    return [ipaddress.ip_interface(text) for text in texts]


def test_all_hosts_of_a_global_subnet_derive_one_identity() -> None:
    first = derive(interfaces("8.8.4.1/24", "fe80::1/64"), Random(1))
    second = derive(interfaces("8.8.4.200/24"), Random(2))
    assert first == second == Identity(Kind.PREFIX_4, bytes((8, 8, 4, 0, 24)))
    assert first.node_id("x") == second.node_id("x")


def test_the_identifier_is_the_hash_of_name_and_identity() -> None:
    identity = Identity(Kind.PREFIX_4, bytes((8, 8, 4, 0, 24)))
    text = b"mdht1" + b"\x06office" + b"P4" + bytes((5, 8, 8, 4, 0, 24))
    assert identity.node_id("office") == int.from_bytes(sha1(text).digest(), "big")
    salted = identity.salted(b"12345678")
    assert salted.node_id("office") == int.from_bytes(sha1(text + b"12345678").digest(), "big")


def test_a_salt_makes_no_identity_equal_to_one_of_a_longer_name() -> None:
    assert named("lab").salted(b"12345678").node_id("office") != named("lab12345678").node_id("office")


names = st.builds(
    Identity, st.just(Kind.NAME), st.binary(min_size=1, max_size=64), st.just(b"") | st.binary(min_size=8, max_size=8)
)


@given(names, names)
def test_two_identities_have_two_identifiers(first: Identity, second: Identity) -> None:
    assert (first == second) == (first.node_id("office") == second.node_id("office"))


def test_a_subnet_that_gives_way_has_its_tag_as_salt() -> None:
    assert Subnet(named("lab"), b"tagtagta").salted == named("lab").salted(b"tagtagta")


@pytest.mark.parametrize("tag", [b"", b"short", bytes(8), b"too long a tag"])
def test_a_tag_has_eight_bytes_and_is_not_the_one_of_no_subnet(tag: bytes) -> None:
    with pytest.raises(ValueError, match="a tag is 8 bytes"):
        Subnet(named("lab"), tag)


def test_each_founding_has_a_tag_of_its_own() -> None:
    rng = Random(1)
    assert len({new_tag(rng) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("addresses", "kind"),
    [
        (["192.168.1.5/24"], Kind.RANDOM),
        (["100.64.0.9/10"], Kind.RANDOM),
        (["169.254.3.4/16"], Kind.RANDOM),
        (["10.0.0.1/8", "fe80::1/64"], Kind.RANDOM),
        ([], Kind.RANDOM),
        (["192.168.1.5/24", "2a00:1450::1/64"], Kind.PREFIX_6),
        (["192.168.1.5/24", "fd12:3456::1/64"], Kind.PREFIX_6),
        (["2a00:1450::1/64", "8.8.8.8/24"], Kind.PREFIX_4),
    ],
)
def test_what_an_identity_is_made_from(addresses: list[str], kind: Kind) -> None:
    assert derive(interfaces(*addresses), Random(1)).kind is kind


def test_two_homes_on_the_same_private_network_are_two_nodes() -> None:
    home = interfaces("192.168.1.5/24")
    assert derive(home, Random(1)) != derive(home, Random(2))


def test_a_configured_name_comes_first() -> None:
    assert derive(interfaces("8.8.4.1/24"), Random(1), name="lab") == named("lab")


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_a_name_too_short_or_long_is_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 64 bytes"):
        named(name)


def test_an_overlay_name_too_long_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="1 to 63 bytes"):
        named("lab").node_id("x" * 64)


def test_a_gateway_is_its_public_address_and_the_network_behind_it() -> None:
    identity = gateway(ipaddress.IPv4Address("8.8.8.8"), ipaddress.IPv4Network("192.168.1.0/24"))
    assert identity == Identity(Kind.GATEWAY, bytes((8, 8, 8, 8, 192, 168, 1, 0, 24)))


@pytest.mark.parametrize(
    ("kind", "data", "salt"),
    [(Kind.PREFIX_4, b"1234", b""), (Kind.RANDOM, bytes(15), b""), (Kind.NAME, b"", b""), (Kind.NAME, b"lab", b"1")],
)
def test_an_identity_of_a_wrong_size_cannot_be_made(kind: Kind, data: bytes, salt: bytes) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Identity(kind, data, salt)


@given(st.floats(0, 1e9), st.binary(min_size=8, max_size=8), st.floats(0, 1e9), st.binary(min_size=8, max_size=8))
def test_of_two_subnets_with_one_identity_exactly_one_gives_way(
    age: float, tag: bytes, other_age: float, other_tag: bytes
) -> None:
    mine, other = (age, tag), (other_age, other_tag)
    assert (gives_way(mine, other) != gives_way(other, mine)) or mine == other
    if age != other_age:
        assert gives_way(mine, other) == (age < other_age)


def test_the_identifier_of_the_thesis_is_the_hash_of_the_network_address() -> None:
    network = ipaddress.IPv4Network("128.59.16.0/20")
    assert thesis_id(network) == int.from_bytes(sha1(bytes((128, 59, 16, 0))).digest(), "big")

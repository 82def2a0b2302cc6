import ipaddress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError
from mdht.isolation import BITS, isolation, read_hosts, sample, shared_bits, synthetic

addresses = st.sets(st.integers(0, (1 << BITS) - 1) | st.integers(0, 255), min_size=1, max_size=40).map(sorted)


@given(addresses)
def test_the_shares_are_those_of_counting_each_subnet(hosts: list[int]) -> None:
    found = isolation(hosts)
    for length, ratio in enumerate(found.ratios):
        subnets = [host >> BITS - length for host in hosts]
        assert ratio == pytest.approx(sum(subnets.count(subnet) == 1 for subnet in subnets) / len(hosts))


@given(addresses)
def test_longer_prefixes_leave_more_hosts_alone(hosts: list[int]) -> None:
    found = isolation(hosts)
    assert list(found.ratios) == sorted(found.ratios)
    assert found.ratios[BITS] == 1.0
    assert found.hosts == len(hosts)


def test_a_list_is_read_with_what_is_wrong_in_it() -> None:
    found = read_hosts(["192.0.2.1", " 192.0.2.1 # again", "", "# a comment", "2001:db8::1", "300.1.1.1", "10.0.0.1"])
    assert [str(ipaddress.IPv4Address(address)) for address in found.addresses] == ["10.0.0.1", "192.0.2.1"]
    assert (found.repeated, found.refused) == (1, 2)


def test_a_list_without_any_address_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="one a line"):
        read_hosts(["nothing", ""])


@given(st.integers(0, (1 << BITS) - 1), st.integers(0, (1 << BITS) - 1))
def test_shared_bits_are_those_of_the_prefixes(one: int, other: int) -> None:
    bits = shared_bits(one, other)
    assert one >> BITS - bits == other >> BITS - bits
    assert bits == BITS or one >> BITS - bits - 1 != other >> BITS - bits - 1


@pytest.mark.parametrize(("name", "half", "quarter"), [("edu", 24, 21), ("hosts", 21, 19)])
@pytest.mark.parametrize("seed", range(3))
def test_synthetic_hosts_are_as_alone_as_those_of_the_thesis(name: str, half: int, quarter: int, seed: int) -> None:
    found = isolation(synthetic(name, 10_000, Random(seed)))
    assert found.ratios[half] == pytest.approx(0.50, abs=0.02)
    assert found.ratios[quarter] == pytest.approx(0.25, abs=0.02)


def test_of_fewer_hosts_more_are_alone() -> None:
    hosts = synthetic("edu", 10_000, Random(1))
    shares = [isolation(sample(hosts, size, Random(1))).ratios[24] for size in (10_000, 3_000, 1_000, 100)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


@pytest.mark.parametrize("size", [0, 11])
def test_a_sample_larger_than_the_list_is_refused(size: int) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 10 can be"):
        sample(range(10), size, Random(1))


@pytest.mark.parametrize("hosts", [0, 3, 2_000_000])
def test_a_senseless_number_of_synthetic_hosts_is_refused(hosts: int) -> None:
    with pytest.raises(LocalProtocolError, match="an even number"):
        synthetic("edu", hosts, Random(1))

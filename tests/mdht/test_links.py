"""Which interfaces are of one link, and what a program's host on each link is."""

from ipaddress import ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.config import MdhtConfig
from mdht.errors import LocalProtocolError
from mdht.links import FURTHER_PORT, LINKS_MAX, by_link, plans


def addresses(**texts: str) -> dict[str, list[object]]:
    return {name: [ip_interface(text) for text in found.split()] for name, found in texts.items()}


@pytest.mark.parametrize(
    ("given", "links"),
    [
        ({}, []),
        ({"eth0": "192.168.1.2/24"}, [("eth0",)]),
        ({"eth0": "192.168.1.2/24", "eth1": "192.168.2.2/24"}, [("eth0",), ("eth1",)]),
        ({"eth0": "192.168.1.2/24", "wlan0": "192.168.1.3/24"}, [("eth0", "wlan0")]),
        ({"eth0": "192.168.1.2/24", "wlan0": "192.168.1.3/25"}, [("eth0",), ("wlan0",)]),
        ({"eth0": "10.0.0.2/8 2001:db8:1::2/64", "wlan0": "10.0.0.3/16 2001:db8:1::3/64"}, [("eth0", "wlan0")]),
        ({"eth0": "fe80::1/64", "eth1": "fe80::2/64"}, [("eth0",), ("eth1",)]),
        ({"eth0": "169.254.1.2/16", "eth1": "169.254.3.4/16"}, [("eth0",), ("eth1",)]),
        ({"tun0": "192.0.2.1/32", "tun1": "192.0.2.1/32"}, [("tun0",), ("tun1",)]),
        ({"eth0": "", "eth1": ""}, [("eth0",), ("eth1",)]),
        ({"a": "10.1.0.1/16", "b": "10.2.0.1/16", "c": "10.1.0.9/16 10.2.0.9/16"}, [("a", "b", "c")]),
        ({"a": "10.1.0.1/16", "b": "10.2.0.1/16", "c": "10.1.0.9/16"}, [("a", "c"), ("b",)]),
    ],
)
def test_interfaces_with_a_network_in_common_are_of_one_link(
    given: dict[str, str], links: list[tuple[str, ...]]
) -> None:
    assert by_link(addresses(**given)) == links  # type: ignore[arg-type]


@given(st.lists(st.sets(st.integers(0, 6), max_size=3), max_size=8))
def test_each_interface_is_of_one_link_and_no_network_is_of_two(networks: list[set[int]]) -> None:
    found = {f"eth{at}": [ip_interface(f"10.{n}.0.{at + 1}/24") for n in each] for at, each in enumerate(networks)}
    links = by_link(found)
    assert sorted(name for link in links for name in link) == sorted(found)
    seen = [{n for name in link for n in networks[int(name[3:])]} for link in links]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert [link[0] for link in links] == sorted((link[0] for link in links), key=lambda name: int(name[3:]))


def test_the_first_link_has_what_is_the_programs_and_further_ones_have_their_own() -> None:
    config = MdhtConfig(port=5000, port_required=True, public=("192.0.2.1", 5000))
    first, second, third = plans(config, [("eth0", "wlan0"), ("eth1",), ("eth2",)])
    assert (first.interfaces, first.port, first.port_required) == (("eth0", "wlan0"), 5000, True)
    assert (first.public, first.directory) == (("192.0.2.1", 5000), None)
    assert (second.port, second.port_required, second.public) == (FURTHER_PORT, False, None)
    assert third.port == FURTHER_PORT + 1
    assert [second.directory, third.directory] == ["link-eth1", "link-eth2"]


def test_a_host_on_no_link_is_one_host() -> None:
    (only,) = plans(MdhtConfig(subnet="lab"), [])
    assert only.interfaces == ()


def test_who_wants_any_port_gets_any_on_all_links() -> None:
    assert [plan.port for plan in plans(MdhtConfig(port=0), [("a",), ("b",)])] == [0, 0]


def test_a_subnets_name_is_for_one_link() -> None:
    assert len(plans(MdhtConfig(subnet="lab"), [("eth0", "wlan0")])) == 1
    with pytest.raises(LocalProtocolError, match=r"eth0\+wlan0, eth1; name the interfaces of one link"):
        plans(MdhtConfig(subnet="lab"), [("eth0", "wlan0"), ("eth1",)])


def test_more_links_than_anybody_has_are_refused() -> None:
    names = [(f"eth{number}",) for number in range(LINKS_MAX + 1)]
    assert len(plans(MdhtConfig(), names[:-1])) == LINKS_MAX
    with pytest.raises(LocalProtocolError, match="17 links, at most 16"):
        plans(MdhtConfig(), names)

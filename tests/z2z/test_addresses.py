from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z2z.addresses import Scope, classify, endpoint, exportable, own_prefix


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("198.51.100.7", Scope.PUBLIC),
        ("192.0.2.1", Scope.PUBLIC),
        ("203.0.113.9", Scope.PUBLIC),
        ("160.39.243.99", Scope.PUBLIC),
        ("2001:db8::7", Scope.PUBLIC),
        ("2a00:1450::1", Scope.PUBLIC),
        ("10.1.2.3", Scope.PRIVATE),
        ("172.31.255.255", Scope.PRIVATE),
        ("172.32.0.0", Scope.PUBLIC),
        ("192.168.0.1", Scope.PRIVATE),
        ("100.64.0.1", Scope.PRIVATE),
        ("100.128.0.1", Scope.PUBLIC),
        ("198.18.0.1", Scope.PRIVATE),
        ("fd00::1", Scope.PRIVATE),
        ("fec0::1", Scope.PRIVATE),
        ("127.0.0.1", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK),
        ("169.254.9.9", Scope.LINK_LOCAL),
        ("fe80::1", Scope.LINK_LOCAL),
        ("0.0.0.0", Scope.UNUSABLE),
        ("::", Scope.UNUSABLE),
        ("224.0.0.251", Scope.UNUSABLE),
        ("ff02::fb", Scope.UNUSABLE),
        ("255.255.255.255", Scope.UNUSABLE),
        ("::ffff:192.168.0.1", Scope.PRIVATE),
        ("::ffff:127.0.0.1", Scope.LOOPBACK),
        ("2002:c0a8:1::1", Scope.PRIVATE),
        ("64:ff9b::198.51.100.7", Scope.PUBLIC),
        ("64:ff9b::10.0.0.1", Scope.PRIVATE),
    ],
)
def test_an_address_reaches_as_far_as_its_range(text, scope):
    assert classify(ip_address(text)) is scope


def test_private_addresses_leave_only_on_demand_and_loopback_never():
    heard = [ip_address(text) for text in ("198.51.100.7", "10.0.0.1", "127.0.0.1", "fe80::1", "fd00::1")]
    assert exportable(heard, allow_private=False) == (ip_address("198.51.100.7"),)
    assert exportable(heard, allow_private=True) == (
        ip_address("198.51.100.7"),
        ip_address("10.0.0.1"),
        ip_address("fd00::1"),
    )


def test_an_address_inside_a_prefix_of_this_host_is_known():
    own = [ip_interface("198.51.100.1/24"), ip_interface("2001:db8:1::1/64")]
    assert str(own_prefix(ip_address("198.51.100.200"), own)) == "198.51.100.0/24"
    assert str(own_prefix(ip_address("2001:db8:1::7"), own)) == "2001:db8:1::/64"
    assert own_prefix(ip_address("203.0.113.1"), own) is None
    assert own_prefix(ip_address("2001:db8:2::7"), own) is None


def test_an_endpoint_puts_ipv6_in_brackets():
    assert endpoint(ip_address("198.51.100.7"), 3689) == "198.51.100.7:3689"
    assert endpoint(ip_address("2001:db8::7"), 3689) == "[2001:db8::7]:3689"


@given(st.ip_addresses())
def test_every_address_has_a_scope(address):
    assert classify(address) in Scope

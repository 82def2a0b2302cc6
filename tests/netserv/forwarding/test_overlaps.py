"""Filters that want the same packet know of each other."""

from ipaddress import ip_network

from hypothesis import given

from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.matching import Matcher, Rule, read
from netserv.forwarding.overlaps import later, may_share
from tests.netserv.forwarding.ip_packets import packets
from tests.netserv.forwarding.test_matching import rules


@given(rules(), rules(), packets())
def test_filters_that_want_one_packet_may_share(one: Rule, other: Rule, packet: bytes) -> None:
    assert may_share(one.wanted, other.wanted) == may_share(other.wanted, one.wanted)
    parts = read(packet)
    if parts is not None and all(Matcher(each.wanted).wants(parts, packet) for each in (one, other)):
        assert may_share(one.wanted, other.wanted)


def test_later_filters_are_those_with_higher_numbers_that_may_share() -> None:
    def wanted(destination: str, port: int = 1) -> PacketFilter:
        return PacketFilter(proto="udp", ports=(port,), destination=ip_network(destination))

    filters = {
        1: wanted("10.0.0.0/8"),
        2: wanted("10.1.0.0/16"),
        3: wanted("10.0.0.0/8", port=2),
        4: wanted("11.0.0.0/8"),
        5: wanted("10.1.2.0/24"),
    }
    assert later(1, filters) == (2, 5)
    assert later(2, filters) == (5,)
    assert later(3, filters) == later(4, filters) == later(5, filters) == ()

"""Rules in words, and their u32 tests worked out as the kernel does, on real packets."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.forwarding.chains import filter_rules, u32_test
from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.matching import TCP, UDP
from netserv.modules.manifest import Prematch
from tests.netserv.forwarding.ip_packets import build, packed
from tests.netserv.signaling.transport.test_rules import u32

ENDS = {4: ("10.1.0.2", "10.2.0.2"), 6: ("2001:db8:1::2", "2001:db8:2::2")}
NETS = {4: ip_network("10.2.0.0/24"), 6: ip_network("2001:db8:2::/64")}


@given(
    st.sampled_from((4, 6)),
    st.sampled_from(("udp", "tcp")),
    st.integers(0, 20),
    st.binary(min_size=1, max_size=16),
    st.binary(max_size=40),
    st.booleans(),
)
def test_the_kernel_compares_payloads_as_the_broker_does(
    version: int, proto: str, offset: int, data: bytes, payload: bytes, there: bool
) -> None:
    if there:
        payload = payload[:offset].ljust(offset, b"x") + data + payload
    wanted = PacketFilter(proto=proto, ports=(5060,), destination=NETS[version])
    test = u32_test(wanted, Prematch(offset, data))
    if not test:  # it would begin before the payload of TCP, whose header is of any length
        assert proto == "tcp"
        assert len(data) < 4
        return
    source, destination = map(packed, ENDS[version])
    packet = build(source, destination, UDP if proto == "udp" else TCP, (1, 5060), payload)
    assert u32(test, packet) == payload.startswith(data, offset)


def test_rules_of_a_filter() -> None:
    wanted = PacketFilter(
        proto="udp",
        ports=tuple(range(1, 18)),
        destination=ip_network("10.2.0.0/24"),
        source=ip_network("10.1.0.0/16"),
        reverse=True,
    )
    rules = filter_rules(7, 27_003, wanted, closed=True, prematch=True)
    first = ",".join(map(str, range(1, 16)))
    assert [each.partition(" -m ttl")[0] for each in rules] == [
        f"-s 10.1.0.0/16 -d 10.2.0.0/24 -p udp -m multiport --dports {first}",
        f"-s 10.2.0.0/24 -d 10.1.0.0/16 -p udp -m multiport --sports {first}",
        "-s 10.1.0.0/16 -d 10.2.0.0/24 -p udp -m multiport --dports 16,17",
        "-s 10.2.0.0/24 -d 10.1.0.0/16 -p udp -m multiport --sports 16,17",
    ]
    assert {each.partition(" -m ttl")[2] for each in rules} == {
        (
            ' --ttl-gt 1 -m addrtype --dst-type UNICAST -m comment --comment "netserv filter 7 closed"'
            " -j NFQUEUE --queue-num 27003 --queue-bypass"
        )
    }


@pytest.mark.parametrize("version", [4, 6])
def test_each_prematch_is_a_rule(version: int) -> None:
    wanted = PacketFilter(
        proto="udp", ports=(5,), destination=NETS[version], prematch=(Prematch(0, b"NOTIFY "), Prematch(3, b"x"))
    )
    assert len(filter_rules(1, 2, wanted, closed=False, prematch=True)) == 2
    assert len(filter_rules(1, 2, wanted, closed=False, prematch=False)) == 1

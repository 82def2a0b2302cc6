"""Rules in words, and their u32 tests worked out as the kernel does, on real packets."""

import itertools
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.forwarding.chains import Chains, filter_rules, guards, u32_test
from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.matching import TCP, UDP
from netserv.modules.manifest import Prematch
from netserv.signaling.transport import xtables
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


def asking(*ports: int, proto: str = "udp", reverse: bool = False) -> PacketFilter:
    return PacketFilter(proto=proto, ports=ports, destination=NETS[4], reverse=reverse)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], []),
        ([asking(5060)], ["udp --dport 5060"]),
        ([asking(5060), asking(5060)], ["udp --dport 5060"]),
        ([asking(5061, 5060)], ["udp --dport 5060:5061"]),
        ([asking(53), asking(5060)], ["udp --dport 53", "udp --dport 5060"]),
        ([asking(53, 55), asking(5060, 65_535)], ["udp --dport 53:5060", "udp --dport 65535"]),
        (
            [asking(80, proto="tcp", reverse=True), asking(53)],
            ["tcp --dport 80", "tcp --sport 80", "udp --dport 53"],
        ),
    ],
)
def test_guards_of_filters(filters: list[PacketFilter], expected: list[str]) -> None:
    assert guards(filters) == [f"PREROUTING -p {words} -j NETSERV-PATH" for words in expected]


@given(st.lists(st.lists(st.integers(1, 65_535), min_size=1, max_size=64), max_size=20))
def test_what_a_filter_wants_passes_a_guard(ports: list[list[int]]) -> None:
    found = [each.split()[4].split(":") for each in guards(asking(*each) for each in ports)]
    assert len(found) <= 2
    for each in itertools.chain.from_iterable(ports):
        assert any(int(bounds[0]) <= each <= int(bounds[-1]) for bounds in found)


def test_packets_of_no_filter_meet_no_rule_and_guards_follow_the_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[list[str]] = []
    monkeypatch.setattr(xtables, "restore", lambda version, *lines: said.append([str(version), *lines]))
    monkeypatch.setattr(xtables, "listing", lambda _: "")
    chains = Chains()
    assert not [line for lines in said for line in lines if "PREROUTING" in line]
    for number, ports in ((1, (5060,)), (2, (5062,)), (3, (5061,))):
        chains.add(number, 100 + number, asking(*ports), closed=False)
    for number in (2, 1, 3):
        chains.drop(number)
    word = "PREROUTING -p udp --dport "
    assert [[line.replace(word, "").partition(" -j")[0] for line in lines if word in line] for lines in said[2:]] == [
        ["-A 5060"],
        ["-A 5062"],
        ["-D 5060", "-D 5062", "-A 5060:5062"],
        ["-D 5060:5062", "-A 5060:5061"],
        ["-D 5060:5061", "-A 5061"],
        ["-D 5061"],
    ]

from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.z2z.exports import item
from z2z.address_map import MAPPINGS_MAX, AddressMap, Mapping, address_map, parse_mapping
from z2z.errors import LocalProtocolError


def mapped(*texts: str) -> AddressMap:
    return address_map(map(parse_mapping, texts))


def places(service) -> tuple[list[str], int]:
    return [str(address) for address in service.addresses], service.port


@pytest.mark.parametrize(
    ("text", "address", "port", "there"),
    [
        ("192.168.1.5=203.0.113.7", "192.168.1.5", 3689, ("203.0.113.7", 3689)),
        ("192.168.1.5=203.0.113.7", "192.168.1.6", 3689, None),
        ("192.168.1.0/24=203.0.113.0/24", "192.168.1.77", 80, ("203.0.113.77", 80)),
        ("192.168.0.0/16=10.7.0.0/16", "192.168.3.4", 80, ("10.7.3.4", 80)),
        ("192.168.1.5:3689=203.0.113.7:13689", "192.168.1.5", 3689, ("203.0.113.7", 13689)),
        ("192.168.1.5:3689=203.0.113.7:13689", "192.168.1.5", 3690, None),
        ("fd00:1::/64=2001:db8:1::/64", "fd00:1::5", 80, ("2001:db8:1::5", 80)),
        ("[fd00::5]:80=[2001:db8::7]:8080", "fd00::5", 80, ("2001:db8::7", 8080)),
        ("[fd00::5]=2001:db8::7", "fd00::5", 80, ("2001:db8::7", 80)),
        (" 192.168.1.5 = 203.0.113.7 ", "192.168.1.5", 80, ("203.0.113.7", 80)),
        ("192.168.1.5/32=203.0.113.7", "192.168.1.5", 80, ("203.0.113.7", 80)),
        ("192.168.1.5=203.0.113.7", "fd00::5", 80, None),
    ],
)
def test_a_mapping_says_where_a_service_is_reached(text, address, port, there):
    hit = parse_mapping(text).translate(ip_address(address), port)
    assert (None if hit is None else (str(hit[0]), hit[1])) == there


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no mapping: ADDRESS=ADDRESS"),
        ("192.168.1.5", "is no mapping"),
        ("printer=203.0.113.7", "'printer' is no side of a mapping"),
        ("192.168.1.5=", "'' is no side"),
        ("192.168.1.5=203.0.113.7=203.0.113.8", "no side"),
        ("192.168.1.555=203.0.113.7", "'192.168.1.555' is no IPv4 or IPv6 address"),
        ("192.168.1.5/24=203.0.113.0/24", "the network is 192.168.1.0/24, the address alone 192.168.1.5"),
        ("192.168.1.0/24=203.0.113.7", "differ in size"),
        ("192.168.1.0/24=203.0.112.0/23", "differ in size"),
        ("192.168.1.5=2001:db8::5", "one side is IPv4, the other IPv6"),
        ("192.168.1.5:80=203.0.113.7", "a port on both sides"),
        ("192.168.1.5=203.0.113.7:80", "a port on both sides"),
        ("192.168.1.0/24:80=203.0.113.0/24:80", "no side"),
        ("192.168.1.5:0=203.0.113.7:80", "port 0 is not within 1..65535"),
        ("192.168.1.5:65536=203.0.113.7:80", "port 65536 is not within"),
        ("203.0.113.7=203.0.113.7", "changes nothing"),
        ("203.0.113.7:80=203.0.113.7:80", "changes nothing"),
        ("127.0.0.1=203.0.113.7", "127.0.0.1 is loopback"),
        ("192.168.1.5=0.0.0.0", "reserved"),
        ("192.168.1.5=224.0.0.251", "reserved or multicast"),
        ("fe80::1=2001:db8::1", "link-local"),
        ("fe80::1%eth0=2001:db8::1", "no side"),
        ("::ffff:127.0.0.1=2001:db8::1", "loopback"),
        ("126.0.0.0/7=20.0.0.0/7", "has 127.0.0.0/8 in it, which is loopback"),
        ("0.0.0.0/0=0.0.0.0/0", "no router translates that"),
    ],
)
def test_what_is_no_mapping_is_refused_with_what_would_be(text, complaint):
    with pytest.raises(LocalProtocolError, match=complaint):
        parse_mapping(text)


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["192.168.1.5=203.0.113.7", "192.168.1.5=203.0.113.8"], "both say where 192.168.1.5 is"),
        (["192.168.1.0/24=203.0.113.0/24", "192.168.1.5=198.51.100.8"], "both say where 192.168.1.5 is"),
        (["192.168.1.5=203.0.113.7", "192.168.1.5:80=198.51.100.8:80"], "both say where 192.168.1.5:80 is"),
        (["192.168.1.5=203.0.113.7", "192.168.1.6=203.0.113.7"], "lead to one address.*name ports"),
        (["192.168.1.5:80=203.0.113.7:80", "192.168.1.6:81=203.0.113.7:80"], "lead to one address"),
        (["192.168.1.5=10.0.0.5", "10.0.0.5=203.0.113.7"], "applied once, so name the end"),
        (["10.0.0.0/24=10.0.1.0/24", "10.0.1.0/24=10.0.2.0/24"], "applied once"),
    ],
)
def test_mappings_that_contradict_each_other_are_refused(texts, complaint):
    for order in (texts, texts[::-1]):
        with pytest.raises(LocalProtocolError, match=r"both say|lead"):
            mapped(*order)
    with pytest.raises(LocalProtocolError, match=complaint):
        mapped(*texts)


def test_ports_of_one_address_may_go_to_several_places_and_what_is_said_twice_counts_once():
    found = mapped(
        "192.168.1.5:80=203.0.113.7:8080", "192.168.1.5:631=203.0.113.7:8631", "192.168.1.6:80=203.0.113.7:80"
    )
    assert len(found.mappings) == 3
    assert len(mapped("192.168.1.5=203.0.113.7", "192.168.1.5=203.0.113.7").mappings) == 1


def test_a_map_has_a_limit():
    many = [f"10.0.{number // 250}.{number % 250}=203.0.113.7:{number}" for number in range(MAPPINGS_MAX + 1)]
    texts = [text.replace("=", ":5=") for text in many]
    assert len(mapped(*[text.replace(":0", ":9999") for text in texts[:-1]]).mappings) == MAPPINGS_MAX
    with pytest.raises(LocalProtocolError, match="map networks"):
        mapped(*[text.replace(":0", ":9999") for text in texts])


def test_addresses_of_an_item_are_translated_each_and_stay_in_order():
    service = item(b"x", "192.168.1.5", "198.51.100.9", "fd00::5")
    found = mapped("192.168.1.5=203.0.113.7", "fd00::/64=2001:db8::/64").apply(service)
    assert places(found.item) == (["198.51.100.9", "203.0.113.7", "2001:db8::5"], 3689)
    assert {str(each) for each in found.mapped} == {"203.0.113.7", "2001:db8::5"}
    assert found.lost == ()


def test_an_item_without_a_mapping_stays_as_it_is():
    found = mapped("10.0.0.1=203.0.113.7").apply(item())
    assert (found.item, found.mapped, found.lost) == (item(), frozenset(), ())


def test_an_item_has_one_port_so_addresses_at_another_one_are_lost_and_named():
    service = item(b"x", "192.168.1.5", "198.51.100.9", "fd00::5")
    found = mapped("192.168.1.5:3689=203.0.113.7:13689", "[fd00::5]:3689=[2001:db8::5]:3689").apply(service)
    assert places(found.item) == (["203.0.113.7"], 13689)
    assert found.lost == (
        "198.51.100.9:3689 has another port than 203.0.113.7:13689",
        "[2001:db8::5]:3689 has another port than 203.0.113.7:13689",
    )


def test_two_addresses_that_lead_to_one_are_one():
    found = mapped("192.168.1.5=203.0.113.7").apply(item(b"x", "192.168.1.5", "203.0.113.7"))
    assert places(found.item) == (["203.0.113.7"], 3689)


@given(st.text(max_size=40) | st.text("0123456789abcdef:./[]=% ", max_size=60))
def test_any_text_is_a_mapping_or_the_error_of_the_caller(text):
    with suppress(LocalProtocolError):
        assert isinstance(parse_mapping(text), Mapping)


networks = st.one_of(
    st.tuples(st.integers(0x0B000000, 0x1FFFFFFF), st.integers(9, 32)).map(
        lambda pair: ip_network((pair[0], pair[1]), strict=False)
    ),
    st.tuples(st.integers(0x2003 << 112, (0x3000 << 112) - 1), st.integers(48, 128)).map(
        lambda pair: ip_network((pair[0], pair[1]), strict=False)
    ),
)
ports = st.integers(1, 65_535)


@given(networks, networks, st.none() | st.tuples(ports, ports))
def test_what_a_mapping_shows_is_read_as_the_same_one(inside, outside, its_ports):
    assume(inside.version == outside.version)
    longest = max(inside.prefixlen, outside.prefixlen) if its_ports is None else inside.max_prefixlen
    sides = [ip_network((int(each.network_address), longest), strict=False) for each in (inside, outside)]
    assume(sides[0] != sides[1])
    first, second = its_ports or (0, 0)
    mapping = Mapping(inside=sides[0], outside=sides[1], inside_port=first, outside_port=second)
    assert parse_mapping(str(mapping)) == mapping


@given(networks, st.data())
def test_a_network_keeps_its_hosts_apart(network, data):
    assume(network.version == 4)
    mapping = parse_mapping(f"{network}={ip_network((0x28000000, network.prefixlen))}")
    hosts = data.draw(st.lists(st.integers(0, network.num_addresses - 1), unique=True, max_size=5))
    hits = [mapping.translate(network[host], 80) for host in hosts]
    assert [int(hit[0]) - 0x28000000 for hit in hits] == hosts

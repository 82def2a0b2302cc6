import msgspec
import pytest

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.location import Location, distance_km
from netserv_discovery.policy import DEFAULT, Reach, Where, hidden_because, parse_policy, shown
from netserv_discovery.record import Limits
from netserv_discovery.versions import Offer
from tests.netserv_discovery.test_record import RECORD

PUBLIC, PRIVATE, LOOPBACK = b"\xa0\x27\xf3\x63", b"\x0a\0\0\1", b"\x7f\0\0\1"
WHOLE = msgspec.structs.replace(RECORD, addresses=(PRIVATE, PUBLIC), limits=Limits(1, 2, 3), load=4)


def test_without_a_file_all_is_shown_but_private_addresses_to_strangers():
    assert shown(WHOLE, Where.LINK) == WHOLE
    assert shown(WHOLE, Where.PROBE) == WHOLE
    assert shown(WHOLE, Where.DHT).addresses == (PUBLIC,)
    assert shown(WHOLE, Where.SITES) is None
    assert "show = false" in hidden_because(WHOLE, Where.SITES)
    assert parse_policy("") == DEFAULT


@pytest.mark.parametrize(
    ("item", "hidden"),
    [
        ("blocks", {"blocks": ()}),
        ("modules", {"modules": ()}),
        ("limits", {"limits": Limits()}),
        ("load", {"load": 0}),
        ("location", {"location": None}),
        ("operator", {"operator": ""}),
    ],
)
def test_each_item_can_be_hidden_in_one_place(item, hidden):
    others = [each for each in ("blocks", "modules", "limits", "load", "location", "operator") if each != item]
    policy = parse_policy(f"[link]\nshow = {others}")
    assert shown(WHOLE, Where.LINK, policy) == msgspec.structs.replace(WHOLE, **hidden)
    assert shown(WHOLE, Where.PROBE, policy) == WHOLE


def test_blocks_and_modules_are_chosen_by_patterns():
    record = msgspec.structs.replace(
        WHOLE, blocks=tuple(Offer(name, "1") for name in ("FFmpeg", "http", "https", "sip"))
    )
    policy = parse_policy('[dht]\nblocks = ["ffmpeg", "HTTP*"]\nmodules = ["none"]')
    part = shown(record, Where.DHT, policy)
    assert [each.name for each in part.blocks] == ["FFmpeg", "http", "https"]
    assert part.modules == ()


@pytest.mark.parametrize("km", [1, 5, 30, 100, 777, 5_000])
def test_a_place_is_rounded_to_kilometres_and_says_how_exact_it_is(km):
    policy = parse_policy(f"[dht]\nlocation_km = {km}")
    seen = set()
    for hundredth in range(0, 900, 37):
        at = Location(40 + hundredth / 100, 179.5 + hundredth / 2000)
        part = shown(msgspec.structs.replace(WHOLE, location=at), Where.DHT, policy)
        assert distance_km(at, part.location) <= part.within_km
        seen.add(part.location)
    assert len(seen) <= 900 * 1.2 / km + 2 or km < 40


@pytest.mark.parametrize(
    ("addresses", "reach", "visible"),
    [
        ((PRIVATE, PUBLIC), "all", (PRIVATE, PUBLIC)),
        ((PRIVATE, PUBLIC), "public", (PUBLIC,)),
        ((PRIVATE, PUBLIC), "none", ()),
        ((LOOPBACK, PRIVATE), "all", (PRIVATE,)),
        ((LOOPBACK,), "all", (LOOPBACK,)),
        ((b"\xfe\x80" + bytes(13) + b"\1", PUBLIC), "all", (PUBLIC,)),
    ],
)
def test_addresses_have_a_rule_of_their_own(addresses, reach, visible):
    policy = parse_policy(f'[dht]\naddresses = "{reach}"')
    assert shown(msgspec.structs.replace(WHOLE, addresses=addresses), Where.DHT, policy).addresses == visible


def test_who_has_no_address_for_a_place_is_told_what_to_say():
    record = msgspec.structs.replace(WHOLE, addresses=(PRIVATE,))
    assert shown(record, Where.DHT) is None
    assert hidden_because(record, Where.DHT) == (
        'no address is public; for a site with private ones say [dht] addresses = "all"'
    )
    assert hidden_because(record, Where.LINK) == ""
    assert hidden_because(msgspec.structs.replace(record, addresses=()), Where.LINK) == "the node has no address"


def test_sites_are_named_by_keys_of_z2z():
    policy = parse_policy('[sites]\nkeys = ["office"]')
    assert policy.view(Where.SITES).keys == ("office",)
    assert shown(WHOLE, Where.SITES, policy).addresses == (PUBLIC,)
    assert 'keys = ["office"]' in hidden_because(WHOLE, Where.SITES, parse_policy("[sites]\nshow = true"))
    assert shown(WHOLE, Where.DHT, parse_policy("[dht]\nshow = false")) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = ", "not TOML"),
        ("[dhtt]", "unknown key 'dhtt': dht is meant?"),
        ("link = 1", r"link: a table is needed: \[link\]"),
        ("[dht]\nshow = 1", r"\[dht\] show is true, false, or a list of blocks, modules"),
        ('[dht]\nshow = ["block"]', "unknown item 'block': blocks is meant"),
        ("[dht]\nblocks = []", "leave them out of show"),
        ('[dht]\nblocks = "ffmpeg"', "a list of names"),
        ("[dht]\nlocation_km = -1", "0 to 5000, not -1"),
        ("[dht]\nlocation_km = true", "a number of kilometres"),
        ('[dht]\naddresses = "some"', '"all", "public" or "none"'),
        ('[dht]\nkeys = ["office"]', "unknown key 'keys'"),
        ('[sites]\nkeys = ["!!"]', "no letter and no digit"),
        ("[link]\na=1\nb=2\nc=3\nd=4\ne=5\nf=6", "and 1 more"),
    ],
)
def test_mistakes_are_told_with_what_is_right(text, told):
    with pytest.raises(LocalProtocolError, match=told):
        parse_policy(text)


def test_defaults_of_a_table_are_those_without_it():
    policy = parse_policy("[dht]\nlocation_km = 50")
    assert policy.view(Where.DHT).addresses is Reach.PUBLIC
    assert policy.view(Where.DHT).show == DEFAULT.view(Where.DHT).show

import itertools
import math
from random import Random

import msgspec
import pytest

from netserv_discovery.advertising import (
    RETRY_MAX_S,
    TRANSITIONS,
    Advertiser,
    AdvertisingConfig,
    Announce,
    Facts,
    Input,
    Put,
    Remove,
    State,
    Withdraw,
)
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.keys import keys_of, list_key
from netserv_discovery.link_text import record_of_txt
from netserv_discovery.location import Location
from netserv_discovery.policy import Where, parse_policy
from netserv_discovery.record import decode, decode_list, made_name
from netserv_discovery.versions import Offer
from tests.netserv_discovery.strategies import KEY, UNIX
from z2z.cover import PLAIN, Cover, Secret
from z2z.keys import dht_key
from z2z.seal import unseal

FACTS = Facts(
    node_id=made_name(KEY.public_key),
    addresses=(b"\xa0\x27\xf3\x63",),
    ping_port=4_270,
    blocks=(Offer("ffmpeg", "6.1"),),
    location=Location(40.71, -74.01),
)


def facts(**changes) -> Facts:
    return msgspec.structs.replace(FACTS, **changes)


def advertiser(policy: str = "", cover: Cover = PLAIN, **config) -> Advertiser:
    return Advertiser(KEY, Random(1), AdvertisingConfig(**config), parse_policy(policy), cover)


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def texts(kind, effects):
    return [effect.text for effect in of(kind, effects)]


def test_a_node_is_shown_at_once_on_the_link_and_in_the_dht():
    core = advertiser()
    assert core.next_deadline() == math.inf
    effects = core.set_facts(FACTS, 0.0, UNIX)
    (announce,) = of(Announce, effects)
    record = record_of_txt(announce.txt, UNIX)
    assert (record.blocks, record.issued, record.expires) == (FACTS.blocks, UNIX, UNIX + 300)
    assert (announce.instance, announce.port, announce.subtypes) == (FACTS.node_id, 270, ("_ffmpeg",))
    puts = of(Put, effects)
    assert [(put.key, put.text) for put in puts] == [(place.key, place.text) for place in keys_of(record)]
    assert {decode(put.value, UNIX) for put in puts} == {record}
    assert {(put.name, put.lease_s) for put in puts} == {(KEY.public_key[:16], 300)}
    assert core.state is State.SHOWN


def test_it_is_put_again_before_a_third_of_its_life_has_passed():
    core = advertiser(lease_s=300)
    core.set_facts(FACTS, 0.0, UNIX)
    due = core.next_deadline()
    assert 90 <= due <= 100
    assert core.tick(due - 0.1, UNIX + 95) == []
    effects = core.tick(due, UNIX + 95)
    assert decode(of(Put, effects)[0].value, UNIX).issued == UNIX + 95
    assert len(of(Announce, effects)) == 1
    assert core.next_deadline() > due + 89


def test_the_same_facts_change_nothing():
    core = advertiser()
    core.set_facts(FACTS, 0.0, UNIX)
    assert core.set_facts(facts(), 5.0, UNIX + 5) == []
    assert core.state is State.SHOWN


def test_a_change_is_shown_at_once_and_those_that_follow_together():
    core = advertiser(settle_s=1.0)
    core.set_facts(FACTS, 0.0, UNIX)
    http, sip = Offer("http", "1"), Offer("sip", "2")
    effects = core.set_facts(facts(blocks=(*FACTS.blocks, http)), 10.0, UNIX + 10)
    assert "block:http" in texts(Put, effects)
    assert core.set_facts(facts(blocks=(*FACTS.blocks, http, sip)), 10.3, UNIX + 10.3) == []
    assert core.set_facts(facts(blocks=(http, sip)), 10.6, UNIX + 10.6) == []
    assert core.state is State.CHANGED
    assert core.next_deadline() == pytest.approx(11.0)
    effects = core.tick(11.0, UNIX + 11)
    assert {"block:http", "block:sip"} < set(texts(Put, effects))
    assert texts(Remove, effects) == ["block:ffmpeg", *(f"block:ffmpeg@{cell}" for cell in ("dr5re", "dr5", "dr", "d"))]


def test_who_moves_is_taken_from_the_cells_that_he_has_left():
    core = advertiser()
    core.set_facts(FACTS, 0.0, UNIX)
    effects = core.set_facts(facts(location=Location(40.71, -73.01)), 10.0, UNIX + 10)
    assert {"block:ffmpeg@dr5re", "cell:dr5re"} <= set(texts(Remove, effects))
    assert "cell:d" not in texts(Remove, effects)


@pytest.mark.parametrize(
    ("load", "after_s", "shown_after_s"),
    [(1, 50.0, None), (2, 50.0, 0.0), (10, 3.0, 7.0), (10, 12.0, 0.0)],
)
def test_the_load_is_shown_when_it_differs_enough(load, after_s, shown_after_s):
    core = advertiser(load_step=2, load_settle_s=10.0)
    core.set_facts(FACTS, 0.0, UNIX)
    refresh_at = core.next_deadline()
    effects = core.set_facts(facts(load=load), after_s, UNIX + after_s)
    assert bool(effects) is (shown_after_s == 0.0)
    if shown_after_s is None:
        assert core.next_deadline() == refresh_at
        assert decode(of(Put, core.tick(refresh_at, UNIX + 99))[0].value, UNIX + 99).load == load
    elif shown_after_s:
        assert core.next_deadline() == pytest.approx(after_s + shown_after_s)


def test_a_put_that_failed_is_tried_again_later_and_later():
    core = advertiser(lease_s=100_000)
    put, *others = of(Put, core.set_facts(FACTS, 0.0, UNIX))
    for each in others:
        core.put_done(each, None, 0.1)
    now, waits = 0.1, []
    for _ in range(6):
        core.put_done(put, "no node answered", now)
        waits.append(core.next_deadline() - now)
        now = core.next_deadline()
        assert core.tick(now, UNIX + now) == [put]
    assert [round(wait) for wait in waits] == [2, 4, 8, 16, RETRY_MAX_S, RETRY_MAX_S]
    assert (core.stored, core.wanted) == (len(others), len(others) + 1)
    core.put_done(put, None, now)
    assert core.stored == core.wanted
    assert core.counters["failed_puts"] == 6


def test_what_came_of_a_former_put_does_not_matter():
    core = advertiser()
    old = of(Put, core.set_facts(FACTS, 0.0, UNIX))
    core.set_facts(facts(operator="Columbia"), 5.0, UNIX + 5)
    refresh_at = core.next_deadline()
    core.put_done(old[0], "late", 5.1)
    assert core.next_deadline() == refresh_at


def test_everything_is_taken_back_at_the_end():
    core = advertiser('[sites]\nkeys = ["office"]')
    puts = of(Put, core.set_facts(FACTS, 0.0, UNIX))
    withdraw, *removes = core.stop()
    assert withdraw == Withdraw()
    assert {(each.key, each.name) for each in removes} == {(put.key, put.name) for put in puts}
    assert core.stop() == []
    assert core.tick(1e9, UNIX) == []
    assert core.next_deadline() == math.inf
    with pytest.raises(LocalProtocolError, match="has stopped"):
        core.set_facts(FACTS, 1.0, UNIX)


def test_who_never_said_anything_has_nothing_to_take_back():
    assert advertiser().stop() == []


def test_places_get_what_the_policy_shows_there():
    policy = '[link]\nshow = ["blocks"]\n[dht]\nlocation_km = 100\nblocks = []\n'.replace("blocks = []\n", "")
    core = advertiser(policy)
    effects = core.set_facts(facts(operator="Columbia"), 0.0, UNIX)
    on_link = record_of_txt(of(Announce, effects)[0].txt, UNIX)
    assert (on_link.location, on_link.operator) == (None, "")
    in_dht = decode(of(Put, effects)[0].value, UNIX)
    assert in_dht.operator == "Columbia"
    assert in_dht.within_km > 60
    assert core.record_for(Where.PROBE).operator == "Columbia"


def test_another_policy_is_obeyed_at_once():
    core = advertiser()
    core.set_facts(FACTS, 0.0, UNIX)
    effects = core.set_policy(parse_policy("[dht]\nshow = false\n[link]\nshow = false"), 0.1, UNIX + 1)
    assert of(Withdraw, effects) == [Withdraw()]
    assert len(of(Remove, effects)) == 10
    assert of(Put, effects) == []
    assert set(core.hidden()) == {Where.LINK, Where.DHT, Where.SITES}
    assert core.stop() == []


def test_sites_get_an_item_of_z2z_under_each_key():
    core = advertiser('[sites]\nkeys = ["office", "Joe\'s lab"]')
    puts = {put.text: put for put in of(Put, core.set_facts(FACTS, 0.0, UNIX))}
    put = puts["site Joe's lab"]
    assert put.key == dht_key("joeslab")
    assert unseal(put.value).item.instance == FACTS.node_id.encode()
    assert len(put.name) == 20


def test_a_node_of_many_blocks_has_a_list_and_each_key_its_offer():
    blocks = tuple(Offer(f"building-block-{number}", "1.0") for number in range(100))
    core = advertiser()
    puts = {put.text: put for put in of(Put, core.set_facts(facts(blocks=blocks), 0.0, UNIX))}
    record = decode(puts["block:building-block-63@d"].value, UNIX)
    assert record.blocks[0].name == "building-block-63"
    document = puts["list of offers"]
    assert document.key == list_key(record.more)
    assert decode_list(document.value, record.more).blocks == blocks
    assert max(len(put.value) for put in puts.values() if put is not document) <= 719


def test_records_grow_newer_even_if_the_clock_is_set_back():
    core = advertiser()
    core.set_facts(FACTS, 0.0, UNIX)
    effects = core.set_facts(facts(operator="x"), 10.0, UNIX - 3_600)
    assert decode(of(Put, effects)[0].value, UNIX).issued == UNIX + 1


def test_facts_that_no_record_can_say_change_nothing():
    core = advertiser()
    core.set_facts(FACTS, 0.0, UNIX)
    for bad in ({"load": 11}, {"node_id": "a b"}, {"blocks": tuple(Offer(f"{'x' * 120}{n}", "1") for n in range(250))}):
        with pytest.raises(LocalProtocolError):
            core.set_facts(facts(**bad), 5.0, UNIX + 5)
    assert core.state is State.SHOWN
    assert of(Put, core.tick(core.next_deadline(), UNIX + 99))


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Input)))
def test_states_follow_the_table(state, event):
    legal = (state, event) in TRANSITIONS
    assert legal is (state is not State.STOPPED and (state, event) != (State.SILENT, Input.PUBLISHED))


@pytest.mark.parametrize("lease_s", [0, 9, 8 * 86_400])
def test_a_lease_has_bounds(lease_s):
    with pytest.raises(LocalProtocolError, match="say 10 s to 7 days"):
        AdvertisingConfig(lease_s=lease_s)


def test_a_secret_hides_what_is_shown_to_sites_and_nothing_else():
    secret = Secret(b"s" * 32)
    core = advertiser('[sites]\nkeys = ["office"]', secret)
    puts = of(Put, core.set_facts(FACTS, 0.0, UNIX))
    (hidden,) = [put for put in puts if put.for_sites]
    assert (hidden.key, hidden.text) == (secret.key("office"), "site office")
    assert hidden.key != dht_key("office")
    assert unseal(secret.open(hidden.value).envelope).item.instance == FACTS.node_id.encode()
    others = [put for put in puts if not put.for_sites]
    assert {put.key for put in others} == {place.key for place in keys_of(decode(others[0].value, UNIX))}
    (gone,) = [each for each in of(Remove, core.stop()) if each.for_sites]
    assert (gone.key, gone.name) == (hidden.key, hidden.name)

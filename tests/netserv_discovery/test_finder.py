import itertools
import math
from collections import Counter
from random import Random

import msgspec
import pytest

from netserv_discovery.candidates import TRANSITIONS, Input, State
from netserv_discovery.errors import Refusal
from netserv_discovery.finder import AskPing, Done, FinderConfig, Get, Search, Value
from netserv_discovery.keys import block_cell_key, block_key, keys_of, node_key
from netserv_discovery.location import Location
from netserv_discovery.ping import Measured, Outcome
from netserv_discovery.ranking import Trust
from netserv_discovery.record import encode
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import Wanted
from tests.netserv_discovery.world import HERE, SILENT_S, UNIX, World, node, resigned, run

FFMPEG = parse_need("ffmpeg>=5")
OFFER = (Offer("ffmpeg", "6.1"),)


def wanted(**changes) -> Wanted:
    return Wanted(**{"blocks": (FFMPEG,), "near": HERE, "here": HERE, "limit": 3, **changes})


def add(world: World, east: float, *, answers: bool = True, advertised: bool = True, **changes):
    """A node so many degrees east of here."""
    key = world.key()
    place = Location(HERE.latitude, HERE.longitude + east)
    record = node(world.rng, key, **{"blocks": OFFER, "location": place, **changes})
    if answers:
        world.answers(record)
    if advertised:
        world.advertise(record, key)
    return record, key


def names(done: Done) -> list[str]:
    return [each.record.node_id for each in done.found]


@pytest.fixture
def world() -> World:
    return World(Random(7))


def test_the_nearest_that_answer_are_found_in_order(world):
    nodes = [add(world, east)[0] for east in (0.5, 0.1, 0.9, 0.3)]
    done, took_s = world.search(wanted())
    assert names(done) == [nodes[1].node_id, nodes[3].node_id, nodes[0].node_id]
    assert {each.trust for each in done.found} == {Trust.CONFIRMED}
    assert (done.certain, done.rounds, done.gets, done.pings) == (True, 1, 3, 4)
    assert took_s < 0.03
    assert done.counters == {}


def test_larger_cells_and_the_world_are_asked_only_when_needed(world):
    add(world, 0.1)
    far, _ = add(world, 100.0)
    done, _ = world.search(wanted(limit=1))
    assert (done.rounds, done.certain) == (1, True)
    done, _ = world.search(wanted(limit=2))
    assert names(done)[1] == far.node_id
    assert (done.rounds, done.gets, done.certain) == (4, 8, True)


def test_nothing_is_found_where_nothing_is(world):
    done, _ = world.search(wanted())
    assert (done.found, done.certain, done.rounds) == ((), True, 4)


def test_without_a_place_the_key_of_the_block_is_asked(world):
    one, _ = add(world, 0.1)
    hidden, _ = add(world, 0.2, location=None)
    done, _ = world.search(wanted(near=None, here=None))
    assert set(names(done)) == {one.node_id, hidden.node_id}
    assert done.gets == 1


def test_nodes_are_found_by_module_by_place_and_by_name(world):
    record, _ = add(world, 0.1, modules=(Offer("NetServ.Cdn", "1.2"),), blocks=())
    for asked in (
        Wanted(modules=(parse_need("netserv.cdn>=1"),), near=HERE),
        Wanted(modules=(parse_need("netserv.cdn"),)),
        Wanted(near=HERE),
        Wanted(node_id=record.node_id),
    ):
        assert names(world.search(asked)[0]) == [record.node_id]
    assert world.search(Wanted(near=HERE))[0].gets == 35, "with the 32 largest cells for the whole world"
    assert names(world.search(Wanted(modules=(parse_need("netserv.cdn>=2"),)))[0]) == []


def test_all_that_is_needed_must_be_there(world):
    add(world, 0.1)
    both, _ = add(world, 0.2, blocks=(*OFFER, Offer("http", "1")))
    done, _ = world.search(wanted(blocks=(FFMPEG, parse_need("http"))))
    assert names(done) == [both.node_id]
    assert done.counters == {"unfit": 1}


def test_a_radius_ends_the_search(world):
    near, _ = add(world, 0.1)
    add(world, 2.0)
    done, _ = world.search(wanted(radius_km=50.0))
    assert names(done) == [near.node_id]
    assert (done.rounds, done.certain) == (1, True)


def test_without_ping_records_are_believed(world):
    ghost, _ = add(world, 0.1, answers=False)
    done, took_s = world.search(wanted(limit=1, ping=False))
    assert names(done) == [ghost.node_id]
    assert (done.found[0].trust, done.pings) == (Trust.UNMEASURED, 0)
    assert took_s < 0.02


def test_a_node_that_is_gone_is_last_and_not_waited_for(world):
    ghost, _ = add(world, 0.05, answers=False)
    nodes = [add(world, east)[0].node_id for east in (0.1, 0.2, 0.3)]
    done, took_s = world.search(wanted(limit=3))
    assert names(done) == nodes
    assert took_s < 0.1
    done, took_s = world.search(wanted(limit=4))
    assert names(done) == [*nodes, ghost.node_id]
    assert done.found[3].reasons[1] == "does not answer"
    assert took_s == pytest.approx(SILENT_S, abs=0.1)


def test_the_list_of_a_node_with_many_blocks_is_got_when_it_matters(world):
    blocks = (*(Offer(f"building-block-{number}", "1") for number in range(60)), *OFFER)
    record, _ = add(world, 0.1, blocks=blocks)
    done, _ = world.search(wanted(limit=1))
    assert (names(done), done.gets) == ([record.node_id], 3), "the key of a block has records that name it"
    asked = wanted(limit=1, blocks=(FFMPEG, parse_need("building-block-59")))
    done, _ = world.search(asked)
    assert (names(done), done.gets) == ([record.node_id], 4)
    assert done.found[0].record.blocks == blocks
    done, _ = world.search(wanted(limit=1, blocks=(FFMPEG, parse_need("building-block-99"))))
    assert names(done) == []
    world.store = {key: values for key, values in world.store.items() if len(values[0].data) < 1_000}
    assert world.search(asked)[0].counters["list_missing"] == 1


def test_keys_that_cannot_be_had_make_it_uncertain(world):
    add(world, 0.1)
    world.gone = {block_key("ffmpeg"), *(block_cell_key("ffmpeg", cell) for cell in ("dr5", "dr", "d"))}
    done, _ = world.search(wanted(near=Location(40.71, -74.2)))
    assert (done.found, done.certain) == ((), False)
    assert done.counters == {"failed_gets": 4}
    world.gone = {block_cell_key("ffmpeg", "dr5")}
    done, _ = world.search(wanted(near=Location(40.71, -74.2)))
    assert (len(done.found), done.certain) == (1, True), "the key of the whole world has it as well"


def test_a_search_ends_at_its_deadline(world):
    nodes = [add(world, east)[0].node_id for east in (0.1, 0.2)]
    world.get_s = lambda key: 60.0 if key == block_key("ffmpeg") else 0.01
    done, took_s = world.search(wanted(), FinderConfig(deadline_s=2.0))
    assert names(done) == nodes
    assert took_s == pytest.approx(2.0)
    assert not done.certain


def test_a_slow_cell_that_does_not_matter_is_not_waited_for(world):
    add(world, 0.01), add(world, 0.012)
    world.get_s = lambda key: 60.0 if key == block_cell_key("ffmpeg", "dr") else 0.01
    done, took_s = world.search(wanted(limit=1))
    assert took_s < 0.1
    assert done.certain


def test_what_comes_after_the_end_changes_nothing(world):
    add(world, 0.1)
    search = Search(wanted(limit=1))
    run(world, search, 100.0)
    assert search.values(block_key("ffmpeg"), [], 101.0) == []
    assert search.tick(200.0) == []
    assert search.next_deadline() == math.inf
    assert block_cell_key("ffmpeg", "dr5") in search.keys


def test_a_record_from_the_link_counts_too(world):
    record, key = add(world, 0.1, advertised=False)
    search = Search(wanted(limit=1))
    gets = search.start(0.0, UNIX)
    assert len([each for each in gets if isinstance(each, Get)]) == 3
    search.known(encode(record, key), 0.0)
    effects = list(itertools.chain.from_iterable(search.values(get.key, (), 0.0) for get in gets))
    assert any(isinstance(each, AskPing) for each in effects)


# ---- what others do ----------------------------------------------------------------------------------------------


def put(world: World, record, data: bytes, writer: bytes = b"w" * 32) -> None:
    world.put(keys_of(record), data, writer)


@pytest.mark.parametrize("forged_first", [True, False])
@pytest.mark.parametrize(
    ("forge", "counted"),
    [
        (lambda r, k, w: resigned(r, k, issued=UNIX - 400, expires=UNIX - 1), Refusal.EXPIRED),
        (lambda r, k, w: resigned(r, k, issued=UNIX + 900, expires=UNIX + 990), Refusal.TOO_FAR_AHEAD),
        (lambda r, k, w: resigned(r, k, issued=UNIX - 100, load=0, operator="old"), Refusal.SUPERSEDED),
        (lambda r, k, w: resigned(r, k, issued=UNIX, operator="x")[:-1] + b"\0", Refusal.BAD_SIGNATURE),
        (lambda r, k, w: resigned(r, k, location=Location(0, 0)), Refusal.WRONG_PLACE),
        (lambda r, k, w: b"garbage" * 20, Refusal.MALFORMED),
        (lambda r, k, w: bytes(1_001), Refusal.TOO_LONG),
    ],
    ids=lambda each: str(each) if isinstance(each, Refusal) else "",
)
def test_false_records_of_a_node_do_not_hide_it(world, forge, counted, forged_first):
    record, key = add(world, 0.1, advertised=False)
    false = forge(record, key, world)
    if forged_first:
        put(world, record, false)
    world.advertise(record, key)
    if not forged_first:
        put(world, record, false)
    done, _ = world.search(wanted(limit=1))
    assert [each.record for each in done.found] == [record]
    assert done.found[0].trust is Trust.CONFIRMED
    assert done.counters[counted] >= 1


@pytest.mark.parametrize("first", [0, 1])
def test_an_older_record_that_had_more_does_not_count(world, first):
    record, key = add(world, 0.1, advertised=False, blocks=(Offer("http", "1"),))
    values = [encode(record, key), resigned(record, key, issued=UNIX - 100, blocks=OFFER)]
    place = keys_of(msgspec.structs.replace(record, blocks=OFFER))
    for data in (values[first], values[1 - first]):
        world.put(place, data, b"w" * 32)
    done, _ = world.search(wanted())
    assert done.found == ()
    assert done.counters["unfit"] == 1


def test_a_newer_record_replaces_one_that_was_asked_already(world):
    record, key = add(world, 0.01)
    newer = resigned(record, key, issued=UNIX - 1, operator="newer")
    search = Search(wanted(limit=2))
    gets = [effect for effect in search.start(0.0, UNIX) if isinstance(effect, Get)]
    pings = []
    for number, get in enumerate(gets):
        data = encode(record, key) if number < 2 else newer
        pings += [
            each for each in search.values(get.key, [Value(key.public_key, data)], 0.0) if isinstance(each, AskPing)
        ]
    search.measured(Measured(target=pings[0].target, outcome=Outcome.ANSWERED, rtt_s=0.01, load=0), 0.0)
    effects = search.tick(search.next_deadline())
    while not effects or not isinstance(effects[-1], Done):
        gets = [effect for effect in effects if isinstance(effect, Get)] or [Get(key) for key in search.keys]
        effects = list(itertools.chain.from_iterable(search.values(get.key, (), 0.0) for get in gets))
    (found,) = effects[-1].found
    assert (found.record.operator, found.trust, len(pings)) == ("newer", Trust.CONFIRMED, 1)


def test_somebody_else_at_the_address_is_last_and_counted(world):
    honest, _ = add(world, 0.5)
    add(world, 0.1, answers=False, addresses=honest.addresses)
    done, _ = world.search(wanted(limit=2))
    assert [each.trust for each in done.found] == [Trust.CONFIRMED, Trust.WRONG_KEY]
    assert done.counters == {"wrong_key": 1}


def test_a_node_that_cannot_be_where_it_says_is_no_answer(world):
    liar, key = add(world, 60.0, answers=False)
    world.answers(liar, HERE)
    others = [add(world, 60 + east)[0].node_id for east in (0.5, 1.0)]
    done, _ = world.search(wanted(limit=2, near=liar.location))
    assert names(done) == others
    done, _ = world.search(wanted(limit=3, near=liar.location))
    assert done.found[2].trust is Trust.FALSE_PLACE
    assert key.public_key == liar.public_key


def test_a_node_far_away_that_says_it_is_here_comes_after_those_that_are(world):
    liar, _ = add(world, 0.0, answers=False)
    world.answers(liar, Location(-33.9, 151.2))
    others = [add(world, east)[0].node_id for east in (0.5, 1.0)]
    done, _ = world.search(wanted(limit=2))
    assert names(done) == others


def test_a_victim_whose_address_stands_in_many_records_gets_few_pings(world):
    for _ in range(300):
        add(world, world.rng.uniform(0.0, 0.5), answers=False, addresses=(b"\x50\1\2\3",))
    search = Search(wanted())
    asked = Counter()
    original = search._ask

    def counting(one, now):
        effects = original(one, now)
        asked.update(effect.target.address[0] for effect in effects)
        return effects

    search._ask = counting
    run(world, search, 100.0)
    assert asked == {"80.1.2.3": 16}


def test_values_of_one_key_are_bounded(world):
    record, key = add(world, 0.1)
    world.store[node_key(record.node_id)] += [Value(b"w" * 32, b"%d" % number) for number in range(5_000)]
    done, _ = world.search(Wanted(node_id=record.node_id))
    assert names(done) == [record.node_id]
    assert done.counters == {Refusal.MALFORMED: 1_999, Refusal.TOO_MANY: 1}
    assert key


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Input)))
def test_candidates_follow_the_table(state, event):
    legal = {
        State.CLAIMED: {Input.SIGNED, Input.LIST_NEEDED, Input.FORGED, Input.UNFIT},
        State.LISTING: {Input.LISTED, Input.UNFIT},
        State.VERIFIED: {Input.PINGED, Input.HAS_NO_PORT},
        State.ASKED: {Input.ANSWERED, Input.SILENT, Input.WRONG_KEY},
    }
    assert ((state, event) in TRANSITIONS) is (event in legal.get(state, ()))

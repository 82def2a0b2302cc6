"""A thousand nodes around the world, and as many false records: who is found, with how many questions."""

import statistics
from random import Random

import msgspec
import pytest

from netserv_discovery.errors import Refusal
from netserv_discovery.finder import Done
from netserv_discovery.keys import keys_of
from netserv_discovery.location import Location, distance_km
from netserv_discovery.ranking import Trust
from netserv_discovery.record import NodeRecord, encode, made_name
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import Wanted
from tests.netserv_discovery.world import HERE, UNIX, World, address, node, place, resigned

NODES, TRIALS, FALSE_TRIALS, LIMIT = 1_000, 100, 40, 5
NEED = parse_need("ffmpeg>=5")
SYDNEY = Location(-33.87, 151.21)
FLOODER = b"f" * 32


def asked(near: Location, **changes) -> Wanted:
    return Wanted(blocks=(NEED,), near=near, here=HERE, limit=LIMIT, **changes)


def kilometres(near: Location, records: list[NodeRecord]) -> list[int]:
    """Which of two nodes in one kilometre comes first is another question."""
    return [round(distance_km(near, each.location)) for each in records]


def check(world: World, wanted: Wanted, done: Done) -> None:
    best = world.nearest(wanted)[:LIMIT]
    assert all(each.record.public_key in world.nodes for each in done.found)
    assert kilometres(wanted.near, [each.record for each in done.found]) == kilometres(wanted.near, best)


@pytest.fixture(scope="module")
def world() -> World:
    made = World(Random(2012))
    made.populate(NODES)
    return made


@pytest.mark.parametrize("ping", [True, False])
def test_the_nearest_are_right_in_every_trial(world, ping):
    gets, rounds, pings = [], [], []
    for _ in range(TRIALS):
        wanted = asked(place(world.rng), ping=ping)
        done, _ = world.search(wanted)
        check(world, wanted, done)
        assert done.certain
        assert set(done.counters) <= {"unfit"}
        gets.append(done.gets), rounds.append(done.rounds), pings.append(done.pings)
    assert (statistics.median(gets) <= 7, max(gets) <= 14) == (True, True)
    assert (statistics.median(rounds) <= 3, max(rounds) <= 5) == (True, True)
    assert max(pings) <= (2 * LIMIT if ping else 0)


# ---- one half is false -------------------------------------------------------------------------------------------


def everywhere(world: World, record: NodeRecord, data: bytes, writer: bytes | None = None) -> None:
    """Put it under all keys that such a record has, by somebody."""
    world.put(keys_of(record), data, writer or world.rng.randbytes(32))


def fresh(world: World, **changes):
    key = world.key()
    return node(world.rng, key, **{"blocks": (Offer("ffmpeg", "7.0"),), **changes}), key


def expired(world: World, near: Location) -> None:
    record, key = fresh(world, location=near, issued=UNIX - 900, expires=UNIX - 600)
    everywhere(world, record, encode(record, key))


def forged(world: World, near: Location) -> None:
    """Of a node that there is, with another place, newer than its own."""
    real = world.rng.choice(list(world.nodes.values()))
    record = msgspec.structs.replace(real, location=near, issued=UNIX, blocks=(Offer("ffmpeg", "7.0"),))
    _, key = fresh(world)
    data = encode(msgspec.structs.replace(record, public_key=key.public_key, node_id="x"), key)
    body = data[:-64].replace(key.public_key, real.public_key)
    everywhere(world, record, body + data[-64:])


def false_name(world: World, near: Location) -> None:
    """With the name that is made from another node's key."""
    real = world.rng.choice(list(world.nodes.values()))
    record, key = fresh(world, location=near, node_id="z" * 16)
    body = encode(record, key)[:-64].replace(b"z" * 16, real.node_id.encode())
    everywhere(world, record, body + key.sign(b"netserv node record 1\0" + body))


def silent(world: World, near: Location) -> None:
    record, key = fresh(world, location=near)
    everywhere(world, record, encode(record, key))


def other_address(world: World, near: Location) -> None:
    """At the address of a node that there is."""
    real = world.rng.choice(list(world.nodes.values()))
    record, key = fresh(world, location=near, addresses=real.addresses)
    everywhere(world, record, encode(record, key))


def no_ping(world: World, near: Location) -> None:
    record, key = fresh(world, location=near, ping_port=0)
    everywhere(world, record, encode(record, key))


def other_cell(world: World, near: Location) -> None:
    """Of a node elsewhere, under the keys of this place."""
    record, key = fresh(world, location=SYDNEY)
    everywhere(world, msgspec.structs.replace(record, location=near), encode(record, key))


def flood(world: World, near: Location) -> None:
    record, key = fresh(world, location=near)
    everywhere(world, record, encode(record, key), FLOODER)


KINDS = (expired, forged, false_name, silent, other_address, no_ping, other_cell, flood)


def attacked(world: World, seed: int) -> World:
    """The same nodes, in a store of its own."""
    made = World(Random(seed), nodes=world.nodes, truth=dict(world.truth))
    made.store.update({key: list(values) for key, values in world.store.items()})
    return made


def test_half_of_the_records_are_false_and_the_right_nodes_come_first(world):
    under_attack = attacked(world, 4)
    for number in range(NODES):
        KINDS[number % len(KINDS)](under_attack, place(under_attack.rng))
    refused: set[str] = set()
    for _ in range(FALSE_TRIALS):
        wanted = asked(place(under_attack.rng))
        done, took_s = under_attack.search(wanted)
        check(under_attack, wanted, done)
        assert took_s < 2.0
        refused |= set(done.counters)
    assert {Refusal.EXPIRED, Refusal.BAD_SIGNATURE, Refusal.WRONG_NAME, Refusal.WRONG_PLACE} <= refused
    assert {"silent", "wrong_key"} <= refused


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.__name__)
def test_three_hundred_false_records_at_the_door_of_the_asker(world, kind):
    under_attack = attacked(world, 5)
    near = Location(40.9, -74.3)
    for _ in range(300):
        kind(under_attack, near)
    wanted = asked(near)
    done, took_s = under_attack.search(wanted)
    check(under_attack, wanted, done)
    assert {each.trust for each in done.found} == {Trust.CONFIRMED}
    assert done.pings <= 24
    assert took_s < 0.5


def test_thousands_of_records_of_one_writer_do_not_hide_the_nodes(world):
    under_attack = attacked(world, 6)
    near = Location(40.9, -74.3)
    for _ in range(1_000):
        flood(
            under_attack,
            Location(near.latitude + under_attack.rng.gauss(0, 0.2), near.longitude + under_attack.rng.gauss(0, 0.2)),
        )
    wanted = asked(near)
    done, took_s = under_attack.search(wanted)
    check(under_attack, wanted, done)
    assert took_s < 1.0
    assert done.pings <= 40


def test_replayed_older_records_do_not_count_beside_newer_ones():
    under_attack = World(Random(8))
    near = Location(40.9, -74.3)
    for _ in range(50):
        key = under_attack.key()
        record = node(under_attack.rng, key, location=place(under_attack.rng), blocks=(Offer("ffmpeg", "6.0"),))
        under_attack.nodes[key.public_key] = record
        under_attack.advertise(record, key)
        under_attack.answers(record)
        old = msgspec.structs.replace(record, issued=UNIX - 200, expires=UNIX + 100, location=near)
        everywhere(under_attack, old, resigned(old, key))
    found = under_attack.search(asked(near))[0].found
    # Records of nodes that really were there, and have moved away: the newer one is in other cells, where nobody looks
    # if enough seem to be near. They are sound nodes, and their round trips tell most of them.
    assert all(each.record.public_key in under_attack.nodes for each in found)
    everything = under_attack.search(Wanted(blocks=(NEED,), limit=100))[0]
    assert {each.record.location for each in everything.found} == {
        each.location for each in under_attack.nodes.values()
    }
    assert everything.counters[Refusal.SUPERSEDED] == 50


def test_liars_who_answer_from_afar_come_after_those_who_are_near(world):
    under_attack = attacked(world, 7)
    for _ in range(40):
        record, key = fresh(under_attack, location=HERE, addresses=(address(under_attack.rng),))
        under_attack.answers(record, SYDNEY)
        everywhere(under_attack, record, encode(record, key))
    done, _ = under_attack.search(asked(HERE))
    check(under_attack, asked(HERE), done)
    assert made_name(done.found[0].record.public_key) == done.found[0].record.node_id

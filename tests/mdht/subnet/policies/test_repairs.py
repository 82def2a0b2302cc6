import math
from random import Random

import pytest

from mdht.subnet.policies import CopyTo, KeyStats, policy_from
from mdht.subnet.policies.base import Notes
from mdht.subnet.policies.repairs import Repairs
from mdht.subnet.view import rank
from tests.mdht.subnet.policies.policy_network import Subnet, key_of, started

KEY = key_of(1)


def with_a_key(policy: str = "fixed:3") -> tuple[Subnet, list[bytes]]:
    subnet = started(policy, 8)
    subnet.put(subnet.host(0), KEY)
    return subnet, rank(KEY, subnet.ready)


def test_the_highest_survivor_copies_at_once_to_whoever_takes_the_place() -> None:
    subnet, order = with_a_key()
    subnet.hosts[order[1]].copies = False  # the second has nothing to do
    subnet.die(subnet.hosts[order[0]])
    assert subnet.holding(KEY) == set(order[1:3]), "the first is the one that does not act"
    subnet, order = with_a_key()
    subnet.hosts[order[2]].copies = False
    subnet.die(subnet.hosts[order[0]])
    assert subnet.holding(KEY) == set(order[1:4])


def test_the_second_survivor_takes_over_after_two_seconds() -> None:
    subnet, order = with_a_key()
    subnet.hosts[order[0]].copies = False
    subnet.die(subnet.hosts[order[2]])
    subnet.run(1.9)
    assert subnet.holding(KEY) == set(order[:2])
    subnet.run(0.2)
    assert subnet.holding(KEY) == {*order[:2], order[3]}


def test_a_survivor_that_has_moved_up_makes_the_copies_of_the_earlier_death_too() -> None:
    subnet, order = with_a_key("fixed:5")
    for hid in order[:5]:
        subnet.hosts[hid].copies = hid == order[4]
    for hid in order[:4]:
        subnet.die(subnet.hosts[hid])
    assert subnet.holding(KEY) == set(order[4:8])


def test_a_note_that_names_the_new_holder_ends_the_wait() -> None:
    subnet, order = with_a_key()
    second = subnet.hosts[order[1]]
    scene = subnet.scene(second, subnet.ready)
    assert second.policy.on_dead(order[2], scene) == []
    assert second.policy.next_deadline() == 2.0
    assert second.policy.on_note(KEY, KeyStats(3, (order[0], order[1], order[3])), scene) == []
    assert second.policy.next_deadline() == math.inf


def test_a_copy_that_was_to_be_dropped_serves_when_all_holders_are_gone() -> None:
    subnet, order = with_a_key("fixed:1")
    spare = subnet.hosts[order[5]]
    spare.keys.add(KEY)
    scene = subnet.scene(spare, subnet.ready)
    assert spare.policy.on_dead(order[0], scene) == [CopyTo(KEY, order[1])]


def test_a_leaver_without_a_place_of_its_own_makes_sure_that_the_first_has_the_key() -> None:
    policy = policy_from("fixed:2")
    subnet, order = with_a_key("fixed:2")
    spare = subnet.hosts[order[5]]
    scene = subnet.scene(spare, subnet.ready, {KEY})
    assert policy.on_leave(spare.hid, scene) == [CopyTo(KEY, order[0])]


def test_a_newcomer_that_is_not_ready_keeps_what_it_has_pulled() -> None:
    subnet = started("fixed:3:receiver", 5)
    newcomer = started("fixed:3:receiver", 6).hosts.keys() - subnet.hosts.keys()
    scene = subnet.scene(subnet.host(0), subnet.ready, {KEY})
    joining = type(scene)(newcomer.pop(), scene.ready, scene.keys, 0.0)
    policy = policy_from("fixed:3:receiver")
    assert policy.on_note(KEY, KeyStats(3, (subnet.ready[0],)), joining) == []


@pytest.mark.parametrize("seed", range(20))
def test_repairs_are_counted_bounded_and_come_in_their_time(seed: int) -> None:
    rng = Random(seed)
    repairs = Repairs(most=20)
    keys, hids = [key_of(number) for number in range(5)], [bytes([number]) for number in range(8)]
    now = 0.0
    for _ in range(200):
        now += rng.random()
        key = rng.choice(keys)
        match rng.randrange(3):
            case 0:
                repairs.plan(key, rng.sample(hids, 3), rng.randrange(5), now)
            case 1:
                repairs.done(key, rng.sample(hids, 2))
            case _:
                before = len(repairs)
                deadline = repairs.next_deadline()
                found = repairs.due(now)
                assert not found or deadline <= now
                assert len(repairs) == before - len(found)
                assert repairs.next_deadline() > now
        assert len(repairs) == sum(len(repairs.lacking(key)) for key in keys) <= 20
    assert repairs.due(math.inf) is not None
    assert (len(repairs), repairs.next_deadline()) == (0, math.inf)


def test_notes_forget_the_least_recently_told() -> None:
    notes = Notes(most=2)
    for number in (1, 2, 1, 3):
        notes.put(key_of(number), KeyStats(1, (b"hosthost",)))
    assert len(notes) == 2
    assert notes.get(key_of(2)) is None
    assert set(notes.first_held_by(b"hosthost")) == {key_of(1), key_of(3)}
    notes.drop(key_of(1))
    assert notes.get(key_of(1)) is None

"""Records between subnets and inside them, with every machine in place."""

import pytest

from mdht.keeping.config import KeepingConfig
from mdht.records import Copy
from mdht.subnet.messages import State
from tests.mdht.keeping.records_network import OVERLAYS, RecordsNetwork, key_of, record

FEW = KeepingConfig(replicas=2, read_quorum=1)
"Two nodes for each key, so that a network of a few has nodes that hold nothing."


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_put_at_any_host_is_found_at_any_other(overlay: str) -> None:
    world = RecordsNetwork([3, 1, 2, 4, 1], overlay=overlay, keeping=FEW)
    hosts = list(world.net.hosts.values())
    for number in range(10):
        outcome = world.put(hosts[number % len(hosts)], record(number))
        assert len(outcome.stored) == 2, outcome
    for number in range(10):
        for host in hosts:
            assert world.found(host, key_of(number)) == {(b"w" * 32, b""): 1}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_record_lies_at_the_nearest_nodes_and_there_at_as_many_hosts_as_the_policy_says(overlay: str) -> None:
    world = RecordsNetwork([5] * 5, overlay=overlay, keeping=FEW)
    for number in range(8):
        world.put(world.hosts(number % 5)[0], record(number))
    world.net.run(10.0)
    for number in range(8):
        held = world.holders(key_of(number))
        assert set(held) == set(world.responsible(key_of(number), 2))
        assert [len(hosts) for hosts in held.values()] == [3, 3]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_records_survive_hosts_that_crash_one_after_the_other_without_a_change_of_the_structure(overlay: str) -> None:
    world = RecordsNetwork([5] * 3, overlay=overlay, keeping=KeepingConfig(replicas=1, acks=1, read_quorum=1))
    for number in range(20):
        world.put(world.hosts(number % 3)[0], record(number))
    world.net.run(10.0)
    before = world.net.structural_changes
    for turn in range(6):
        world.net.crash(world.hosts(turn % 3)[0])
        world.net.run(15.0)
    assert world.net.structural_changes == before
    for number in range(20):
        assert world.found(world.hosts(number % 3)[0], key_of(number)) == {(b"w" * 32, b""): 1}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_listener_hears_of_each_change_once_whichever_hosts_it_goes_through(overlay: str) -> None:
    world = RecordsNetwork([3, 3, 2, 1], overlay=overlay, keeping=FEW)
    key = key_of(1)
    near = world.responsible(key, 4)
    listeners = [world.hosts(link)[-1] for link in near]
    told = [world.watch(host, key)[1] for host in listeners]
    world.net.run(2.0)
    for seq, deleted in ((1, False), (2, False), (3, True)):
        world.put(world.hosts(near[-1])[0], record(1, seq, deleted=deleted))
        world.net.run(1.0)
    assert told == [[("added", 1), ("updated", 2), ("removed", 2)]] * 4


def test_a_listener_that_begins_is_told_what_there_is_and_when_it_ends() -> None:
    world = RecordsNetwork([2, 2, 1], keeping=FEW)
    world.put(world.hosts(0)[0], record(1, lease_s=20))
    _watch, told = world.watch(world.hosts(1)[1], key_of(1))
    world.net.run(1.0)
    assert told == [("added", 1)]
    world.net.run(25.0)
    assert told == [("added", 1), ("removed", 1)]
    assert world.found(world.hosts(2)[0], key_of(1)) == {}


def test_a_listener_hears_of_a_change_that_a_host_takes_in_which_came_after_it_had_subscribed() -> None:
    world = RecordsNetwork([1, 1], keeping=KeepingConfig(replicas=1, acks=1, read_quorum=1))
    key = key_of(1)
    (home,) = world.responsible(key, 1)
    _watch, told = world.watch(world.hosts(1 - home)[0], key)
    world.net.run(2.0)
    newcomer = world.net.add(home)
    world.run_until(lambda: newcomer.ready)
    world.net.run(1.0)
    world.put(newcomer, record(1))
    world.net.run(1.0)
    assert told == [("added", 1)]


def test_who_has_stopped_listening_is_told_nothing() -> None:
    world = RecordsNetwork([2, 1, 1], keeping=FEW)
    watches = [world.watch(host, key_of(1)) for host in list(world.net.hosts.values())]
    world.net.run(2.0)
    for (watch, _told), host in zip(watches, list(world.net.hosts.values()), strict=True):
        watch.stop(world.net.now)
        world.perform(host)
    world.net.run(2.0)
    world.put(world.hosts(0)[0], record(1))
    world.net.run(2.0)
    assert all(told == [] for _watch, told in watches)
    assert all(len(world.keeper(host)._subscriptions) == 0 for host in world.net.hosts.values())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_last_host_of_a_node_hands_everything_over_to_other_nodes(overlay: str) -> None:
    world = RecordsNetwork([1, 1, 1, 1], overlay=overlay, keeping=KeepingConfig(replicas=1, acks=1, read_quorum=1))
    for number in range(20):
        world.put(world.hosts(0)[0], record(number))
    leaver = world.hosts(world.responsible(key_of(0), 1)[0])[0]
    world.net.leave(leaver)
    world.run_until(lambda: leaver.core is None, 5.0)
    world.net.run(5.0)
    assert len(world.links) == 3
    for number in range(20):
        assert world.found(world.hosts(world.links[0])[0], key_of(number)) == {(b"w" * 32, b""): 1}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_node_that_comes_is_given_what_belongs_to_it(overlay: str) -> None:
    world = RecordsNetwork([2, 1, 1], overlay=overlay, keeping=FEW)
    for number in range(30):
        world.put(world.hosts(0)[0], record(number))
    for _ in range(2):
        world.net.add(3)
        world.net.run(0.3)
    world.net.run(30.0)
    for number in range(30):
        assert set(world.holders(key_of(number))) >= set(world.responsible(key_of(number), 2)), number


def test_a_thousand_records_under_one_key_are_read_page_by_page() -> None:
    world = RecordsNetwork([3, 1, 1], keeping=FEW)
    for number in range(300):
        world.put(world.hosts(2)[0], record(1, name=b"%d" % number, value=bytes(100)))
    assert len(world.found(world.hosts(1)[0], key_of(1))) == 300


def test_a_node_that_is_alone_keeps_records_for_itself() -> None:
    world = RecordsNetwork([1], keeping=KeepingConfig())
    (host,) = world.hosts(0)
    _watch, told = world.watch(host, key_of(1))
    assert len(world.put(host, record(1)).stored) == 1
    assert world.found(host, key_of(1)) == {(b"w" * 32, b""): 1}
    world.net.run(1.0)
    assert told == [("added", 1)]


def test_a_host_that_has_no_time_to_hand_over_still_says_goodbye() -> None:
    world = RecordsNetwork([2, 1], keeping=FEW)
    for number in range(10):
        world.put(world.hosts(0)[0], record(number))
    leaver, other = world.hosts(0)
    assert leaver.core is not None
    assert other.core is not None
    world.net.perform(leaver, leaver.core.leave(world.net.now))
    world.net.perform(leaver, leaver.core.leave_now(world.net.now))
    world.run_until(lambda: leaver.core is None, 1.0)
    assert other.core.membership.ready_hids() == [other.core.hid]
    assert [member.state for member in other.core.membership.view] == [State.LEFT]


@pytest.mark.parametrize("seed", range(3))
def test_records_follow_a_host_that_settles_anew(seed: int) -> None:
    world = RecordsNetwork([1, 1, 1], keeping=FEW, seed=seed)
    world.put(world.hosts(0)[0], record(1))
    newcomer = world.net.add(1)
    world.run_until(lambda: newcomer.ready)
    assert newcomer.core is not None
    keeper = world.keeper(newcomer)
    newcomer.core._former, newcomer.core._former_at = [Copy(record(2), 600.0)], world.net.now
    newcomer.core.keeper = None
    subnet = newcomer.core.subnet
    assert subnet is not None
    world.net.perform(newcomer, newcomer.core._settle(subnet, 0.0, world.net.now))
    assert newcomer.core.part is not None
    world.net.perform(newcomer, newcomer.core._sorted(newcomer.core.part.take_over(world.net.now), world.net.now))
    world.net.run(10.0)
    assert world.keeper(newcomer) is not keeper
    assert newcomer.ready
    assert world.found(world.hosts(0)[0], key_of(2)) == {(b"w" * 32, b""): 1}


def test_a_copy_of_an_earlier_life_that_nobody_takes_yet_is_kept_and_put_again_without_a_longer_life() -> None:
    world = RecordsNetwork([1, 1], keeping=KeepingConfig(replicas=1, acks=1, read_quorum=1))
    number = next(number for number in range(20) if world.responsible(key_of(number), 1) == [1])
    host, (holder,) = world.hosts(0)[0], world.hosts(1)
    keeper, closed = world.keeper(host), world.keeper(holder).store._hand_over
    closed.leaving = True  # it takes nothing new
    keeper._former.append(Copy(record(number), 300.0))
    world.net.run(10.0)
    assert world.holders(key_of(number)) == {}
    (kept,) = keeper.copies(world.net.now)
    assert 289.0 < kept.remaining_s < 300.0
    closed.leaving = False
    world.net.run(3.0)
    assert world.holders(key_of(number)) == {1: [holder.number]}
    assert keeper.copies(world.net.now) == []

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.ids import Address
from dhtboot.rtt import RttEstimator, TimeoutConfig
from mdht.subnet.hostset import Learnt, RemoteNode, reaches
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.messages import NodeEntry
from tests.mdht.subnet.hostset_nodes import LAB, NOW, entry_of, host_ref, learn, node_with


def numbers_of(node: RemoteNode) -> set[int]:
    return {int(hid[4:]) for hid in node._hosts}


def snapshot(node: RemoteNode) -> dict[bytes, tuple[Address, float, int]]:
    return {host.hid: (host.address, host.heard_at, host.fails) for host in node._hosts.values()}


def strike(node: RemoteNode, number: int, now: float = NOW) -> None:
    for step in range(LAB.fails_max):
        node.silent(host_ref(number).hid, now + step, now + step + 0.5)


def entries(hosts: int) -> st.SearchStrategy[NodeEntry]:
    refs = st.builds(
        host_ref,
        st.integers(1, hosts),
        st.integers(0, 700),
        st.none() | st.sampled_from([("192.0.2.200", 1), ("192.0.2.201", 1)]),
    )
    return st.builds(lambda epoch, found: entry_of(epoch, *found), st.integers(0, 5), st.lists(refs, max_size=8))


# ---- merging: what holds for any sets --------------------------------------------------------------------------------


@given(entries(8), entries(8))
def test_two_sets_of_the_node_come_to_the_same_in_either_order(one: NodeEntry, other: NodeEntry) -> None:
    first, second = RemoteNode(one, LAB), RemoteNode(one, LAB)
    for entry in (one, other):
        learn(first, entry)
    for entry in (other, one):
        learn(second, entry)
    assert snapshot(first) == snapshot(second)
    assert first.epoch == second.epoch == max(one.view_epoch, other.view_epoch)


@given(st.lists(entries(8), min_size=1, max_size=4))
def test_which_hosts_are_known_does_not_depend_on_the_order_of_the_nodes_own_sets(sets: list[NodeEntry]) -> None:
    outcomes = set()
    for order in itertools.permutations(sets):
        node = RemoteNode(sets[0], LAB)
        for entry in order:
            learn(node, entry)
        outcomes.add(frozenset(numbers_of(node)))
    newest = max(entry.view_epoch for entry in sets)
    believed = [host for entry in sets if entry.view_epoch == newest for host in entry.hosts if host.age_s <= 600]
    assert outcomes == {frozenset(int(host.hid[4:]) for host in believed)}


@given(entries(8), entries(8))
def test_hearsay_of_one_epoch_comes_to_the_same_in_either_order(one: NodeEntry, other: NodeEntry) -> None:
    first, second = RemoteNode(one, LAB), RemoteNode(one, LAB)
    for left, right in ((one, other), (other, one)):
        node = first if left is one else second
        learn(node, left, firsthand=False)
        learn(node, right, firsthand=False)
    assert snapshot(first) == snapshot(second)


@given(st.lists(st.tuples(entries(8), st.booleans()), max_size=6), entries(8), st.booleans())
def test_a_set_told_twice_changes_nothing(
    before: list[tuple[NodeEntry, bool]],
    entry: NodeEntry,
    firsthand: bool,
) -> None:
    node = RemoteNode(entry, LAB)
    for told, first in before:
        learn(node, told, firsthand=first)
    learn(node, entry, firsthand=firsthand)
    known, epoch = snapshot(node), node.epoch
    assert learn(node, entry, firsthand=firsthand) in {Learnt.UNITED, Learnt.OLDER}
    assert snapshot(node) == known
    assert node.epoch == epoch


@given(st.lists(st.tuples(entries(40), st.booleans(), st.integers(0, 900)), max_size=12))
def test_at_most_eight_hosts_are_known_whatever_is_told(told: list[tuple[NodeEntry, bool, int]]) -> None:
    node = RemoteNode(entry_of(0), LAB)
    for entry, firsthand, later_s in told:
        before = node.epoch
        learn(node, entry, firsthand=firsthand, now=NOW + later_s)
        assert len(node) <= 8
        assert before is None or (node.epoch is not None and node.epoch >= before)


@given(st.lists(st.tuples(entries(12), st.booleans()), max_size=8), entries(12), st.lists(entries(12), max_size=8))
def test_no_older_set_brings_a_removed_host_back(
    before: list[tuple[NodeEntry, bool]], newest: NodeEntry, late: list[NodeEntry]
) -> None:
    node = RemoteNode(newest, LAB)
    for entry, firsthand in before:
        learn(node, entry, firsthand=firsthand)
    if learn(node, newest) is not Learnt.REPLACED:
        return
    kept = numbers_of(node)
    for number, entry in enumerate(late):
        if entry.view_epoch < newest.view_epoch:
            assert learn(node, entry, firsthand=number % 2 == 0) is Learnt.OLDER
            assert numbers_of(node) == kept


@given(st.lists(entries(8), max_size=5))
def test_hearsay_removes_nobody_and_does_not_move_the_epoch(told: list[NodeEntry]) -> None:
    node = node_with(1, 2, 3, epoch=2)
    for entry in told:
        learn(node, entry, firsthand=False)
    assert {1, 2, 3} <= numbers_of(node)
    assert node.epoch == 2


# ---- merging: cases --------------------------------------------------------------------------------------------------


def test_absence_from_a_newer_set_removes_and_from_an_equal_or_older_one_does_not() -> None:
    node = node_with(1, 2)
    assert learn(node, entry_of(5, host_ref(1))) is Learnt.UNITED
    assert learn(node, entry_of(4, host_ref(1))) is Learnt.OLDER
    assert numbers_of(node) == {1, 2}
    assert learn(node, entry_of(6, host_ref(1), size=1)) is Learnt.REPLACED
    assert numbers_of(node) == {1}
    assert (node.epoch, node.size) == (6, 1)
    assert learn(node, entry_of(5, host_ref(2), size=2)) is Learnt.OLDER
    assert numbers_of(node) == {1}
    assert node.size == 1


def test_of_two_reports_of_a_host_the_younger_counts() -> None:
    node = node_with(1)
    moved = ("192.0.2.77", 4000)
    learn(node, entry_of(5, host_ref(1, 300, moved)))
    assert snapshot(node)[host_ref(1).hid] == (("192.0.2.1", 4000), NOW - 1, 0)
    learn(node, entry_of(4, host_ref(1, 0, moved)), firsthand=False)
    assert snapshot(node)[host_ref(1).hid] == (moved, NOW, 0)


def test_hosts_of_which_nobody_has_heard_for_ten_minutes_are_not_believed_and_not_told() -> None:
    node = RemoteNode(entry_of(1), LAB)
    learn(node, entry_of(1, host_ref(1, 601), host_ref(2, 600), host_ref(3, 100)))
    assert numbers_of(node) == {2, 3}
    told = node.entry(NOW + 100.0, RttEstimator(TimeoutConfig()))
    assert [(host.hid, host.age_s) for host in told.hosts] == [(host_ref(3).hid, 200)]
    assert node.usable, "it may still be asked: nothing better is known"


def test_a_set_that_goes_round_makes_nobody_younger() -> None:
    here, there = node_with(1), RemoteNode(entry_of(0), LAB)
    rtt = RttEstimator(TimeoutConfig())
    for step in range(1, 20):
        now = NOW + step / 3
        learn(there, here.entry(now, rtt), firsthand=False, now=now)
        learn(here, there.entry(now, rtt), firsthand=False, now=now)
        for node in (here, there):
            assert snapshot(node)[host_ref(1).hid][1] <= NOW - 1


def test_a_set_of_another_founding_is_refused() -> None:
    node = node_with(1)
    assert learn(node, entry_of(9, host_ref(2), tag=b"othertag")) is Learnt.OTHER_FOUNDING
    assert numbers_of(node) == {1}
    assert node.epoch == 5


def test_who_was_silent_twice_makes_room_first_then_the_oldest_then_anybody() -> None:
    ages = {1: 1, 2: 50, 3: 50, 4: 2, 5: 2, 6: 2, 7: 2, 8: 2}
    seen = set()
    for seed in range(40):
        node = RemoteNode(entry_of(5), LAB)
        learn(node, entry_of(5, *[host_ref(number, age) for number, age in ages.items()]))
        strike(node, 1)
        learn(node, entry_of(5, host_ref(9)), seed=seed)
        assert numbers_of(node) == {2, 3, 4, 5, 6, 7, 8, 9}
        learn(node, entry_of(5, host_ref(10)), seed=seed)
        seen.add(frozenset({2, 3, 4, 5, 6, 7, 8, 9, 10} - numbers_of(node)))
    assert seen == {frozenset({2}), frozenset({3})}


def test_a_new_hearsay_host_that_is_the_oldest_is_itself_left_out() -> None:
    node = node_with(*range(1, 9))
    learn(node, entry_of(5, host_ref(9, 400)), firsthand=False)
    assert numbers_of(node) == set(range(1, 9))


def test_only_what_the_node_itself_told_is_carried_by_requests() -> None:
    node = RemoteNode(entry_of(7), LAB)
    learn(node, entry_of(7, host_ref(1)), firsthand=False)
    learn(node, entry_of(4, host_ref(2)), firsthand=False)
    assert node.epoch is None
    assert numbers_of(node) == {1, 2}
    assert node.entry(NOW, RttEstimator(TimeoutConfig())).view_epoch == 4, "no host in it is of an older view"


# ---- fails -----------------------------------------------------------------------------------------------------------


def test_a_host_that_was_silent_twice_is_not_usable_until_it_answers() -> None:
    node = node_with(1, 2)
    strike(node, 2)
    assert [host.hid for host in node.usable] == [host_ref(1).hid]
    node.answered(host_ref(2).hid, NOW + 9.0)
    assert len(node.usable) == 2
    assert snapshot(node)[host_ref(2).hid] == (host_ref(2).address, NOW + 9.0, 0)


def test_requests_under_way_together_count_as_one_fail() -> None:
    node = node_with(1)
    hid = host_ref(1).hid
    for sent_at in (NOW, NOW + 0.1, NOW + 0.2):
        node.silent(hid, sent_at, sent_at + 0.5)
    assert snapshot(node)[hid][2] == 1
    node.answered(hid, NOW + 1.0)
    node.silent(hid, NOW + 0.9, NOW + 1.4)
    assert snapshot(node)[hid][2] == 0, "it has answered since that was sent"


def test_a_struck_host_that_others_heard_since_gets_one_more_try() -> None:
    node = node_with(1, 2)
    strike(node, 2)
    hid = host_ref(2).hid
    learn(node, entry_of(6, host_ref(1), host_ref(2, 10)), now=NOW + 10.0)
    assert snapshot(node)[hid][2] == 2, "heard before it was found silent"
    learn(node, entry_of(6, host_ref(1), host_ref(2, 0)), firsthand=False, now=NOW + 10.0)
    assert snapshot(node)[hid][2] == 1
    node.silent(hid, NOW + 10.0, NOW + 10.5)
    assert len(node.usable) == 1


def test_who_has_lost_all_hosts_takes_older_hints() -> None:
    node = node_with(1)
    strike(node, 1)
    assert node.epoch is None
    assert learn(node, entry_of(3, host_ref(1, 60), host_ref(2)), firsthand=False) is Learnt.UNITED
    assert [host.hid for host in node.usable] == [host_ref(2).hid]


def test_a_node_that_tells_an_empty_set_is_believed() -> None:
    node = node_with(1)
    assert learn(node, entry_of(6)) is Learnt.REPLACED
    assert learn(node, entry_of(5, host_ref(1)), firsthand=False) is Learnt.OLDER
    assert not node.usable


def test_fails_and_round_trips_of_this_host_are_told_with_the_set() -> None:
    node = node_with(1, 2, 3)
    rtt = RttEstimator(TimeoutConfig())
    rtt.sample(host_ref(1).address, 0.05)
    node.silent(host_ref(2).hid, NOW, NOW + 0.5)
    strike(node, 3)
    told = {host.hid: host for host in node.entry(NOW + 1.0, rtt).hosts}
    assert (told[host_ref(1).hid].rtt_ms, told[host_ref(1).hid].fails) == (50, 0)
    assert (told[host_ref(2).hid].rtt_ms, told[host_ref(2).hid].fails) == (0, 1)
    assert host_ref(3).hid not in told


# ---- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "public", "laboratory"),
    [
        ("128.59.16.20", True, True),
        ("2620:0:2d0:200::7", True, True),
        ("10.1.2.3", False, True),
        ("192.168.1.7", False, True),
        ("100.64.0.1", False, True),
        ("169.254.3.4", False, True),
        ("127.0.0.1", False, True),
        ("fd00::7", False, True),
        ("::ffff:192.168.1.7", False, True),
        ("2002:c0a8:0107::1", False, True),
        ("64:ff9b::192.168.1.7", False, True),
        ("fe80::7", False, False),
        ("224.0.0.251", False, False),
        ("ff12::6d44:4854", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("host.example", False, False),
    ],
)
def test_private_addresses_stay_within_the_subnet_but_in_a_laboratory(
    host: str,
    public: bool,
    laboratory: bool,
) -> None:
    assert reaches((host, 4000), allow_private=False) == public
    assert reaches((host, 4000), allow_private=True) == laboratory
    assert not reaches((host, 0), allow_private=True)


def test_private_addresses_that_others_tell_are_not_believed() -> None:
    entry = entry_of(5, host_ref(1, 1, ("192.168.1.7", 4000)), host_ref(2, 1, ("128.59.16.20", 4000)))
    node = RemoteNode(entry, HostSetConfig())
    learn(node, entry)
    assert numbers_of(node) == {2}
    learn(node, entry_of(5, host_ref(2, 0, ("192.168.1.8", 4000))), firsthand=False)
    assert snapshot(node)[host_ref(2).hid][0] == ("128.59.16.20", 4000)


@pytest.mark.parametrize("wrong", [{"age_max_s": 0.0}, {"fails_max": 0}, {"tries_max": 0}, {"spacing_s": -1.0}])
def test_settings_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        HostSetConfig(**wrong)

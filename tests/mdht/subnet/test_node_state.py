import itertools
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.epochs import EPOCH_MAX
from mdht.subnet.messages import Neighbour
from mdht.subnet.messages import NodeState as NodeStateMessage
from mdht.subnet.node_state import EntryTold, Neighbourhood, NeighboursChanged, NodeState
from mdht.subnet.rota import Rota
from tests.mdht.subnet.link_messages import neighbours
from tests.mdht.subnet.link_network import TAG, hid_of
from tests.mdht.subnet.state_network import (
    PERIOD_S,
    RING,
    StateNetwork,
    entry_of,
    id_of,
    neighbours_of,
    some_numbers,
)

ME, OTHER, SOURCE = hid_of(1), hid_of(2), ("192.0.2.2", 4000)


def alone(*, with_predecessor: bool = True, epoch: int = 0) -> Neighbourhood:
    known = {id_of(number): entry_of(number) for number in range(3)}
    return Neighbourhood(
        ME,
        Rota(PERIOD_S),
        lambda node_id, _now: known.get(node_id),
        others=lambda _now: [entry_of(8)],
        with_predecessor=with_predecessor,
        epoch=epoch,
    )


def told(epoch: int, numbers: list[int], author: bytes | None = None, turn: int | None = None) -> NodeStateMessage:
    return NodeStateMessage(ring_id=RING, epoch=epoch, neighbours=neighbours_of(numbers), author=author, turn=turn)


def hear(shared: Neighbourhood, message: NodeStateMessage, *, multicast: bool = True) -> list[object]:
    return list(shared.receive(OTHER, message, SOURCE, 1.0, multicast=multicast))


# ---- one host --------------------------------------------------------------------------------------------------------


def test_a_change_is_told_to_all_with_an_epoch_of_one_more() -> None:
    shared = alone()
    (effect,) = shared.change(RING, neighbours_of([1, 2]), None)
    assert effect == Multicast(told(1, [1, 2]))
    (effect,) = shared.change(RING, neighbours_of([1, 3]), entry_of(3))
    assert effect == Multicast(msgspec.structs.replace(told(2, [1, 3]), changed=entry_of(3)))
    assert shared.state == NodeState(ring_id=RING, epoch=2, author=ME, neighbours=neighbours_of([1, 3]))


def test_what_has_not_changed_is_not_told_but_at_the_end_of_a_turn() -> None:
    shared = alone()
    shared.rota.start(0.0)
    shared.change(RING, neighbours_of([1, 2]), None)
    assert shared.change(RING, neighbours_of([1, 2]), None) == []
    assert shared.rota.take(ME, [ME], 5.0)
    assert shared.maintained(RING, neighbours_of([1, 2]), None, 5.1) == [Multicast(told(1, [1, 2], turn=1))]


def test_another_host_of_a_neighbour_is_a_change_that_is_told_and_no_structural_one() -> None:
    shared = alone()
    shared.change(RING, neighbours_of([1, 2]), None)
    newer = (Neighbour(node_id=id_of(1), tag=entry_of(1).tag, view_epoch=2), *neighbours_of([2]))
    assert len(shared.change(RING, newer, entry_of(1, epoch=2))) == 1
    assert shared.state.epoch == 2
    assert (shared.changes.made, shared.changes.told) == (0, 0)


def test_changes_of_identifiers_are_counted_those_of_siblings_apart() -> None:
    shared = alone()
    shared.change(RING, neighbours_of([1, 2, 3]), None)
    shared.change(RING, neighbours_of([9, 2, 3]), None)
    assert (shared.changes.made, shared.changes.told) == (1, 0), "another predecessor"
    hear(shared, told(3, [9, 3, 4]))
    assert (shared.changes.made, shared.changes.told) == (1, 1), "a successor failed, another one came at the end"
    shared.changes.note("finger 3", [id_of(1)])
    shared.changes.note("finger 3", [id_of(2)])
    assert (shared.changes.made, shared.changes.told) == (2, 1)


def test_without_a_predecessor_the_closest_nodes_are_one_role() -> None:
    shared = alone(with_predecessor=False)
    shared.change(RING, neighbours_of([1, 2, 3]), None)
    shared.change(RING, neighbours_of([2, 1, 3]), None)
    assert shared.changes.made == 0


def test_what_a_joiner_is_told_first_is_no_change() -> None:
    shared = alone()
    hear(shared, told(7, [1, 2, 3]))
    assert (shared.changes.made, shared.changes.told) == (0, 0)


@pytest.mark.parametrize(
    ("epoch", "author", "wins"),
    [(4, hid_of(9), False), (5, hid_of(0), False), (5, hid_of(9), True), (6, hid_of(0), True)],
)
def test_the_larger_epoch_wins_and_of_equals_the_larger_name(epoch: int, author: bytes, wins: bool) -> None:
    shared = alone()
    shared.change(RING, neighbours_of([1]), None)
    for number in range(2, 6):
        shared.change(RING, neighbours_of([number]), None)
    assert shared.state.epoch == 5
    effects = hear(shared, told(epoch, [7], author))
    assert (shared.state.neighbours == neighbours_of([7])) is wins
    assert effects == ([NeighboursChanged(shared.state)] if wins else [])


def test_an_older_state_told_to_this_host_alone_is_answered_with_all_that_is_known() -> None:
    shared = alone()
    shared.change(RING, neighbours_of([1, 7, 2]), None)
    effects = hear(shared, NodeStateMessage(ring_id=bytes(8), epoch=0, neighbours=()), multicast=False)
    told_entries = [effect.message.changed for effect in effects if isinstance(effect, Unicast)]
    assert told_entries == [entry_of(8), entry_of(1), entry_of(2)], "a host that begins gets all, neighbours last"
    shared.change(RING, neighbours_of([1, 2, 7]), None)
    effects = hear(shared, told(1, [3]), multicast=False)
    told_entries = [effect.message.changed for effect in effects if isinstance(effect, Unicast)]
    assert told_entries == [entry_of(1), entry_of(2)], "the other one is not known in full"
    assert all(isinstance(effect, Unicast) and effect.to == SOURCE for effect in effects)
    assert hear(shared, told(0, []), multicast=True) == [], "all have heard that, one of them has answered"


def test_of_a_state_without_any_entry_the_neighbours_are_told_all_the_same() -> None:
    shared = alone()
    hear(shared, told(3, [8], OTHER))
    (effect,) = hear(shared, told(2, []), multicast=False)
    assert effect == Unicast(SOURCE, told(3, [8], OTHER, turn=0)), "and who has made it"


def test_entries_of_the_same_state_are_taken_in() -> None:
    shared = alone()
    message = msgspec.structs.replace(told(3, [8], OTHER), changed=entry_of(8))
    assert hear(shared, message) == [NeighboursChanged(shared.state), EntryTold(entry_of(8))]
    assert hear(shared, message) == [EntryTold(entry_of(8))]


def test_two_heartbeats_with_another_state_are_a_reason_to_compare_but_once_a_second() -> None:
    shared = alone()
    shared.change(RING, neighbours_of([1]), None)
    assert shared.on_here(OTHER, SOURCE, b"another!", 10.0) == []
    assert shared.on_here(OTHER, SOURCE, b"another!", 11.0) == [Unicast(SOURCE, told(1, [1]))]
    for hid in (hid_of(3), hid_of(4)):
        assert shared.on_here(hid, SOURCE, b"another!", 11.1) == []
        assert shared.on_here(hid, SOURCE, b"another!", 11.2) == []
    assert shared.on_here(hid_of(3), SOURCE, b"another!", 12.1) == [Unicast(SOURCE, told(1, [1]))]
    assert shared.on_here(hid_of(4), SOURCE, shared.hash, 12.2) == []
    assert shared.on_here(hid_of(4), SOURCE, b"another!", 13.5) == [], "they have agreed in between"


def test_the_memory_of_differing_siblings_is_bounded() -> None:
    shared = alone()
    for number in range(3000):
        shared.on_here(hid_of(number), SOURCE, b"another!", 0.0)
    assert len(shared._differs) == 1024


def test_an_absurd_epoch_is_counted_and_not_believed() -> None:
    shared = alone()
    shared.change(RING, neighbours_of([1]), None)
    assert hear(shared, told(EPOCH_MAX, [2])) == []
    assert shared.counters["absurd_states"] == 1
    assert shared.state.epoch == 1


def test_a_host_that_starts_again_does_not_say_what_is_older_than_before() -> None:
    shared = alone(epoch=40)
    shared.change(RING, neighbours_of([1]), None)
    assert shared.state.epoch == 41


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.lists(neighbours, max_size=3)), max_size=12),
    st.randoms(),
)
def test_in_whatever_order_states_are_heard_all_come_to_one(
    heard: list[tuple[int, int, list[Neighbour]]], rng: Random
) -> None:
    messages = [
        NodeStateMessage(ring_id=RING, epoch=epoch, neighbours=tuple(found), author=hid_of(author))
        for epoch, author, found in heard
    ]
    first, second = alone(), alone()
    for message in messages:
        hear(first, message)
    rng.shuffle(messages)
    for message in messages + messages[:3]:
        hear(second, message)
    assert first.state == second.state
    assert first.hash == second.hash
    assert all((first.state.epoch, first.state.author) >= (epoch, hid_of(author)) for epoch, author, _ in heard)


# ---- on the link -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_after_quiet_all_hosts_share_the_newest_state(seed: int, loss: float) -> None:
    network = StateNetwork(seed)
    hosts = network.started(2 + seed)  # without the rota, which would find the overlay as it is
    network.multicast_loss = loss
    rng = Random(seed)
    newest = (0, b"")
    for _ in range(30):
        host = rng.choice(hosts)
        network.change(host, some_numbers(rng))
        newest = max(newest, (host.shared.state.epoch, host.shared.state.author))
        network.run(rng.choice([0.0, 0.0, 0.0003, 0.01, 2.0]))
    network.run(15.0)
    ((epoch, author, _),) = network.states()
    assert (epoch, author) == newest
    assert {host.membership.report.node_state_hash for host in hosts} == {hosts[0].shared.hash}


@pytest.mark.parametrize("seed", range(4))
def test_halves_of_a_split_link_share_one_state_after_it_has_healed(seed: int) -> None:
    network = StateNetwork(seed)
    hosts = network.started(6)
    rng = Random(seed)
    for host in hosts[:3]:
        host.side = 1
    for _ in range(10):
        network.change(rng.choice(hosts), some_numbers(rng))
        network.run(2.0)
    assert len(network.states()) == 2
    for host in hosts:
        host.side = 0
    network.run(45.0)
    assert len(network.states()) == 1


def test_a_joiner_gets_the_state_and_all_neighbours_in_full_from_one_sibling() -> None:
    network = StateNetwork(seed=1)
    first, *_ = network.ready(2)
    for number in range(9):
        first.entries[id_of(number)] = entry_of(number)
    network.change(first, range(9))
    joiner = network.newcomer()
    network.perform(joiner, joiner.shared.ask(first.address))
    network.run(0.1)
    assert len(network.states()) == 1
    assert joiner.entries == {id_of(number): entry_of(number) for number in range(9)}
    assert joiner.shared.rota.turn == first.shared.rota.turn
    assert joiner.shared.changes.told == 0


def test_a_state_of_somebody_who_is_no_member_is_not_asked_of_the_machine() -> None:
    network = StateNetwork(seed=1)
    first, second = network.ready(2)
    second.membership.hid = b"stranger"
    network._send(second, told(50, [1]), [first], multicast=True)
    network.run(0.1)
    assert first.shared.state.epoch < 50
    assert second.tag == TAG


@pytest.mark.parametrize("count", range(1, 11))
def test_a_node_does_one_round_of_upkeep_in_a_period_however_many_hosts_it_has(count: int) -> None:
    network = StateNetwork(seed=count)
    hosts = network.ready(count)
    network.run(20 * PERIOD_S + 1.0)
    rounds = sorted(at for host in hosts for at in host.rounds)
    assert 19 <= len(rounds) <= 20
    assert max(len(host.rounds) for host in hosts) <= 20 // count + 1, "they share the work"
    assert {host.shared.rota.done_here for host in hosts} <= {20 // count - 1, 20 // count, 20 // count + 1}
    assert all(host.shared.changes.made == host.shared.changes.told == 0 for host in hosts)


@pytest.mark.parametrize("count", [1, 4, 10])
def test_without_the_rota_the_work_grows_with_the_hosts(count: int) -> None:
    network = StateNetwork(seed=count, shared_rota=False)
    hosts = network.ready(count)
    network.run(20 * PERIOD_S + 1.0)
    assert all(len(host.rounds) in {19, 20} for host in hosts)


def test_upkeep_goes_on_when_the_host_whose_turn_it_is_has_crashed() -> None:
    network = StateNetwork(seed=1)
    hosts = network.ready(5)
    network.run(4.9)
    rounds_before = {host.number for host in hosts if host.rounds}
    assert not rounds_before
    hosts[1].alive = False
    network.run(1.5 * PERIOD_S - 4.9 + 0.2)
    assert min((host.rounds, host.number) for host in hosts if host.rounds)[1] == 2, "the next one"
    network.run(20 * PERIOD_S)
    rounds = sorted(at for host in hosts for at in host.rounds)
    assert max(later - earlier for earlier, later in itertools.pairwise(rounds)) <= 1.5 * PERIOD_S + 1.0


def test_with_lost_multicasts_the_node_still_does_little_more_than_one_round() -> None:
    network = StateNetwork(seed=1)
    network.multicast_loss = 0.2
    hosts = network.ready(8)
    network.run(40 * PERIOD_S)
    assert 30 <= sum(len(host.rounds) for host in hosts) <= 65


def test_what_a_round_finds_reaches_all_hosts_and_is_counted_once_as_made() -> None:
    network = StateNetwork(seed=1)
    hosts = network.ready(4)
    network.run(12.0)
    network.overlay = neighbours_of([0, 1, 2, 3, 4, 5, 6, 7, 20])
    network.run(12.0)
    ((_, _, found),) = network.states()
    assert found == network.overlay
    assert sum(host.shared.changes.made for host in hosts) == 1
    assert sum(host.shared.changes.told for host in hosts) == 3

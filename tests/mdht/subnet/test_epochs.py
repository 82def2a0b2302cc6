import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.epochs import (
    EPOCH_MAX,
    INCARNATIONS_AHEAD_MAX,
    JUMP_MAX,
    believable,
    checked,
    next_epoch,
    refutation,
)
from mdht.subnet.messages import Here, State
from mdht.subnet.messages import View as ViewMessage
from mdht.subnet.view import Member, View
from mdht.subnet.wire import Header
from tests.mdht.subnet.link_network import TAG, Host, LinkNetwork, hid_of

CHANGES = 20


def epochs(network: LinkNetwork) -> set[int]:
    return {host.membership.view.epoch for host in network.hosts if host.alive}


def heartbeat_of(host: Host) -> Here:
    return [message for _, message in host.sent if isinstance(message, Here)][-1]


def test_the_largest_epoch_stays() -> None:
    assert next_epoch(7) == 8
    assert next_epoch(EPOCH_MAX) == EPOCH_MAX


@pytest.mark.parametrize(
    ("own", "heard", "expected"),
    [
        (0, 0, True),
        (9, 3, True),
        (0, JUMP_MAX, True),
        (0, JUMP_MAX + 1, False),
        (0, EPOCH_MAX, False),
        (EPOCH_MAX, EPOCH_MAX, True),
        (EPOCH_MAX, EPOCH_MAX + 1, False),
    ],
)
def test_a_number_far_beyond_the_own_is_not_believed(own: int, heard: int, expected: bool) -> None:
    assert believable(own, heard) is expected


@pytest.mark.parametrize("epoch", [-1, EPOCH_MAX + 1])
def test_a_number_from_disk_that_does_not_fit_the_wire_is_refused(epoch: int) -> None:
    with pytest.raises(ValueError, match="an epoch is between"):
        checked(epoch)


@given(st.lists(st.none() | st.integers(0, EPOCH_MAX + 5), max_size=30), st.integers(0, EPOCH_MAX))
def test_an_epoch_never_falls_and_never_leaves_the_wire(steps: list[int | None], start: int) -> None:
    view = View(start)
    for heard in steps:
        before = view.epoch
        if heard is None:
            view.changed()
        else:
            assert view.hear_epoch(heard) == believable(before, heard)
        assert before <= view.epoch <= EPOCH_MAX
        assert heard is None or not believable(before, heard) or view.epoch >= heard


# ---- on the link -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_after_quiet_siblings_agree_on_an_epoch_that_fell_at_none(seed: int, loss: float) -> None:
    network = LinkNetwork(seed)
    network.started(6)
    network.multicast_loss = loss
    largest: dict[int, int] = {}
    for turn in range(CHANGES):
        match turn % 4:
            case 0:
                newcomer = network.add(number=10 + turn)
                network.run(2.0)
                network.perform(newcomer, newcomer.membership.become(State.READY, network.now))
            case 1:
                network.hosts[turn % len(network.hosts)].alive = False
            case 2:
                leaver = network.hosts[-1]
                network.perform(leaver, leaver.membership.leave(network.now, handed_over=True))
                network.run(0.5)
                leaver.alive = False
            case _:
                pass
        network.hosts = [host for host in network.hosts if host.alive]
        for _ in range(10):
            network.run(0.5)
            for host in network.hosts:
                assert host.membership.view.epoch >= largest.get(host.number, 0)
                largest[host.number] = host.membership.view.epoch
    network.multicast_loss = 0.0
    network.run(30.0)
    (agreed,) = epochs(network)
    assert agreed == max(host.membership.view.epoch for host in network.hosts) >= max(largest.values())


def test_a_host_that_comes_later_counts_on_from_the_others() -> None:
    network = LinkNetwork(seed=1)
    network.started(3)
    for host in network.hosts:
        host.membership.view.hear_epoch(5000)
    newcomer = network.add()
    network.run(3.0)
    assert newcomer.membership.view.epoch > 5000
    assert len(epochs(network)) == 1


def test_after_a_power_cut_a_subnet_counts_on_from_what_one_host_kept() -> None:
    network = LinkNetwork(seed=1)
    network.add(epoch=700)
    network.add()
    network.run(5.0)
    assert min(epochs(network)) > 700


def test_a_member_with_a_view_of_its_own_brings_its_epoch_too() -> None:
    network = LinkNetwork(seed=1)
    first, second = network.started(2)
    network._send(second, ViewMessage(epoch=900, members=()), [first], multicast=False)
    network.run(0.1)
    assert first.membership.view.epoch == 900


def test_an_absurd_epoch_of_one_member_is_counted_and_leaves_room_for_changes() -> None:
    network = LinkNetwork(seed=1)
    first, liar, other = network.started(3)
    (before,) = epochs(network)
    here = heartbeat_of(liar)
    lie = Here(
        **{name: getattr(here, name) for name in here.__struct_fields__ if name != "view_epoch"}, view_epoch=EPOCH_MAX
    )
    for _ in range(10):
        network._send(liar, lie, [first, other], multicast=True)
        network.run(0.1)
    liar.alive = False
    network.run(10.0)
    assert first.membership.counters["absurd_epochs"] == other.membership.counters["absurd_epochs"] == 10
    (after,) = epochs(network)
    assert before < after < before + 20


def test_an_epoch_of_a_stranger_is_not_believed() -> None:
    network = LinkNetwork(seed=1)
    first, second = network.started(2)
    (before,) = epochs(network)
    header = Header(subnet_tag=TAG, hid=b"stranger", incarnation=1, seq=1)
    lie = heartbeat_of(second)
    lie = Here(
        **{name: getattr(lie, name) for name in lie.__struct_fields__ if name != "view_epoch"}, view_epoch=before + 9
    )
    first.membership.receive(header, lie, ("192.0.2.99", 9), network.now, multicast=True)
    assert first.membership.view.epoch == before


def test_a_host_that_becomes_ready_counts_that_too() -> None:
    network = LinkNetwork(seed=1)
    host = network.add()
    network.perform(host, host.membership.become(State.READY, network.now))
    assert host.membership.view.epoch == 1
    network.perform(host, host.membership.become(State.READY, network.now))
    assert host.membership.view.epoch == 1, "it was that before"


def test_a_new_address_of_a_member_is_a_change() -> None:
    view = View()
    view.add(Member(hid_of(1), 1, (), State.READY, 0.0))
    assert view.epoch == 1
    network = LinkNetwork(seed=1)
    _, mover = network.started(2)
    (before,) = epochs(network)
    mover.address = ("192.0.2.222", 4444)
    mover.membership._voice._addresses = (mover.address,)
    network.run(5.0)
    assert min(epochs(network)) > before


@pytest.mark.parametrize(
    ("own", "accused", "answer"),
    [
        (5, 4, None),  # out of date
        (5, 5, 6),
        (5, 9, 10),  # its disk was put back
        (5, 5 + INCARNATIONS_AHEAD_MAX, 6),  # absurd
        (5, EPOCH_MAX, 6),
        (EPOCH_MAX - 1, EPOCH_MAX - 1, EPOCH_MAX),
        (EPOCH_MAX, EPOCH_MAX, None),  # there is no larger one
    ],
)
def test_an_accused_host_answers_with_a_larger_number_and_never_leaps(
    own: int, accused: int, answer: int | None
) -> None:
    assert refutation(own, accused) == answer

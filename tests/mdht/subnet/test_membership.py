from collections import Counter

import pytest

from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.identity import Subnet, named
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Bye, Hello, Here, Ping, State, Suspect
from tests.mdht.subnet.link_network import Host, LinkNetwork, hid_of, sees

DETECTION_S = 4.5
"Bound of the design: 2.5 heartbeats and 2 s, among up to 16 hosts."


def states_of(network: LinkNetwork) -> list[dict[int, State]]:
    return [sees(host) for host in network.hosts if host.alive]


def view_hash(host: Host) -> bytes:
    return host.membership.view.hash(host.membership.hid, host.membership.incarnation)


def died_at(host: Host, number: int) -> list[float]:
    return [at for at, hid, state in host.changes if hid == hid_of(number) and state is State.DEAD]


@pytest.mark.parametrize("count", [2, 5, 16])
def test_hosts_of_a_link_find_each_other(count: int) -> None:
    network = LinkNetwork(seed=1)
    network.started(count)
    for number, seen in enumerate(states_of(network)):
        assert seen == {other: State.READY for other in range(count) if other != number}
    assert len({view_hash(host) for host in network.hosts}) == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [3, 8, 16])
def test_a_crash_is_noticed_by_all_within_the_bound(count: int, seed: int) -> None:
    network = LinkNetwork(seed)
    victim, *others = network.started(count)
    victim.alive = False
    at = network.now
    network.run(10.0)
    for host in others:
        assert 0 < died_at(host, 0)[0] - at <= DETECTION_S
        assert set(sees(host).values()) == {State.DEAD, State.READY}


def test_among_many_hosts_probes_keep_detection_short() -> None:
    network = LinkNetwork(seed=1)
    victim, *others = network.started(40)
    victim.alive = False
    at = network.now
    network.run(15.0)
    times = [died_at(host, 0)[0] - at for host in others]
    assert max(times) <= 2.5 * 40 / 16 + 2.0 + 0.5


def test_of_two_hosts_the_one_left_notices() -> None:
    network = LinkNetwork(seed=1)
    victim, other = network.started(2)
    victim.alive = False
    network.run(DETECTION_S)
    assert sees(other) == {0: State.DEAD}


def test_a_goodbye_is_believed_at_once_and_not_undone_by_a_late_heartbeat() -> None:
    network = LinkNetwork(seed=1)
    leaver, other, *_ = network.started(3)
    here = [message for _, message in leaver.sent if isinstance(message, Here)][-1]
    network.perform(leaver, leaver.membership.leave(network.now, handed_over=True))
    network.run(0.1)
    assert sees(other)[0] is State.LEFT
    network._send(leaver, here, [other], multicast=True)
    network.run(0.5)
    assert sees(other)[0] is State.LEFT
    assert sum(isinstance(message, Bye) for _, message in leaver.sent) == 2
    assert leaver.membership.next_deadline() == float("inf")


def test_a_host_that_starts_again_is_back_at_once() -> None:
    network = LinkNetwork(seed=1)
    first, other, *_ = network.started(3)
    again = network.restart(first)
    network.run(1.5)
    assert sees(other)[0] is State.JOINING
    network.perform(again, again.membership.become(State.READY, network.now))
    network.run(1.5)
    assert sees(other)[0] is State.READY
    assert not died_at(other, 0), "nobody had to notice"


def test_a_host_accused_wrongly_refutes_with_a_higher_incarnation() -> None:
    network = LinkNetwork(seed=1)
    accused, accuser, other = network.started(3)
    network._send(accuser, Suspect(target=hid_of(0), incarnation=1, silent_ds=30), network.hosts, multicast=True)
    network.run(0.0006)
    assert sees(other)[0] is State.SUSPECT
    network.run(3.0)
    assert accused.membership.incarnation == 2
    assert sees(other)[0] is State.READY
    assert not died_at(other, 0)


@pytest.mark.parametrize("incarnation", [(1 << 16) + 1, 0xFFFF_FFFE, 0xFFFF_FFFF])
def test_an_absurd_accusation_neither_ends_a_host_nor_keeps_it_out(incarnation: int) -> None:
    network = LinkNetwork(seed=1)
    accused, accuser, other = network.started(3)
    lie = Suspect(target=hid_of(0), incarnation=incarnation, silent_ds=30)
    network._send(accuser, lie, network.hosts, multicast=True)
    network.run(5.0)
    assert accused.membership.incarnation == 2
    assert sees(other)[0] is sees(accuser)[0] is State.READY
    assert not died_at(other, 0)


@pytest.mark.parametrize("seed", range(20))
def test_an_accused_host_refutes_in_time_although_a_third_of_multicasts_is_lost(seed: int) -> None:
    network = LinkNetwork(seed)
    _accused, accuser, *others = network.started(5)
    network.multicast_loss = 0.33
    for number in range(20):
        # As a check that found nothing ends: to all, and to the accused itself.
        lie = Suspect(target=hid_of(0), incarnation=number + 1, silent_ds=30)
        network.perform(accuser, [Multicast(lie), Unicast(network.hosts[0].address, lie)])
        network.run(3.0)
    wrongly = sum(len(died_at(other, 0)) for other in others)
    assert wrongly <= 12, f"seed {seed}: of 60 accusations heard, a refutation and its repetition get lost in a ninth"


def test_a_host_that_hears_no_multicast_is_kept_alive_by_pings() -> None:
    network = LinkNetwork(seed=1)
    hosts = network.started(4)
    hosts[0].hears_multicast = False
    network.run(60.0)
    assert all(set(sees(host).values()) == {State.READY} for host in hosts)
    assert hosts[0].changes[-1][0] < 5.0, "nobody was even suspected"


def test_with_a_fifth_of_multicasts_lost_nobody_is_taken_for_dead() -> None:
    network = LinkNetwork(seed=1)
    hosts = network.started(10)
    network.multicast_loss = 0.2
    network.run(1800.0)  # 5 host-hours; the design allows one mistake in 10
    assert Counter(state for host in hosts for _, _, state in host.changes)[State.DEAD] == 0


def test_one_who_cannot_be_reached_is_not_let_in() -> None:
    network = LinkNetwork(seed=1)
    first, *_ = network.started(2)
    stranger = network.add()
    stranger.address = ("192.0.2.200", 9)  # its answers would come from there; nobody finds it at the address it names
    network.run(5.0)
    assert 2 not in sees(first)
    assert first.membership.counters["strangers_silent"] > 0


def test_at_most_three_siblings_answer_a_hello() -> None:
    network = LinkNetwork(seed=1)
    hosts = network.started(12)
    newcomer = network.add()
    hello_at = network.now + 0.1
    while not any(isinstance(message, Hello) for _, message in newcomer.sent):
        network.run(0.001)
    before = {host.number: len(host.sent) for host in hosts}
    due_anyway = sum(host.membership._heartbeat_at < network.now + 0.1 for host in hosts)
    network.run(0.1)
    answers = [
        message for host in hosts for _, message in host.sent[before[host.number] :] if isinstance(message, Here)
    ]
    assert network.now < hello_at + 0.2
    assert 1 <= len(answers) <= 3 + due_anyway
    assert len(sees(newcomer)) == 12, "one of them told all members"


def test_halves_of_a_split_link_find_each_other_again() -> None:
    network = LinkNetwork(seed=1)
    hosts = network.started(6)
    for host in hosts[:3]:
        host.side = 1
    network.run(30.0)
    assert all(Counter(sees(host).values()) == {State.DEAD: 3, State.READY: 2} for host in hosts)
    for host in hosts:
        host.side = 0
    network.run(30.0)
    assert all(set(sees(host).values()) == {State.READY} for host in hosts)


def test_a_member_that_speaks_of_another_subnet_is_no_member_and_may_come_back_by_the_same_start() -> None:
    network = LinkNetwork(seed=1)
    hosts = network.started(3)
    goer, *others = hosts
    ours, theirs = Subnet(named("ours"), goer.tag), Subnet(named("theirs"), b"othertag")
    for host in hosts:
        host.membership.settle(ours, 0.0)
    goer.membership.settle(theirs, 0.0)
    goer.tag = theirs.tag
    network.run(2.0)
    assert sees(goer) == {}
    assert [set(sees(host).values()) for host in others] == [{State.READY}] * 2
    assert all(len(sees(host)) == 1 for host in others), "there is no tombstone"
    assert [host.changes[-1][1:] for host in others] == [(goer.membership.hid, State.LEFT)] * 2
    goer.membership.settle(ours, 0.0)
    goer.tag = ours.tag
    network.run(3.0)
    assert states_of(network) == [{n: State.READY for n in range(3) if n != host.number} for host in hosts]


def test_a_lonely_host_says_hello_now_and_then() -> None:
    network = LinkNetwork(seed=1)
    host = network.add()
    network.run(200.0)
    hellos = [at for at, message in host.sent if isinstance(message, Hello)]
    assert 3 + 5 <= len(hellos) <= 3 + 7


def test_a_host_that_hears_nobody_speaks_less_after_a_minute_and_as_usual_when_somebody_comes() -> None:
    network = LinkNetwork(seed=1)
    host = network.add()
    network.run(60.0)
    assert sum(isinstance(message, Here) for _, message in host.sent) > 50
    before = len(host.sent)
    network.run(100.0)
    assert sum(isinstance(message, Here) for _, message in host.sent[before:]) <= 12
    other = network.add()
    network.run(3.0)
    assert [len(sees(each)) for each in (host, other)] == [1, 1]
    before = len(host.sent)
    network.run(10.0)
    assert sum(isinstance(message, Here) for _, message in host.sent[before:]) >= 9


def test_heartbeats_of_a_large_subnet_stay_within_their_rate() -> None:
    network = LinkNetwork(seed=1)
    hosts = network.started(40)
    network.run(5.0)
    before = [len(host.sent) for host in hosts]
    network.run(10.0)
    heres = sum(
        isinstance(message, Here) for host, count in zip(hosts, before, strict=True) for _, message in host.sent[count:]
    )
    assert heres / 10.0 <= 16.0 * 1.1


def test_a_flood_of_strangers_is_bounded() -> None:
    config = MembershipConfig(strangers_max=4, members_max=8)
    network = LinkNetwork(seed=1, config=config)
    host = network.add()
    for number in range(1, 30):
        network.add(number=number)
    network.run(20.0)
    assert len(host.membership.view) <= 8 + 4
    assert host.membership.counters["turned_away"] > 0
    assert sum(isinstance(message, Ping) for _, message in host.sent) < 2000


def test_heartbeats_tell_whether_a_host_is_reached_from_outside_and_where_and_that_is_news_for_others() -> None:
    network = LinkNetwork(seed=1)
    network.started(3)
    first, *others = network.hosts
    epochs = [host.membership.view.epoch for host in others]
    first.membership.report.mapped = ("128.59.0.1", 4000)
    others[0].membership.report.unlisted = True
    network.run(5.0)
    for host in network.hosts:
        known = {member.hid: (member.mapped, member.unlisted) for member in host.membership.view}
        expected = {hid_of(0): (("128.59.0.1", 4000), False), hid_of(1): (None, True), hid_of(2): (None, False)}
        assert known == {hid: told for hid, told in expected.items() if hid != host.membership.hid}
    assert all(host.membership.view.epoch > epoch for host, epoch in zip(others, epochs, strict=True))
    first.membership.report.mapped = None
    network.run(5.0)
    member = others[0].membership.view.get(hid_of(0))
    assert member is not None
    assert member.mapped is None

"""Membership where hosts sign: what a member that lies can do to others, and how soon the truth is known."""

import pytest

from dhtboot.ids import Address
from mdht.experiments.link_run import key_of
from mdht.signing import SigningKey
from mdht.subnet.identity import Subnet, named
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Bye, Hello, Here, MemberEntry, Message, Nack, Ping, Pong, State, Suspect, View
from mdht.subnet.wire import Header, LinkCodec, Opened
from tests.mdht.subnet.link_network import TAG, Host, LinkNetwork

DETECTION_S = 4.5
"Bound of the design: 2.5 heartbeats and 2 s, among up to 16 hosts."
NOTE = Nack(qid=bytes(8), key=bytes(20))
LIAR: Address = ("192.0.2.99", 4000)


def linked(count: int, seed: int = 1) -> tuple[LinkNetwork, list[Host]]:
    network = LinkNetwork(seed, host_keys=True)
    return network, network.started(count)


def sees(host: Host, network: LinkNetwork) -> dict[int, State]:
    numbers = {other.membership.hid: other.number for other in network.hosts}
    return {numbers[member.hid]: member.state for member in host.membership.view}


def died_at(host: Host, victim: Host) -> list[float]:
    return [at for at, hid, state in host.changes if hid == victim.membership.hid and state is State.DEAD]


def became(host: Host, victim: Host, since: float) -> list[State]:
    return [state for at, hid, state in host.changes if hid == victim.membership.hid and at >= since]


def said(
    victim: Host,
    message: Message,
    *,
    signer: SigningKey | None = None,
    more: int = 0,
    tag: bytes = TAG,
    ahead: int = 1000,
) -> Opened:
    """Something in the name of a host, by whoever can; `ahead` of the number that it used last."""
    incarnation = victim.membership.incarnation + more
    header = Header(
        subnet_tag=tag, hid=victim.membership.hid, incarnation=incarnation, seq=victim.seq + ahead, to_all=True
    )
    found = LinkCodec("test").open(LinkCodec("test", signer=signer).encode(header, message))
    assert found is not None
    return found


def tell(network: LinkNetwork, datagram: Opened, *to: Host) -> None:
    for host in to:
        network.bring(datagram, LIAR, host, multicast=True)


def here_of(host: Host) -> Here:
    return [message for _, message in host.sent if isinstance(message, Here)][-1]


@pytest.mark.parametrize("count", [2, 3, 5, 16])
def test_hosts_that_sign_find_each_other_and_one_that_leaves_is_believed(count: int) -> None:
    network, (leaver, *others) = linked(count)
    for host in others:
        assert set(sees(host, network).values()) == {State.READY}
        assert len(sees(host, network)) == count - 1
    network.perform(leaver, leaver.membership.leave(network.now, handed_over=True))
    network.run(0.1)
    assert all(sees(host, network)[0] is State.LEFT for host in others)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 3, 4, 8, 16])
def test_a_crash_is_noticed_by_all_within_the_bound(count: int, seed: int) -> None:
    network, (victim, *others) = linked(count, seed)
    victim.alive = False
    at = network.now
    network.run(10.0)
    assert all(0 < died_at(host, victim)[0] - at <= DETECTION_S for host in others)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("count", "crashed"), [(3, 2), (4, 2), (4, 3), (8, 4), (16, 8), (16, 15)])
def test_several_crashes_at_once_are_noticed_though_accusers_are_among_them(
    count: int, crashed: int, seed: int
) -> None:
    network, hosts = linked(count, seed)
    at = network.now
    for host in hosts[:crashed]:
        host.alive = False
    network.run(20.0)
    for host in hosts[crashed:]:
        for victim in hosts[:crashed]:
            # Those that should look first may be gone themselves: the next ones by rank follow 1.8 s later.
            assert died_at(host, victim)[0] - at <= DETECTION_S + 1.8 * crashed
            assert len(died_at(host, victim)) == 1


def test_with_a_fifth_of_multicasts_lost_nobody_is_taken_for_dead_and_a_crash_is_noticed() -> None:
    network, (victim, *others) = linked(5)
    network.multicast_loss, network.unicast_loss = 0.2, 0.02
    network.run(600.0)
    assert not [state for host in network.hosts for _, _, state in host.changes if state is State.DEAD]
    victim.alive = False
    at = network.now
    network.run(20.0)
    assert all(died_at(host, victim)[0] - at <= 2.0 * DETECTION_S for host in others)


@pytest.mark.parametrize(
    "message",
    [
        Bye(handed_over=True),
        Hello(overlay_hash=bytes(20), addresses=(LIAR,)),
        Pong(nonce=bytes(8)),
        NOTE,
        View(epoch=1 << 31, members=()),
        Ping(nonce=bytes(8)),
    ],
)
@pytest.mark.parametrize("signer", [None, key_of(99)])
@pytest.mark.parametrize("more", [0, 1, 1000])
@pytest.mark.parametrize("tag", [TAG, b"othertag"])
def test_nothing_in_the_name_of_a_member_changes_what_others_see_of_it(
    message: Message, signer: SigningKey | None, more: int, tag: bytes
) -> None:
    network, (victim, *others) = linked(3)
    for host in network.hosts:
        host.membership.settle(Subnet(named("ours"), TAG), 0.0)
    began = network.now
    tell(network, said(victim, message, signer=signer, more=more, tag=tag), *others)
    network.run(6.0)  # were its own heartbeats not heard any more, it would be dead by then
    for host in others:
        assert sees(host, network)[0] is State.READY
        assert not became(host, victim, began)
        assert host.membership.view.get(victim.membership.hid).incarnation == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("signer", [None, key_of(99)])
def test_a_forged_refutation_keeps_no_dead_host_alive(signer: SigningKey | None) -> None:
    network, (victim, *others) = linked(5)
    state = here_of(victim)
    victim.alive = False
    at = network.now
    for step in range(100):
        tell(network, said(victim, state, signer=signer, more=step), *others)
        tell(network, said(victim, NOTE, signer=signer, ahead=1000 + step), *others)
        tell(network, said(victim, Pong(nonce=bytes(8)), signer=signer), *others)
        network.run(0.1)
    for host in others:
        assert died_at(host, victim)[0] - at <= DETECTION_S
        assert sees(host, network)[0] is State.DEAD


def test_an_answer_of_a_dead_host_to_somebody_else_is_no_sign_of_life_later() -> None:
    """Who has asked for some may keep them: they are signed, and new to the others."""
    network, (victim, *others) = linked(3)
    network.run(0.5)
    kept = [said(victim, Pong(nonce=number.to_bytes(8), state=State.READY), signer=key_of(0)) for number in range(200)]
    answers = [Pong(nonce=number.to_bytes(8), state=State.READY) for number in range(200)]
    kept = [said(victim, answer, signer=key_of(0), ahead=1 + at) for at, answer in enumerate(answers)]
    victim.alive = False
    at = network.now
    for one in kept:
        tell(network, one, *others)
        network.run(0.1)
    assert all(died_at(host, victim)[0] - at <= DETECTION_S for host in others)


@pytest.mark.parametrize("count", [3, 5])
def test_one_accuser_alone_makes_nobody_suspect_a_live_member(count: int) -> None:
    network, (victim, liar, *others) = linked(count)
    began = network.now
    victim_hid = victim.membership.hid
    for _ in range(20):
        lie = Suspect(target=victim_hid, incarnation=victim.membership.incarnation, silent_ds=30)
        network._send(liar, lie, others, multicast=True)  # the victim does not hear of it, and cannot refute it
        network.run(1.0)
    for host in others:
        assert not became(host, victim, began)
        assert sees(host, network)[0] is State.READY


def test_an_accused_host_refutes_what_it_hears_all_the_same() -> None:
    network, (victim, liar, *others) = linked(3)
    lie = Suspect(target=victim.membership.hid, incarnation=1, silent_ds=30)
    network._send(liar, lie, network.hosts, multicast=True)
    network.run(3.0)
    assert victim.membership.incarnation == 2
    assert sees(others[0], network)[0] is State.READY


def test_who_is_no_member_accuses_nobody() -> None:
    network, (victim, *others) = linked(3)
    strangers = [SigningKey.from_seed(bytes((number,)) * 32) for number in (1, 2)]
    began = network.now
    for number, key in enumerate(strangers):
        stranger = Host(50 + number, victim.membership)
        datagram = said(stranger, Suspect(target=victim.membership.hid, incarnation=1, silent_ds=30), signer=key)
        tell(network, datagram, *others)
    network.run(2.0)
    assert not [state for host in others for state in became(host, victim, began)]


def test_a_member_that_does_not_confirm_a_death_only_delays_it() -> None:
    """One of three crashes, and the second one says no more than that it is there itself."""
    network, (victim, liar, honest) = linked(3)
    victim.alive = False
    at = network.now
    liar.tick = lambda _now: ()  # type: ignore[method-assign]
    liar.next_deadline = lambda: float("inf")  # type: ignore[method-assign]
    for step in range(400):
        if step % 10 == 0:
            network._send(liar, here_of(liar), [honest], multicast=True)
        network.run(0.05)
    assert died_at(honest, victim)[0] - at <= DETECTION_S + MembershipConfig().alone_s
    assert sees(honest, network)[1] is State.READY


def hearsay(network: LinkNetwork, liar: Host, of: Host, address: Address, *to: Host) -> None:
    entry = MemberEntry(
        hid=of.membership.hid, incarnation=0xFFFF_0000, state=State.LEAVING, addresses=(address,), age_s=0
    )
    network._send(liar, View(epoch=1, members=(entry,)), [*to], multicast=False)


def test_what_others_say_of_a_newcomer_is_neither_its_number_nor_its_state() -> None:
    network, (liar, honest) = linked(2)
    newcomer = network.add(number=7, prepare=lambda host: setattr(host, "speaks_multicast", False))
    hearsay(network, liar, newcomer, newcomer.address, honest)
    network.run(0.1)
    member = honest.membership.view.get(newcomer.membership.hid)
    assert member is not None
    assert (member.incarnation, member.state, member.addresses) == (1, State.JOINING, (newcomer.address,))


def test_a_false_address_of_a_newcomer_is_not_in_its_way() -> None:
    network, (liar, honest) = linked(2)
    newcomer = network.add(number=7, prepare=lambda host: setattr(host, "speaks_multicast", False))
    hearsay(network, liar, newcomer, LIAR, honest)
    network.run(0.01)
    newcomer.speaks_multicast = True
    network.perform(newcomer, newcomer.membership.hello(network.now))
    network.run(0.01)
    member = honest.membership.view.get(newcomer.membership.hid)
    assert member is not None
    assert (member.state, member.addresses) == (State.JOINING, (newcomer.address,))


def test_made_up_names_keep_no_newcomer_out() -> None:
    network, (liar, honest) = linked(2)
    for number in range(100):
        entry = MemberEntry(
            hid=number.to_bytes(8), incarnation=1, state=State.READY, addresses=((f"192.0.2.{number}", 9),), age_s=0
        )
        network._send(liar, View(epoch=1, members=(entry,)), [honest], multicast=False)
    network.run(0.001)
    newcomer = network.add(number=7)
    network.run(0.3)
    assert honest.membership.view.get(newcomer.membership.hid) is not None
    assert honest.membership.counters["turned_away"] > 0


def test_halves_of_a_split_link_find_each_other_again_though_multicast_does_not_pass() -> None:
    network, hosts = linked(4)
    for host in hosts[:2]:
        host.side = 1
    network.run(30.0)
    assert all(State.DEAD in sees(host, network).values() for host in hosts)
    for host in hosts:
        host.side = 0
        host.speaks_multicast = False
    network.run(120.0)
    for host in hosts:
        assert set(sees(host, network).values()) == {State.READY}


def test_a_host_of_the_other_setting_is_no_member() -> None:
    network, hosts = linked(2)
    unsigned = network.add(number=9)
    unsigned.codec, unsigned.proofs = LinkCodec("test"), None
    network.run(5.0)
    assert all(unsigned.membership.hid not in {member.hid for member in host.membership.view.live} for host in hosts)

import pytest

from mdht.experiments.link_run import WholeLink
from mdht.subnet.messages import State


def started(count: int, seed: int = 1) -> WholeLink:
    link = WholeLink(seed)
    for _ in range(count):
        link.add()
        link.run(0.1)
    assert link.run_until_agreed(10.0) is not None
    return link


def test_where_unicast_is_lost_nobody_is_let_in_though_all_hear_each_other() -> None:
    link = WholeLink(1)
    link.unicast_loss = 1.0
    for _ in range(3):
        link.add()
    link.run(30.0)
    assert not link.agreed
    assert all(len(host.membership.view) == 0 for host in link.hosts)


def test_a_crash_ends_the_agreement_until_the_host_is_back() -> None:
    link = started(4)
    victim = link.hosts[1]
    victim.alive = False
    assert not link.agreed
    link.run(5.0)
    assert link.agreed, "the other three are of one mind"
    back = link.restart(victim)
    assert back.membership.incarnation == 2
    assert not link.agreed
    assert link.run_until_agreed(5.0) is not None


def test_halves_take_each_other_for_dead_and_keep_their_subnet() -> None:
    link = started(6)
    subnet = link.hosts[0].core.subnet
    for host in link.hosts[:3]:
        host.side = 1
    link.run(10.0)
    for host in link.hosts:
        states = [member.state for member in host.membership.view]
        assert (states.count(State.DEAD), states.count(State.READY)) == (3, 2)
    assert link.run_until_agreed(1.0) is None
    assert {host.core.subnet for host in link.hosts} == {subnet}


def test_what_a_link_cannot_carry_out_is_no_secret() -> None:
    link = started(1)
    with pytest.raises(AssertionError):
        link.perform(link.hosts[0], [object()])

import pytest

from mdht.experiments.link_run import WholeLink as Link
from mdht.subnet.effects import Unicast
from mdht.subnet.face_messages import OverlayDatagram, Prove
from mdht.subnet.identity import NO_TAG, Kind
from mdht.subnet.messages import Hello, State


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 7])
def test_cold_hosts_come_to_one_subnet_and_are_ready(count: int, seed: int) -> None:
    link = Link(seed)
    hosts = [link.add() for _ in range(count)]
    link.run(3.0)
    (subnet,) = {host.core.subnet for host in hosts}
    assert subnet is not None
    assert subnet.identity.kind is Kind.RANDOM
    assert {host.core.tag for host in hosts} == {subnet.tag}
    assert all(host.core.membership.state is State.READY for host in hosts)
    assert all(host.settled[-1] == subnet for host in hosts)


def test_a_newcomer_adopts_what_is_there() -> None:
    link = Link(1)
    first = link.add()
    assert first.core.tag == NO_TAG
    link.run(5.0)
    late = link.add()
    link.run(2.0)
    assert late.core.subnet == first.core.subnet is not None
    assert late.settled == [first.core.subnet], "it never was in another one"


def test_the_subnet_stays_although_its_founder_goes() -> None:
    link = Link(2)
    founder = link.add()
    link.run(3.0)
    second = link.add()
    link.run(3.0)
    subnet = founder.core.subnet
    link.perform(founder, founder.core.leave(link.now))
    link.run(1.0)
    founder.alive = False
    link.run(5.0)
    third = link.add()
    link.run(3.0)
    assert second.core.subnet == third.core.subnet == subnet
    assert second.core.membership.ready_hids() == third.core.membership.ready_hids()


def test_a_host_that_has_left_says_goodbye_and_nothing_else() -> None:
    link = Link(3)
    leaver, other = link.add(), link.add()
    link.run(3.0)
    link.perform(leaver, leaver.core.leave(link.now))
    link.run(1.0)
    said = len(leaver.sent)
    assert leaver.core.next_deadline() == float("inf")
    link.run(60.0)
    assert len(leaver.sent) == said
    assert other.core.membership.ready_hids() == [other.core.hid]


def test_a_sibling_that_shows_itself_in_the_overlay_only_is_said_hello_to() -> None:
    link = Link(1)
    host = link.add()
    link.run(3.0)
    subnet = host.core.subnet
    assert subnet is not None
    for number, tag, hid in (
        (1, subnet.tag, b"sibling."),
        (2, b"othertag", b"stranger"),
        (3, subnet.tag, host.core.hid),
    ):
        datagram = OverlayDatagram(
            identity=subnet.identity, tag=tag, hid=hid, view_epoch=0, held=None, body=Prove(cookie=bytes(8))
        )
        host.core.receive_overlay(datagram, ("192.0.2.77", number), link.now)
    said = [effect for effect in host.core.tick(link.now) if isinstance(effect, Unicast)]
    assert [(effect.to, type(effect.message), effect.to_all) for effect in said] == [(("192.0.2.77", 1), Hello, True)]

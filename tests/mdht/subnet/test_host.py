from collections.abc import Sequence
from random import Random

import pytest

from mdht.subnet.effects import Settled
from mdht.subnet.founding import Founding
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.host import SubnetHost
from mdht.subnet.identity import NO_TAG, Kind, Subnet, derive
from mdht.subnet.membership import Membership
from mdht.subnet.messages import Message, State
from mdht.subnet.wire import Header
from tests.mdht.subnet.link_network import Host, LinkOf


class Whole(Host):
    """A host whose core is all there is of it."""

    def __init__(self, number: int, membership: Membership, seed: int) -> None:
        super().__init__(number, membership)
        rng = Random(f"{seed} founding {number} {membership.incarnation}")
        founding = Founding(membership.hid, lambda: derive([], rng), None, FoundingConfig(), rng)
        self.core = SubnetHost(membership, founding)
        self.tag = self.core.tag
        self.settled: list[Subnet | None] = []

    def start(self, now: float) -> Sequence[object]:
        return self.core.start(now)

    def receive(
        self, header: Header, message: Message, source: tuple[str, int], now: float, *, multicast: bool
    ) -> Sequence[object]:
        return self.core.receive(header, message, source, now, multicast=multicast)

    def tick(self, now: float) -> Sequence[object]:
        return self.core.tick(now)

    def next_deadline(self) -> float:
        return self.core.next_deadline()


class Link(LinkOf[Whole]):
    def make(self, number: int, membership: Membership) -> Whole:
        return Whole(number, membership, self.seed)

    def special(self, host: Whole, effect: object) -> None:
        assert isinstance(effect, Settled)
        host.tag = host.core.tag
        host.settled.append(effect.subnet)


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

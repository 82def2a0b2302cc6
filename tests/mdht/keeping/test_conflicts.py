"""Two links whose prefixes are the same, in one overlay: one of their subnets takes another identifier."""

import ipaddress
from random import Random

import pytest

from mdht.experiments.sim_host import SimHost
from mdht.subnet.identity import Identity, Kind, Subnet, derive, named
from tests.mdht.keeping.records_network import OVERLAYS, RecordsNetwork, key_of, record

PREFIX = derive([ipaddress.ip_interface("fd00:1::7/64")], Random(1))
SETTLED_S = 150.0
"An older subnet that is refused comes back after 30 and 90 s."
WITNESS, FIRST, SECOND = 0, 1, 2


def identity_of(link: int) -> Identity:
    """Links 1 and 2 have one prefix."""
    return PREFIX if link in {FIRST, SECOND} else named(f"link {link}")


class Twins(RecordsNetwork):
    """A link that both others get to know, and the first of those."""

    def __init__(self, overlay: str, seed: int = 1) -> None:
        super().__init__([2, 2], overlay=overlay, seed=seed, identity_of=identity_of)

    def add_old(self, link: int) -> None:
        """A host that comes back to its empty link, and remembers its subnet."""
        former = SimHost(len(self.net.hosts), link, ("10.0.0.77", 27183), 0.0)
        former.kept = Subnet(identity_of(link), b"old tag!"), self.net.now - 1000.0
        former.ended_at = self.net.now
        self.net.restart(former)

    def identity(self, host: SimHost) -> Identity:
        assert host.core is not None
        assert host.core.subnet is not None
        return host.core.subnet.identity

    def identities(self, link: int) -> set[Identity]:
        return {self.identity(host) for host in self.hosts(link) if host.ready}

    def is_settled(self) -> bool:
        """Whether there are three nodes, which know each other."""
        ids = {host.core.part.face.core.id for host in self.net.hosts.values() if host.core and host.core.part}
        return len(ids) == 3 and all(
            host.ready and len(self.keeper(host).others.known) == 2 for host in self.net.hosts.values()
        )

    def counted(self, link: int, name: str) -> int:
        return sum(host.core.counters[name] for host in self.hosts(link) if host.core)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("seed", range(3))
def test_the_later_founding_takes_another_identifier_and_joins_again(overlay: str, seed: int) -> None:
    world = Twins(overlay, seed)
    late = world.net.add(SECOND)
    world.run_until(world.is_settled, SETTLED_S)
    world.net.add(SECOND)
    world.run_until(lambda: world.is_settled() and len(world.hosts(SECOND)) == 2, SETTLED_S)
    assert world.identities(FIRST) == {PREFIX}
    (salted,) = world.identities(SECOND)
    assert (salted.kind, salted.data) == (Kind.PREFIX_6, PREFIX.data)
    assert salted.salt
    assert late.core is not None
    assert late.core.counters["conflicts_lost"] == 1
    for number in range(20):
        world.put(list(world.net.hosts.values())[number % 6], record(number))
    for host in world.net.hosts.values():
        assert [len(world.found(host, key_of(number))) for number in range(20)] == [1] * 20


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("seed", range(3))
def test_a_younger_one_gives_way_to_an_older_one_that_comes_late(overlay: str, seed: int) -> None:
    """All its hosts follow the one that was told, and their records stay."""
    world = Twins(overlay, seed)
    for number in range(20):
        world.put(world.hosts(FIRST)[number % 2], record(number))
    young = world.identity(world.hosts(FIRST)[0])
    world.add_old(SECOND)
    world.run_until(lambda: world.is_settled() and world.identities(FIRST) != {young}, SETTLED_S)
    assert world.identities(SECOND) == {PREFIX}
    (salted,) = world.identities(FIRST)
    assert salted.salt
    assert world.counted(SECOND, "conflicts_lost") == 0
    assert world.counted(FIRST, "conflicts_lost") >= 1
    world.net.run(20.0)
    for host in world.net.hosts.values():
        assert [len(world.found(host, key_of(number))) for number in range(20)] == [1] * 20


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_reaches_no_host_of_the_other_one_gives_way(overlay: str) -> None:
    """Isolated links of one pool: packets between them are lost, those to third ones are not."""
    world = Twins(overlay)
    world.add_old(SECOND)
    world.net.cut = frozenset({FIRST, SECOND})
    world.run_until(lambda: world.identities(SECOND) != {PREFIX}, SETTLED_S)
    assert world.identities(FIRST) == {PREFIX}


def test_hosts_of_an_identifier_that_died_out_are_no_conflict_and_their_records_come_to_the_new_ones() -> None:
    world = Twins("kademlia")
    for number in range(20):
        world.put(world.hosts(WITNESS)[0], record(number))
    for host in world.hosts(FIRST):
        world.net.crash(host)
    newcomer = world.net.add(SECOND)
    world.net.run(30.0)
    assert world.identities(SECOND) == {PREFIX}
    assert all(len(world.keeper(host).others.known) == 1 for host in world.net.hosts.values())
    assert world.keeper(newcomer).store.stock.keys == {key_of(number) for number in range(20)}

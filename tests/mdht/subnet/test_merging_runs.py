"""Subnets of one link that have met late, in virtual time."""

from random import Random

import pytest

from mdht.subnet.founding_effects import Adopt
from mdht.subnet.identity import Subnet, named
from mdht.subnet.kept import Kept
from mdht.subnet.messages import Hello, State
from tests.mdht.subnet.founding_network import FoundingHost, FoundingNetwork
from tests.mdht.subnet.link_network import sees

OLD_S = 40.0
MERGED_S = 45.0
"Thirty seconds of hearing, three within which hosts go, and what lost datagrams cost."


def apart(seed: int, *sizes: int, gap_s: float = 0.0, merges: bool = True) -> FoundingNetwork:
    """Subnets of so many hosts each that do not hear each other, and are old."""
    network = FoundingNetwork(seed)
    network.merges = merges
    numbers = Random(f"{seed} names").sample(range(200), sum(sizes))
    for side, size in enumerate(sizes):
        for _ in range(size):
            network.add(number=numbers.pop()).side = side
        network.run(gap_s)
    network.run(OLD_S)
    assert len({host.subnet for host in network.hosts}) == len(sizes)
    return network


def join(network: FoundingNetwork) -> None:
    for host in network.hosts:
        host.side = 0


def moves(host: FoundingHost) -> int:
    """Times that it went from one subnet to another."""
    adopted = [effect.subnet for _, effect in host.effects if isinstance(effect, Adopt)]
    return len(adopted) - 1 + bool(host.founded)


def subnet_of(network: FoundingNetwork, side: int) -> Subnet:
    (subnet,) = {host.subnet for host in network.hosts if host.side == side}
    assert subnet is not None
    return subnet


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (3, 5), (8, 8), (6, 1), (3, 3, 2), (2, 4, 5)])
def test_old_subnets_that_meet_become_one_and_no_host_moves_twice(sizes: tuple[int, ...], loss: float) -> None:
    for seed in range(3):
        network = apart(seed, *sizes, gap_s=(0.0, 1.0, 20.0)[seed])
        largest = {subnet_of(network, side) for side, size in enumerate(sizes) if size == max(sizes)}
        oldest = subnet_of(network, sizes.index(max(sizes)))
        network.multicast_loss = loss
        join(network)
        network.run_until_agreed(MERGED_S)
        assert network.agreed, (seed, sizes)
        assert network.hosts[0].subnet in largest
        assert seed < 2 or network.hosts[0].subnet == oldest
        network.run(60.0)
        assert network.agreed, (seed, sizes)
        assert max(map(moves, network.hosts)) == 1
        assert all(set(sees(host).values()) == {State.READY} for host in network.hosts if sum(sizes) > 1)
        assert all(len(sees(host)) == sum(sizes) - 1 for host in network.hosts)


def test_each_host_says_once_that_a_subnet_has_given_way_and_to_which() -> None:
    network = apart(1, 4, 2)
    stays, goes = subnet_of(network, 0), subnet_of(network, 1)
    join(network)
    network.run(MERGED_S + 30.0)
    for host in network.hosts:
        assert [(event.gone, event.into) for event in host.merged] == [(goes.tag, stays)]


def test_nobody_moves_within_thirty_seconds() -> None:
    network = apart(1, 4, 2)
    join(network)
    network.run(29.0)
    assert [moves(host) for host in network.hosts] == [0] * 6
    assert all(host.membership.counters["other_subnet"] > 0 for host in network.hosts)


def test_where_merging_is_not_wanted_two_stay_two() -> None:
    network = apart(1, 4, 2, merges=False)
    join(network)
    network.run(100.0)
    assert len({host.subnet for host in network.hosts}) == 2
    assert [moves(host) for host in network.hosts] == [0] * 6
    newcomer = network.add(number=999)
    network.run(3.0)
    assert newcomer.subnet in {host.subnet for host in network.hosts[:-1]}, "it is answered by both, and adopts one"


def test_subnets_of_different_configured_names_stay_two() -> None:
    network = FoundingNetwork(1)
    for number, name in enumerate(("lab", "office", "office")):
        subnet = Subnet(named(name), b"tag %4s" % name[:4].encode())
        network.kept[number] = Kept(subnet=subnet, fingerprint=b"linklink", founded_s=5000.0, left_s=60.0)
        network.add(number=number).side = int(name == "office")
    network.run(10.0)
    join(network)
    network.run(100.0)
    assert len({host.subnet for host in network.hosts}) == 2


def test_two_foundings_of_one_configured_name_become_one() -> None:
    network = FoundingNetwork(1)
    for number, tag in enumerate((b"taglab_1", b"taglab_2", b"taglab_2")):
        subnet = Subnet(named("lab"), tag)
        network.kept[number] = Kept(subnet=subnet, fingerprint=b"linklink", founded_s=5000.0, left_s=60.0)
        network.add(number=number).side = int(tag == b"taglab_2")
    network.run(10.0)
    join(network)
    network.run(MERGED_S)
    assert {host.subnet for host in network.hosts} == {Subnet(named("lab"), b"taglab_2")}


@pytest.mark.parametrize("seed", range(4))
def test_a_host_of_the_loser_that_hears_nothing_for_a_while_follows(seed: int) -> None:
    network = apart(seed, 5, 3)
    stays = subnet_of(network, 0)
    deaf = next(host for host in network.hosts if host.side == 1)
    deaf.hears_multicast = False
    join(network)
    network.run(MERGED_S + 20.0)
    assert {host.subnet for host in network.hosts if host is not deaf} == {stays}
    deaf.hears_multicast = True
    network.run_until_agreed(MERGED_S)
    assert network.agreed


@pytest.mark.parametrize("seed", range(4))
def test_newcomers_and_crashes_meanwhile_do_not_keep_two_subnets_two(seed: int) -> None:
    """Equal ones at first; every three seconds a host crashes, and it or another one comes, as it likes."""
    network = apart(seed, 4, 4)
    network.multicast_loss = 0.2
    join(network)
    rng = Random(f"{seed} churn")
    for _ in range(20):
        network.run(3.0)
        network.restart(rng.choice(network.living))
    network.run_until_agreed(2 * MERGED_S)
    assert network.agreed
    assert max(map(moves, network.hosts)) <= 2


def test_a_link_whose_halves_meet_and_part_again_moves_nobody() -> None:
    network = apart(1, 3, 4)
    sides = {host.number: host.side for host in network.hosts}
    for _ in range(5):
        join(network)
        network.run(20.0)
        for host in network.hosts:
            host.side = sides[host.number]
        network.run(20.0)
    assert [moves(host) for host in network.hosts] == [0] * 7


def test_the_last_host_that_goes_knows_that_it_is_the_last() -> None:
    for seed in range(6):
        network = apart(seed, 5, 4)
        loser = [host for host in network.hosts if host.side == 1]
        last = min(loser, key=lambda host: host.membership.hid)
        network.multicast_loss = 0.2
        join(network)
        alone: list[FoundingHost] = []
        while len(alone) < 1:
            network.run(0.05)
            gone = [host for host in loser if host.merged]
            alone = [host for host in loser if not host.merged] if len(gone) == 3 else []
        assert alone == [last]


def test_while_two_are_two_few_ask_who_the_other_one_is() -> None:
    network = apart(1, 8, 8)
    join(network)
    before = sum(isinstance(message, Hello) for host in network.hosts for _, message in host.sent)
    network.run(28.0)
    hellos = sum(isinstance(message, Hello) for host in network.hosts for _, message in host.sent) - before
    assert 1 <= hellos <= 4, "the answer to one serves all"

"""Hosts of a link that start cold, in virtual time."""

import pytest

from mdht.subnet.founding import Stage
from mdht.subnet.founding_effects import Adopt, JoinRing, LookForOverlay
from mdht.subnet.identity import Subnet, named
from mdht.subnet.kept import Kept
from mdht.subnet.messages import Hello, State
from tests.mdht.subnet.founding_network import FoundingNetwork
from tests.mdht.subnet.link_network import sees

SEEDS = 40
AGAIN_S = 6.5


def cold(seed: int, loss: float) -> FoundingNetwork:
    """1 to 30 hosts: at once, or within the time of several windows."""
    network = FoundingNetwork(seed)
    network.multicast_loss = loss
    network.start_all(1 + seed * 7 % 30, 0.0 if seed % 3 == 0 else 3.0 if seed % 3 == 1 else 0.5)
    return network


def test_of_cold_hosts_exactly_one_founds_and_all_adopt_its_subnet() -> None:
    for seed in range(SEEDS):
        network = cold(seed, loss=0.0)
        took_s = network.run_until_agreed(30.0)
        assert network.agreed, seed
        assert len(network.founders) == 1, seed
        assert network.asked_server == 1, seed
        assert took_s <= 2.0, seed


def test_with_lost_multicasts_all_have_one_subnet_in_the_end() -> None:
    alone = 0
    for seed in range(SEEDS):
        network = cold(seed, loss=(0.05, 0.1, 0.15, 0.2)[seed % 4])
        network.run_until_agreed(60.0)
        assert network.agreed, seed
        alone += len(network.founders) == 1
    assert alone >= 0.95 * SEEDS


@pytest.mark.parametrize("seed", range(10))
def test_on_a_link_that_loses_half_two_foundings_become_one(seed: int) -> None:
    network = FoundingNetwork(seed)
    network.multicast_loss = 0.5
    network.start_all(2 + seed % 6, 0.5)
    network.run_until_agreed(60.0)
    assert network.agreed


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("server_s", [0.3, 8.0])
def test_when_the_founder_is_killed_another_one_founds_in_time(seed: int, server_s: float) -> None:
    network = FoundingNetwork(seed)
    network.server_s = server_s
    network.start_all(3 + seed, 0.3)
    while not network.founders:
        network.run(0.01)
    (founder,) = network.founders
    network.run(server_s * seed / 10)
    founder.alive = False
    killed_at = network.now
    while len(network.founders) < 2 and network.now < killed_at + 20.0:
        network.run(0.01)
    second = next(host for host in network.founders if host is not founder)
    assert second.founded[0] - killed_at <= AGAIN_S
    network.server_s = 0.3
    network.run_until_agreed(20.0)
    assert network.agreed
    assert len(network.founders) == 2


def test_while_a_slow_founder_lives_nobody_else_founds() -> None:
    network = FoundingNetwork(seed=1)
    network.server_s = 20.0
    network.start_all(12, 0.5)
    network.run_until_agreed(40.0)
    assert network.agreed
    assert len(network.founders) == 1


def test_a_later_host_is_ready_at_once_and_asks_no_server() -> None:
    network = FoundingNetwork(seed=1)
    network.ring = b"ringring"
    network.start_all(3, 0.2)
    network.run_until_agreed(10.0)
    newcomer = network.add(number=999)
    network.run(0.3)
    assert newcomer.membership.state is State.READY
    assert [type(effect) for _, effect in newcomer.effects] == [Adopt]
    assert network.asked_server == 1
    assert sum(isinstance(message, Hello) for _, message in newcomer.sent) <= 2


def test_only_the_founder_joins_the_overlay() -> None:
    network = FoundingNetwork(seed=1)
    network.ring = b"ringring"
    network.start_all(8, 0.5)
    network.run_until_agreed(10.0)
    joins = [host for host in network.hosts for _, effect in host.effects if isinstance(effect, JoinRing)]
    assert joins == network.founders
    assert network.founders[0].founding.stage is Stage.SETTLED


def test_a_ring_of_one_joins_when_the_overlay_can_be_reached() -> None:
    network = FoundingNetwork(seed=1)
    network.start_all(4, 0.5)
    network.run_until_agreed(10.0)
    (founder,) = network.founders
    assert founder.founding.stage is Stage.ALONE
    network.run(100.0)
    network.ring = bytes(8)
    network.run(130.0)
    assert founder.founding.ring_id == bytes(8)
    asked = [at for host in network.hosts for at, effect in host.effects if isinstance(effect, LookForOverlay)]
    assert len(asked) == 4, "at the founding, and after 30, 90 and 210 s"


def test_halves_of_a_link_that_meet_soon_after_they_were_founded_become_one() -> None:
    network = FoundingNetwork(seed=3)
    for number in range(6):
        network.add(number=number).side = number % 2
    network.run(5.0)
    assert len(network.founders) == 2
    for host in network.hosts:
        host.side = 0
    assert network.run_until_agreed(20.0) <= 3.0
    network.run(10.0)
    assert all(set(sees(host).values()) == {State.READY} and len(sees(host)) == 5 for host in network.hosts)


def test_after_a_power_cut_the_subnet_comes_back_with_its_identity() -> None:
    network = FoundingNetwork(seed=1)
    subnet = Subnet(named("lab"), b"tagtagta")
    for number in (7, 9):
        network.kept[number] = Kept(subnet=subnet, fingerprint=b"linklink", founded_s=5000.0, left_s=60.0)
    for number in range(10):
        network.add(number=number)
    network.run_until_agreed(10.0)
    assert network.agreed
    assert [host.number for host in network.founders] == [7]
    assert {host.subnet for host in network.hosts} == {subnet}


def test_the_host_that_comes_last_of_an_emptied_link_finds_itself_again() -> None:
    network = FoundingNetwork(seed=1)
    subnet = Subnet(named("lab"), b"tagtagta")
    network.kept[3] = Kept(subnet=subnet, fingerprint=b"linklink", founded_s=5000.0, left_s=60.0)
    host = network.add(number=3)
    network.run(5.0)
    assert host.subnet == subnet
    other = network.add(number=1)
    network.run(3.0)
    assert other.subnet == subnet
    assert other.founding.founded_at == pytest.approx(host.founding.founded_at, abs=1.0)

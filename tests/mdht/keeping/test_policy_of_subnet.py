"""A subnet has one replication policy, its founder's, whatever later hosts are told."""

import msgspec
import pytest

from mdht.experiments.sim_host import SimHost
from mdht.keeping.config import KeepingConfig
from mdht.subnet.identity import Subnet
from tests.mdht.keeping.records_network import RecordsNetwork, key_of, record

ONE = KeepingConfig(replicas=1, acks=1, read_quorum=1, policy="fixed:1")


def policy_of(world: RecordsNetwork, host: SimHost) -> tuple[str, bool, int]:
    """The one in force, whether it was adopted, and how often that has happened to this host."""
    assert host.core is not None
    keeper = world.keeper(host)
    return keeper.policy, keeper.policy_adopted, host.core.counters["policies_adopted"]


def copies(world: RecordsNetwork, number: int) -> int:
    world.put(world.hosts(0)[-1], record(number))
    world.net.run(5.0)
    return sum(len(hosts) for hosts in world.holders(key_of(number)).values())


def test_who_is_told_another_policy_goes_by_that_of_the_subnet_and_says_so() -> None:
    world = RecordsNetwork([1], keeping=ONE)
    others = [world.add(0, policy) for policy in ("full", "fixed:1", "single")]
    assert [policy_of(world, host) for host in world.hosts(0)] == [
        ("fixed:1", False, 0),
        ("fixed:1", True, 1),
        ("fixed:1", False, 0),
        ("fixed:1", True, 1),
    ]
    assert [copies(world, number) for number in range(4)] == [1, 1, 1, 1]
    assert others[0] in world.hosts(0)


def test_the_policy_outlives_its_founder() -> None:
    world = RecordsNetwork([1], keeping=ONE)
    heir = world.add(0, "full")
    world.net.leave(world.hosts(0)[0])
    world.run_until(lambda: world.hosts(0) == [heir])
    newcomer = world.add(0, "single")
    assert policy_of(world, newcomer) == ("fixed:1", True, 1)
    assert copies(world, 1) == 1


def test_a_host_that_comes_back_to_an_empty_link_takes_the_policy_up_again_with_the_subnet() -> None:
    world = RecordsNetwork([1], keeping=ONE)
    (former,) = world.hosts(0)
    assert former.core is not None
    tag = former.core.tag
    world.net.crash(former)
    world.net.keeping = msgspec.structs.replace(ONE, policy="full")
    host = world.net.restart(former)
    world.run_until(lambda: host.ready)
    assert host.core is not None
    assert host.core.tag == tag
    assert policy_of(world, host) == ("fixed:1", True, 1)


@pytest.mark.parametrize("policy", ["full", "single"])
def test_who_comes_to_another_subnet_goes_by_its_policy(policy: str) -> None:
    world = RecordsNetwork([1, 1], keeping=ONE)
    host = world.hosts(0)[0]
    assert host.core is not None
    subnet = host.core.subnet
    assert subnet is not None
    other = Subnet(subnet.identity, b"othertag", policy)
    world.net.perform(host, host.core._settle(other, 0.0, world.net.now))
    assert policy_of(world, host) == (policy, True, 1)


def test_a_policy_that_is_not_known_leaves_a_host_to_its_own_and_is_counted() -> None:
    world = RecordsNetwork([1, 1], keeping=ONE)
    host = world.hosts(0)[0]
    assert host.core is not None
    subnet = host.core.subnet
    assert subnet is not None
    world.net.perform(host, host.core._settle(Subnet(subnet.identity, b"othertag", "later:7"), 0.0, world.net.now))
    assert policy_of(world, host) == ("fixed:1", False, 0)
    assert host.core.counters["policies_unknown"] == 1


def test_a_policy_that_does_not_exist_is_no_setting() -> None:
    with pytest.raises(ValueError, match="no replication policy: 'twice'"):
        KeepingConfig(policy="twice")

from random import Random

import pytest

from mdht.subnet.messages import Ask, State
from mdht.subnet.query import Outcome
from tests.mdht.subnet.resolve_network import KEY, LARGE, ROUNDING_S, Get, Host, ResolveNetwork, idle, put


def scattered(network: ResolveNetwork, keys: list[bytes], rng: Random) -> None:
    for key in keys:
        for host in rng.sample(network.hosts, rng.choice([0, 0, 1, 1, 2, 3]) % (len(network.hosts) + 1)):
            put(host, rng.randint(1, 3), key=key, writer=rng.choice([b"a", b"b"]), padding=rng.choice([b"", LARGE]))
    for host in rng.sample(network.hosts[1:], rng.randint(0, len(network.hosts) // 3)):
        host.alive = False
        network.seen_as(host.number, rng.choice([State.READY, State.SUSPECT, State.DEAD]))


@pytest.mark.parametrize("seed", range(40))
def test_a_key_is_found_whenever_a_ready_holder_can_be_reached_and_no_lookup_hangs(seed: int) -> None:
    rng = Random(f"scattered {seed}")
    count, targets = rng.randint(2, 20), rng.choice([0, 1, 3, 20])
    network = ResolveNetwork(count, seed=seed, targets=targets, single=rng.random() < 0.3)
    network.multicast_loss = rng.choice([0.0, 0.1, 0.2, 0.3])
    keys = [rng.randbytes(20) for _ in range(8)]
    scattered(network, keys, rng)
    askers = [host for host in network.hosts if host.alive]
    gets: list[tuple[Host, bytes, Get]] = []
    for _ in range(25):
        asker, key = rng.choice(askers), rng.choice(keys)
        gets.append((asker, key, network.get(asker, key, rng.choice([Ask.ANY, Ask.LATEST]))))
        network.run(rng.choice([0.0, 0.01, 0.1, 0.5]))
    network.run(5.0)
    for asker, key, get in gets:
        assert get.took_s <= 1.0 + ROUNDING_S, "also where a transfer failed: that was known at once"
        holding = [host for host in askers if host.items.records(key, 0.0)]
        small = asker.membership.view.live and len(asker.membership.view.live) < 16
        reached = [host for host in holding if small or host is asker]
        if get.result.outcome is Outcome.FOUND:
            assert holding
        else:
            assert not reached, f"seed {seed}"
            assert network.multicast_loss or not holding, f"seed {seed}"
            assert get.result.outcome is Outcome.NOT_FOUND
            suspects = any(member.state is State.SUSPECT for member in asker.membership.view)
            assert get.result.partial or not suspects
    assert idle(network)
    assert all(len(host.resolver.hints) <= len(keys) for host in network.hosts)


def test_among_many_hosts_with_lost_multicasts_three_questions_find_nearly_all() -> None:
    found = 0
    for seed in range(100):
        network = ResolveNetwork(20, seed=seed)
        network.multicast_loss = 0.3
        put(network.hosts[1])
        get = network.get(network.hosts[0], KEY)
        network.run(1.5)
        assert (get.result.outcome is Outcome.FOUND) == (KEY in network.hosts[1].asked)
        found += get.result.outcome is Outcome.FOUND
    assert found >= 94, "a question is lost three times in 2.7 % of cases"

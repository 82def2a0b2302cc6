from random import Random

import pytest

from mdht.subnet.messages import HOSTS_MAX
from mdht.subnet.policies import Adaptive, Announce, CopyTo, KeyStats, Scene
from mdht.subnet.policies import adaptive as module
from mdht.subnet.policies.adaptive import Rate
from tests.mdht.subnet.policies.policy_network import Subnet, first_by_rank, key_of, started

KEY = key_of(1)


def crowd(subnet: Subnet, rate: float, seconds: float, rng: Random) -> float:
    """Lookups at random hosts; the share of them that the host could answer itself."""
    own, times = 0, int(rate * seconds)
    for _ in range(times):
        own += subnet.look_up(subnet.host(rng.randrange(1000)), KEY)
        subnet.run(1.0 / rate)
    return own / times


def with_a_key(policy: str = "adaptive:1:0.5", hosts: int = 10) -> Subnet:
    subnet = started(policy, hosts)
    subnet.put(subnet.host(0), KEY)
    return subnet


def test_the_rate_comes_to_that_of_the_events_by_half_within_a_half_life() -> None:
    rate = Rate(0.0)
    for event in range(20 * 60):
        rate.count(event / 20.0)
    assert rate.at(60.0) == pytest.approx(10.0, rel=0.01)
    assert rate.at(120.0) == pytest.approx(5.0, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "members", "wanted"),
    [(0.0, 10, 1), (0.49, 10, 1), (0.5, 10, 2), (1.5, 10, 3), (3.5, 10, 4), (1000.0, 10, 10), (1000.0, 3, 3)],
)
def test_each_doubling_of_the_rate_wants_one_more_up_to_all(rate: float, members: int, wanted: int) -> None:
    assert Adaptive(1, 0.5).wanted(rate, members) == wanted


def test_with_fewer_members_than_the_least_copies_all_are_wanted() -> None:
    assert Adaptive(3, 0.5).wanted(1000.0, 2) == 3
    subnet = with_a_key("adaptive:3:0.5", 2)
    assert len(subnet.holding(KEY)) == 2


@pytest.mark.parametrize("rate", [10.0, 50.0])
@pytest.mark.parametrize("seed", range(3))
def test_copies_grow_within_a_minute_of_a_crowd_and_are_gone_ten_minutes_after_it(rate: float, seed: int) -> None:
    subnet = with_a_key()
    rng = Random(seed)
    crowd(subnet, rate, 60.0, rng)
    grown = len(subnet.holding(KEY))
    assert grown >= 4
    subnet.check([KEY], grown)
    assert crowd(subnet, rate, 10.0, rng) > 0.3, "most of the crowd asks a holder"
    subnet.run(600.0)
    subnet.check([KEY], 1)
    subnet.run(300.0)
    assert all(host.policy.next_deadline() == float("inf") for host in subnet.hosts.values())


def test_a_steady_rate_comes_to_a_steady_number_of_copies() -> None:
    subnet = with_a_key()
    rng = Random(1)
    crowd(subnet, 4.0, 600.0, rng)
    subnet.notes.clear()
    crowd(subnet, 4.0, 600.0, rng)
    assert len(subnet.notes) <= 2
    assert 3 <= len(subnet.holding(KEY)) <= 5


def test_a_few_lookups_copy_nothing() -> None:
    subnet = with_a_key()
    crowd(subnet, 0.2, 600.0, Random(1))
    assert subnet.notes == []


def test_the_first_copy_comes_after_two_windows_at_the_host_that_fetched_last() -> None:
    subnet = with_a_key()
    owner = first_by_rank(subnet, KEY)
    others = [host for host in subnet.hosts.values() if host is not owner]
    for step in range(40):
        fetcher = others[step % 3]
        for _ in range(4):
            subnet.look_up(fetcher, KEY)
        subnet.run(0.5)
        if subnet.notes:
            break
    assert subnet.now == 20.0
    assert subnet.notes == [KeyStats(2, (owner.hid, fetcher.hid))]
    assert subnet.holding(KEY) == {owner.hid, fetcher.hid}


def test_without_a_fetcher_the_copy_goes_to_the_next_by_rank() -> None:
    policy = Adaptive(1, 0.5)
    ready = [b"%08d" % number for number in range(5)]
    holder, second = policy.targets(KEY, ready, None, KeyStats(2, ()))
    for number in range(100):
        policy.on_lookup(KEY, None, Scene(holder, ready, {KEY}, number / 10.0))
    assert policy.tick(Scene(holder, ready, {KEY}, 10.0)) == []
    actions = policy.tick(Scene(holder, ready, {KEY}, 20.0))
    assert actions == [CopyTo(KEY, second), Announce(KEY, KeyStats(2, (holder, second)))]


def test_only_the_first_holder_decides() -> None:
    policy = Adaptive(2, 0.5)
    ready = [b"%08d" % number for number in range(5)]
    second = policy.targets(KEY, ready)[1]
    for number in range(100):
        policy.on_lookup(KEY, None, Scene(second, ready, {KEY}, number / 10.0))
    for window in range(1, 10):
        assert policy.tick(Scene(second, ready, {KEY}, 10.0 * window)) == []


def test_when_the_first_holder_dies_the_next_one_goes_on() -> None:
    subnet = with_a_key("adaptive:2:0.5")
    crowd(subnet, 20.0, 60.0, Random(1))
    grown = len(subnet.holding(KEY))
    assert grown > 3
    subnet.die(first_by_rank(subnet, KEY))
    subnet.run(3.0)
    subnet.check([KEY], grown)
    subnet.run(900.0)
    subnet.check([KEY], 2)


def test_more_copies_than_a_note_can_name_are_still_agreed_on() -> None:
    subnet = with_a_key(hosts=14)
    crowd(subnet, 400.0, 130.0, Random(1))
    assert len(subnet.holding(KEY)) > HOSTS_MAX
    assert max(len(stats.holders) for stats in subnet.notes) == HOSTS_MAX
    subnet.check([KEY], None)


def test_lookups_of_keys_that_are_not_held_are_not_counted() -> None:
    policy = Adaptive()
    for number in range(100):
        assert policy.on_lookup(key_of(number), None, Scene(b"me", [b"me"], (), 0.0)) == []
    assert policy.next_deadline() == float("inf")


def test_a_popular_key_that_is_crowded_out_goes_back_to_its_least_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POPULAR_MAX", 3)
    policy = Adaptive(1, 0.5)
    ready = [b"hosthost", b"otherone"]
    mine = [key for key in map(key_of, range(50)) if policy.targets(key, ready) == [ready[0]]][:4]
    scene = Scene(ready[0], ready, set(mine), 0.0)
    policy.learn(mine[0], KeyStats(2, tuple(ready)), scene)
    policy.on_lookup(mine[0], None, scene)
    assert [policy.on_lookup(key, None, scene) for key in mine[1:3]] == [[], []]
    assert policy.on_lookup(mine[3], None, scene) == [Announce(mine[0], KeyStats(1, (ready[0],)))]
    assert policy.stats(mine[0]) is None


@pytest.mark.parametrize(("replicas", "rate"), [(0, 0.5), (256, 0.5), (1, 0.0), (1, float("nan")), (1, 1001.0)])
def test_numbers_out_of_bounds_are_refused(replicas: int, rate: float) -> None:
    with pytest.raises(ValueError, match=r"1 to 255 replicas|lookups a second"):
        Adaptive(replicas, rate)

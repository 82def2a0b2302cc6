import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError
from mdht.subnet import policies
from mdht.subnet.policies import KeyStats, policy_from
from mdht.subnet.view import rank
from tests.mdht.subnet.policies.policy_network import Subnet, key_of, started

HIDS = st.sets(st.binary(min_size=8, max_size=8), min_size=1, max_size=30)
REPLICAS = {
    "single": 1,
    "full": 10**9,
    "fixed:1": 1,
    "fixed:2": 2,
    "fixed:3": 3,
    "fixed:3:receiver": 3,
    "adaptive:1:0.5": 1,
    "adaptive:2:0.5": 2,
}
SURVIVES_DEATHS = [name for name, replicas in REPLICAS.items() if replicas > 1]


def test_the_public_names_are_these() -> None:
    assert policies.__all__ == [
        *("Action", "Adaptive", "Announce", "CopyTo", "DropAfterAck", "Fixed", "Full", "KeyStats", "Lost"),
        *("Placement", "Policy", "PullFrom", "Scene", "Single", "policy_from"),
    ]


@pytest.mark.parametrize("name", REPLICAS)
def test_a_policy_is_told_by_its_name(name: str) -> None:
    assert str(policy_from(name)) == name


def test_the_default_placement_is_not_named() -> None:
    assert str(policy_from("fixed:3:hrw")) == "fixed:3"


@pytest.mark.parametrize(
    "text",
    [
        *("", "Full", "single ", "full:1", "fixed", "fixed:", "fixed:0", "fixed:256", "fixed:-1", "fixed:3:random"),
        *("fixed:\u0663", "fixed:3\n", "x" * 100_000, "adaptive", "adaptive:1", "adaptive:0:0.5", "adaptive:1:0"),
        *("adaptive:1:nan", "adaptive:1:1001", "adaptive:1:1e3"),
    ],
)
def test_nonsense_is_refused_with_one_error_that_lists_what_there_is(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="there are single, full, fixed:N") as caught:
        policy_from(text)
    assert len(str(caught.value)) < 250


@given(st.text(max_size=30))
def test_any_text_names_a_policy_or_is_refused(text: str) -> None:
    try:
        name = str(policy_from(text))
    except LocalProtocolError:
        return
    assert str(policy_from(name)) == name


@given(st.integers(1, 255), st.floats(0.001, 1000.0))
def test_every_adaptive_policy_reads_its_own_name(replicas: int, rate: float) -> None:
    name = f"adaptive:{replicas}:{rate}"
    assert str(policy_from(name)) == name


@pytest.mark.parametrize("name", REPLICAS)
@given(hids=HIDS, known=st.booleans(), data=st.data())
def test_targets_are_distinct_ready_hosts_as_many_as_wanted_whatever_their_order(
    name: str, hids: set[bytes], known: bool, data: st.DataObject
) -> None:
    policy = policy_from(name)
    ready = sorted(hids)
    receiver = data.draw(st.sampled_from(ready) | st.none())
    gone = [b"gonegone", *ready]
    stats = KeyStats(
        data.draw(st.integers(REPLICAS[name], REPLICAS[name] + 5)),
        tuple(data.draw(st.lists(st.sampled_from(gone), max_size=8, unique=True))),
    )
    wanted = stats.wanted if known and name.startswith("adaptive") else REPLICAS[name]
    targets = policy.targets(key_of(1), ready, receiver, stats if known else None)
    assert len(targets) == len(set(targets)) == min(wanted, len(ready))
    assert set(targets) <= hids
    shuffled = data.draw(st.permutations(ready))
    assert policy.targets(key_of(1), shuffled, receiver, stats if known else None) == targets


@pytest.mark.parametrize(("name", "replicas"), [("fixed:1", 1), ("fixed:3", 3), ("adaptive:2:0.5", 2)])
def test_whoever_joins_or_leaves_moves_only_its_share_of_the_keys(name: str, replicas: int) -> None:
    subnet = started(name, 19)
    keys = [key_of(number) for number in range(1000)]
    for number, key in enumerate(keys):
        subnet.put(subnet.host(number), key)
    subnet.moved = 0
    newcomer = subnet.join()
    share = 1000 * replicas / 20
    assert 0.6 * share < len(newcomer.keys) == subnet.moved < 1.4 * share
    held = len(newcomer.keys)
    subnet.leave(newcomer)
    assert subnet.moved == 2 * held
    subnet.check(keys, replicas)


def test_nothing_moves_to_a_newcomer_where_one_host_owns_a_key() -> None:
    subnet = started("single", 5)
    for number in range(100):
        subnet.put(subnet.host(number), key_of(number))
    subnet.moved = 0
    assert not subnet.join().keys
    assert not subnet.moved


def test_a_newcomer_copies_everything_from_one_sibling_where_all_hold_all() -> None:
    subnet = started("full", 5)
    for number in range(100):
        subnet.put(subnet.host(number), key_of(number))
    subnet.moved = 0
    assert len(subnet.join().keys) == subnet.moved == 100


STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "die", "put", "look up"]), st.integers(0, 1000)), max_size=25
)


def take(subnet: Subnet, what: str, number: int, keys: list[bytes]) -> None:
    host = subnet.host(number)
    match what:
        case "join" if len(subnet.hosts) < 12:
            subnet.join()
        case "leave" if len(subnet.hosts) > 1:
            subnet.leave(host)
        case "die" if len(subnet.hosts) > 1:
            subnet.die(host)
        case "put":
            keys.append(key_of(number % 40))
            subnet.put(host, keys[-1])
        case "look up" if keys:
            for times in range(20):
                subnet.look_up(subnet.host(number + times // 5), keys[number % len(keys)])
                subnet.run(1.0)
        case _:
            pass
    subnet.run(5.0)


@pytest.mark.parametrize("name", REPLICAS)
@settings(max_examples=40, deadline=None)
@given(hosts=st.integers(1, 6), late=st.booleans(), steps=STEPS)
def test_joins_and_graceful_leaves_lose_nothing(
    name: str, hosts: int, late: bool, steps: list[tuple[str, int]]
) -> None:
    subnet = started(name, hosts, late=late)
    keys: list[bytes] = []
    for what, number in steps:
        if what != "die":
            take(subnet, what, number, keys)
    subnet.check(keys, None)
    subnet.run(1200.0)
    subnet.check(keys, REPLICAS[name])
    assert not subnet.lost


@pytest.mark.parametrize("name", SURVIVES_DEATHS)
@settings(max_examples=40, deadline=None)
@given(hosts=st.integers(1, 6), late=st.booleans(), steps=STEPS)
def test_single_deaths_lose_nothing_where_there_are_copies(
    name: str, hosts: int, late: bool, steps: list[tuple[str, int]]
) -> None:
    subnet = started(name, hosts, late=late)
    keys: list[bytes] = []
    for what, number in steps:
        take(subnet, what, number, keys)
    subnet.check(keys, None)
    subnet.run(1200.0)
    subnet.check(keys, REPLICAS[name])
    assert not subnet.lost


def test_what_a_dead_owner_had_is_reported_lost_once() -> None:
    subnet = started("single", 5)
    for number in range(100):
        subnet.put(subnet.host(number), key_of(number))
    dead = subnet.host(2)
    subnet.die(dead)
    assert sorted(subnet.lost) == sorted(dead.keys)
    subnet.put(subnet.host(0), subnet.lost[0])
    assert subnet.holding(subnet.lost[0]) == {subnet.host(0).hid}, "the next record finds a new owner"


def test_later_records_of_a_key_go_to_its_owner() -> None:
    subnet = started("single", 5)
    subnet.put(subnet.host(3), key_of(1))
    subnet.put(subnet.host(1), key_of(1))
    assert subnet.holding(key_of(1)) == {subnet.host(3).hid}


@pytest.mark.parametrize("name", ["single", "fixed:3:receiver"])
@pytest.mark.parametrize("second", range(1, 5))
def test_two_first_receivers_that_did_not_hear_of_each_other_agree_on_one(name: str, second: int) -> None:
    subnet = started(name, 5)
    first, other = subnet.host(0), subnet.host(second)
    actions = []
    for host in (first, other):
        host.keys.add(key_of(1))
        actions.append((host, host.policy.on_store(key_of(1), subnet.scene(host, subnet.ready))))
    for host, asked in actions:
        subnet.perform(host, asked)
    subnet.check([key_of(1)], REPLICAS[name])


def test_the_receiver_keeps_a_copy_where_the_placement_says_so() -> None:
    subnet = started("fixed:3:receiver", 9)
    for number in range(20):
        receiver = subnet.host(number)
        subnet.put(receiver, key_of(number))
        holders = subnet.holders_by(subnet.host(number + 1), key_of(number))
        assert holders[0] == receiver.hid
        assert holders[1:] == [hid for hid in rank(key_of(number), subnet.ready) if hid != receiver.hid][:2]

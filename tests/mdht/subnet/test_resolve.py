import math
from random import Random

import pytest

from mdht.errors import LocalProtocolError
from mdht.subnet.effects import Multicast
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Ask, Fetch, Nack, Note, State, Value, WhoHas
from mdht.subnet.query import Outcome, Resolved
from mdht.subnet.resolve import Resolver
from mdht.subnet.resolve_config import ResolveConfig
from mdht.subnet.view import Member, rank
from tests.mdht.subnet.resolve_network import (
    DELAY_S,
    KEY,
    OTHER,
    ROUNDING_S,
    Get,
    Items,
    ResolveNetwork,
    hid_of,
    put,
    seqs,
)


def test_own_records_are_the_answer_at_once() -> None:
    network = ResolveNetwork(3, targets=1)
    put(network.hosts[0], 4)
    get = network.get(network.hosts[0], KEY)
    assert get.result.outcome is Outcome.FOUND
    assert seqs(get.result) == {b"w": 4}
    assert not network.hosts[0].sent
    assert network.hosts[0].resolver.took.within()[math.inf] == 0, "nothing was looked up"


def test_the_first_by_rank_is_asked_alone() -> None:
    network = ResolveNetwork(5, targets=2)
    first, *_, asker = [network.hosts[int.from_bytes(hid, "big")] for hid in rank(KEY, [hid_of(n) for n in range(5)])]
    put(first)
    get = network.get(asker, KEY)
    network.run(2.0)
    assert get.took_s == pytest.approx(2 * DELAY_S)
    assert not network.sent(WhoHas)
    assert len(network.sent(Fetch)) == 1


def test_a_hint_is_used_where_no_holder_is_computed() -> None:
    network = ResolveNetwork(4)
    asker, holder, *_ = network.hosts
    put(holder)
    network.send(holder, Note(key=KEY, stamp=bytes(8), wanted=1, holders=(holder.hid,)))
    network.run(0.01)
    get = network.get(asker, KEY)
    network.run(2.0)
    assert get.result.outcome is Outcome.FOUND
    assert get.result.asks == 0
    assert asker.resolver.counters["hints_used"] == 1


def test_a_probable_holder_that_is_silent_costs_25_ms_and_the_last_one_100_ms() -> None:
    network = ResolveNetwork(5, targets=4)
    order = [network.hosts[int.from_bytes(hid, "big")] for hid in rank(KEY, [hid_of(n) for n in range(5)])]
    first, second, third, _, asker = order
    first.alive = second.alive = False
    put(third)
    get = network.get(asker, KEY)
    network.run(2.0)
    assert [at for at, _ in network.sent(Fetch)] == pytest.approx([0.0, 0.025])
    assert network.sent(WhoHas) == [(pytest.approx(0.125), asker.number)], "two were enough"
    assert get.result.outcome is Outcome.FOUND
    assert asker.resolver.counters["fetches_hedged"] == 1
    assert asker.resolver.counters["fetch_timeouts"] == 1
    took = asker.resolver.took
    assert took.total_s == pytest.approx(get.took_s)
    assert (took.within()[0.1], took.within()[0.2]) == (0, 1)


def test_a_probable_holder_that_has_nothing_costs_one_round_trip() -> None:
    network = ResolveNetwork(3, targets=1)
    order = [network.hosts[int.from_bytes(hid, "big")] for hid in rank(KEY, [hid_of(n) for n in range(3)])]
    _, holder, asker = order
    put(holder)
    asker.resolver.hints.learn(KEY, (holder.hid,), 0.0)
    get = network.get(asker, KEY)
    network.run(2.0)
    assert get.took_s == pytest.approx(4 * DELAY_S)
    assert not network.sent(WhoHas)


def test_all_are_asked_at_0_120_and_400_ms_and_the_silent_ones_alone_at_800() -> None:
    network = ResolveNetwork(3)
    asker, silent, _ = network.hosts
    silent.alive = False
    get = network.get(asker, KEY)
    network.run(2.0)
    assert [at for at, _ in network.sent(WhoHas)] == pytest.approx([0.0, 0.12, 0.4])
    assert [at for at, _ in network.sent(Fetch)] == pytest.approx([0.8])
    assert get.took_s == pytest.approx(1.0)
    assert get.result.outcome is Outcome.NOT_FOUND
    assert get.result.partial, "the silent one may hold it"
    assert get.result.asks == 3


def test_the_first_value_is_the_answer_for_any() -> None:
    network = ResolveNetwork(4, single=True)
    for seq, host in enumerate(network.hosts[1:]):
        put(host, seq)
    get = network.get(network.hosts[0], KEY)
    network.run(2.0)
    assert get.took_s == pytest.approx(2 * DELAY_S)
    assert not get.result.partial


def test_all_values_within_80_ms_of_the_first_are_merged_for_latest() -> None:
    network = ResolveNetwork(5)
    put(network.hosts[1], 3, writer=b"a")
    put(network.hosts[2], 7, writer=b"a")
    put(network.hosts[3], 1, writer=b"b")
    get = network.get(network.hosts[0], KEY, Ask.LATEST)
    network.run(2.0)
    first = network.sent(Value)[0][0]
    assert get.results[0][0] == pytest.approx(first + DELAY_S + 0.08)
    assert seqs(get.result) == {b"a": 7, b"b": 1}
    assert not get.result.partial


def test_own_records_are_only_the_first_answer_for_latest() -> None:
    network = ResolveNetwork(3, targets=1)
    put(network.hosts[0], 3)
    put(network.hosts[1], 4)
    get = network.get(network.hosts[0], KEY, Ask.LATEST)
    network.run(2.0)
    assert get.took_s == pytest.approx(0.08)
    assert seqs(get.result) == {b"w": 4}


def test_whoever_is_alone_knows_at_once() -> None:
    network = ResolveNetwork(1)
    (host,) = network.hosts
    assert network.get(host, KEY).result == Resolved(key=KEY, outcome=Outcome.NOT_FOUND)
    put(host)
    assert network.get(host, KEY, Ask.LATEST).result.outcome is Outcome.FOUND
    assert not host.sent


@pytest.mark.parametrize("after_s", [0.0, 0.049])
def test_whoever_hears_the_question_waits_for_the_answer(after_s: float) -> None:
    network = ResolveNetwork(20)
    asker, other, holder, *_ = network.hosts
    first = network.get(asker, KEY)
    network.run(DELAY_S + after_s)
    second = network.get(other, KEY)
    put(holder)  # only now: it does not answer the first question, but the repeated one
    network.run(2.0)
    assert first.result.outcome is second.result.outcome is Outcome.FOUND
    questions = network.sent(WhoHas)
    assert questions[:2] == [(0.0, asker.number), (pytest.approx(DELAY_S + 0.1), other.number)]


def test_the_answer_to_somebody_else_is_fetched_from_who_gave_it() -> None:
    network = ResolveNetwork(20)
    asker, other, holder, *_ = network.hosts
    put(holder)
    network.get(asker, KEY)
    network.run(2 * DELAY_S)
    get = network.get(other, KEY)
    network.run(2.0)
    assert get.result.outcome is Outcome.FOUND
    assert get.took_s <= 0.008 + 2 * DELAY_S, "as soon as the answer is heard"
    assert get.result.asks == 0
    assert [number for _, number in network.sent(WhoHas)] == [asker.number]
    assert [number for _, number in network.sent(Fetch)] == [other.number]


def test_an_answer_to_somebody_else_helps_also_whose_own_question_was_lost() -> None:
    network = ResolveNetwork(20)
    asker, other, holder, *_ = network.hosts
    put(holder)
    network.get(asker, KEY)
    holder.hears_multicast = False
    get = network.get(other, KEY)
    network.run(0.1)
    assert get.result.outcome is Outcome.FOUND
    assert get.result.asks == 1


def test_nobody_waits_for_one_question_after_the_other() -> None:
    network = ResolveNetwork(20)
    asker, other, third, *_ = network.hosts
    network.get(asker, KEY)
    network.run(0.04)
    get = network.get(other, KEY)
    network.run(DELAY_S + 0.1 - network.now - 0.01)
    network.send(third, WhoHas(qid=b"queryqid", key=KEY))
    network.run(2.0)
    assert (pytest.approx(DELAY_S + 0.1), other.number) in network.sent(WhoHas)
    assert get.took_s == pytest.approx(1.0)


def test_whoever_wants_it_50_ms_later_asks_anew() -> None:
    network = ResolveNetwork(20)
    asker, other, *_ = network.hosts
    network.get(asker, KEY)
    network.run(DELAY_S + 0.051)
    network.get(other, KEY)
    network.run(0.01)
    assert [number for _, number in network.sent(WhoHas)] == [asker.number, other.number]


def test_gets_of_one_key_share_a_query() -> None:
    network = ResolveNetwork(3)
    asker, holder, _ = network.hosts
    put(holder)
    gets = [network.get(asker, KEY) for _ in range(5)]
    network.run(2.0)
    assert all(get.result.outcome is Outcome.FOUND for get in gets)
    assert len(network.sent(WhoHas)) == 1


def test_whoever_is_told_may_look_up_more() -> None:
    network = ResolveNetwork(2)
    asker, holder = network.hosts
    put(holder)
    again: list[Get] = []
    effects = asker.resolver.get(KEY, Ask.ANY, 0.0, lambda _: again.append(network.get(asker, OTHER)))
    network.perform(asker, effects)
    network.run(2.0)
    (get,) = again
    assert get.result.outcome is Outcome.NOT_FOUND


def test_a_key_of_another_length_is_the_callers_mistake() -> None:
    network = ResolveNetwork(2)
    with pytest.raises(LocalProtocolError):
        network.get(network.hosts[0], b"short")


# ---- nothing found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 16])
def test_in_a_small_subnet_denials_of_all_end_the_lookup(count: int) -> None:
    network = ResolveNetwork(count)
    get = network.get(network.hosts[0], KEY)
    network.run(2.0)
    assert get.took_s <= 0.02 + 2 * DELAY_S
    assert get.result == Resolved(key=KEY, outcome=Outcome.NOT_FOUND, asks=1)
    nacks = network.sent(Nack)
    assert sorted(number for _, number in nacks) == list(range(1, count))
    assert all(DELAY_S <= at <= DELAY_S + 0.02 for at, _ in nacks)


def test_in_a_large_subnet_nobody_denies_and_the_lookup_takes_a_second() -> None:
    network = ResolveNetwork(17)
    get = network.get(network.hosts[0], KEY)
    network.run(2.0)
    assert get.took_s == pytest.approx(1.0)
    assert get.result == Resolved(key=KEY, outcome=Outcome.NOT_FOUND, asks=3)
    assert not network.sent(Nack)
    assert not network.sent(Fetch)


@pytest.mark.parametrize(
    ("state", "partial", "ended_s"),
    [
        (State.READY, True, 1.0),
        (State.LEAVING, True, 1.0),
        (State.SUSPECT, True, 0.03),
        (State.JOINING, True, 0.03),
        (State.DEAD, False, 0.03),
        (State.LEFT, False, 0.03),
    ],
)
def test_what_a_silent_member_is_decides_how_sure_the_answer_is(state: State, partial: bool, ended_s: float) -> None:
    network = ResolveNetwork(4)
    network.hosts[3].alive = False
    network.seen_as(3, state)
    get = network.get(network.hosts[0], KEY)
    network.run(2.0)
    assert get.result.outcome is Outcome.NOT_FOUND
    assert get.result.partial == partial
    assert get.took_s <= ended_s + ROUNDING_S


def test_where_multicast_does_not_pass_the_answer_is_partial() -> None:
    network = ResolveNetwork(3)
    unheard = network.hosts[0].membership.view.get(hid_of(1))
    assert unheard is not None
    unheard.multicast_at = -math.inf
    get = network.get(network.hosts[0], KEY)
    network.run(2.0)
    assert get.result.partial


def test_a_host_that_joins_is_not_sure() -> None:
    network = ResolveNetwork(3)
    network.hosts[0].membership.state = State.JOINING
    get = network.get(network.hosts[0], KEY)
    network.run(2.0)
    assert get.result.partial


def test_a_leaving_host_still_answers_and_a_joining_one_does_not() -> None:
    for state, outcome in ((State.LEAVING, Outcome.FOUND), (State.JOINING, Outcome.NOT_FOUND)):
        network = ResolveNetwork(3)
        network.hosts[1].membership.state = state
        network.seen_as(1, state)
        put(network.hosts[1])
        get = network.get(network.hosts[0], KEY)
        network.run(2.0)
        assert get.result.outcome is outcome


def test_a_holder_that_hears_no_multicast_is_found_in_a_small_subnet() -> None:
    network = ResolveNetwork(16)
    deaf = network.hosts[7]
    deaf.hears_multicast = False
    put(deaf)
    get = network.get(network.hosts[0], KEY)
    network.run(2.0)
    assert get.result.outcome is Outcome.FOUND
    assert get.took_s == pytest.approx(0.8 + 2 * DELAY_S)
    assert [number for _, number in network.sent(Fetch)] == [0], "the others had denied it"


def test_a_real_view_is_enough_to_look_up() -> None:
    """As a driver has it: the membership with one member, and nothing else."""
    membership = Membership(hid_of(0), 1, (("192.0.2.1", 4000),), bytes(20), MembershipConfig(), Random(1))
    membership.start(0.0)
    membership.view.add(Member(hid_of(1), 1, (("192.0.2.2", 4000),), State.READY, 0.0))
    resolver = Resolver(membership, Items(), ResolveNetwork(1).hosts[0].resolver._placement, ResolveConfig(), Random(1))
    results: list[Resolved] = []
    (effect,) = resolver.get(KEY, Ask.ANY, 0.0, results.append, hops=3)
    assert isinstance(effect, Multicast)
    assert isinstance(effect.message, WhoHas)
    assert effect.message.hops == 3
    assert Ask.DENIAL in effect.message.ask

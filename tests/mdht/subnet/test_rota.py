import math
from random import Random

import pytest

from mdht.subnet.epochs import EPOCH_MAX
from mdht.subnet.rota import Rota, place_in_rota

MEMBERS = [b"host%04d" % number for number in range(4)]
PERIOD_S = 5.0


def test_each_member_has_its_own_place_and_each_turn_another_one_comes_first() -> None:
    members = [b"host%04d" % number for number in range(5)]
    for turn in range(12):
        assert sorted(place_in_rota(me, members, turn) for me in members) == [0, 1, 2, 3, 4]
        assert place_in_rota(members[turn % 5], members, turn) == 0
    assert place_in_rota(b"stranger", members, 3) == 5


def rotas(count: int, *, shared: bool = True) -> dict[bytes, Rota]:
    found = {hid: Rota(PERIOD_S, shared=shared) for hid in MEMBERS[:count]}
    for rota in found.values():
        rota.start(0.0)
    return found


def run(found: dict[bytes, Rota], seconds: float, *, dead: frozenset[bytes] = frozenset()) -> list[tuple[float, bytes]]:
    """Rounds of members that hear each other at once; the dead ones are still in the others' views."""
    rounds = []
    members = sorted(found)
    while True:
        living = [hid for hid in members if hid not in dead]
        now, hid = min((found[hid].due_at(hid, members), hid) for hid in living)
        if now > seconds:
            return rounds
        assert found[hid].take(hid, members, now)
        rounds.append((now, hid))
        turn = found[hid].done(now)
        for other in found.values():
            if turn is not None and other is not found[hid]:
                other.seen(turn, now)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_members_take_turns_in_the_order_of_their_names(count: int) -> None:
    rounds = run(rotas(count), 40.0)
    assert [at for at, _ in rounds] == [PERIOD_S * number for number in range(1, 9)]
    assert [hid for _, hid in rounds] == [MEMBERS[number % count] for number in range(1, 9)]


def test_the_turn_of_a_dead_member_is_taken_after_one_and_a_half_periods() -> None:
    rounds = run(rotas(4), 22.5, dead=frozenset({MEMBERS[2]}))
    assert rounds == [(5.0, MEMBERS[1]), (12.5, MEMBERS[3]), (17.5, MEMBERS[3]), (22.5, MEMBERS[0])]


def test_two_dead_members_in_a_row_cost_a_period() -> None:
    rounds = run(rotas(4), 10.0, dead=frozenset({MEMBERS[1], MEMBERS[2]}))
    assert rounds == [(10.0, MEMBERS[3])]


def test_without_turns_each_member_works_in_each_period() -> None:
    found = rotas(3, shared=False)
    assert len(run(found, 20.0)) == 3 * 4
    assert all(rota.done_here == 4 and rota.turn == 0 for rota in found.values())


def test_who_is_not_ready_has_no_turn() -> None:
    for shared in (True, False):
        rota = Rota(PERIOD_S, shared=shared)
        rota.start(0.0)
        assert rota.due_at(b"stranger", MEMBERS) == math.inf
    assert Rota(PERIOD_S).due_at(MEMBERS[0], MEMBERS) == math.inf, "not before it is started"
    rota.stop()
    assert rota.due_at(MEMBERS[0], MEMBERS) == math.inf


def test_a_turn_that_another_one_has_done_meanwhile_is_not_counted_twice() -> None:
    rota = Rota(PERIOD_S)
    rota.start(0.0)
    assert rota.take(MEMBERS[0], MEMBERS[:1], 5.0)
    assert not rota.take(MEMBERS[0], MEMBERS[:1], 5.0), "it is under way"
    assert rota.seen(1, 6.0)
    assert rota.done(7.0) == 1
    assert rota.due_at(MEMBERS[0], MEMBERS[:1]) == 11.0


def test_a_round_that_never_ends_is_begun_again_in_the_next_period() -> None:
    rota = Rota(PERIOD_S)
    rota.start(0.0)
    assert rota.take(MEMBERS[0], MEMBERS[:1], 5.0)
    assert rota.due_at(MEMBERS[0], MEMBERS[:1]) == 10.0


@pytest.mark.parametrize(("turn", "news"), [(3, False), (4, False), (5, True), (1000, True), (EPOCH_MAX, False)])
def test_only_a_later_turn_is_news_and_none_beyond_belief(turn: int, news: bool) -> None:
    rota = Rota(PERIOD_S, turn=4)
    rota.start(0.0)
    assert rota.seen(turn, 1.0) is news
    assert rota.turn == (turn if news else 4)


def test_a_period_is_a_time() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Rota(0.0)


def test_with_lost_words_turns_are_done_twice_and_never_missed() -> None:
    rng = Random(1)
    found = rotas(4)
    rounds = 0
    for step in range(1, 4001):
        now = step * 0.1
        for hid, rota in found.items():
            if rota.take(hid, MEMBERS, now):
                rounds += 1
                turn = rota.done(now)
                for other in found.values():
                    if turn is not None and other is not rota and rng.random() > 0.2:
                        other.seen(turn, now)
    periods = 400.0 / PERIOD_S
    assert max(rota.turn for rota in found.values()) >= 0.8 * periods
    assert rounds <= 1.5 * periods

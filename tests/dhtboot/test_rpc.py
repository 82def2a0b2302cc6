import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.errors import LocalProtocolError
from dhtboot.ids import NodeRef
from dhtboot.rpc import Overdue, Pending, RpcTable, Then
from dhtboot.rtt import TimeoutConfig

PEER = NodeRef(7, ("10.0.0.1", 1))
TIMEOUTS = TimeoutConfig(initial_s=0.5, min_s=0.02, max_s=1.5)


def nothing(*_args: Any) -> None:
    """What a request does that nobody waits for."""


def new_table(*, attempts: int = 2, pending_max: int = 100) -> RpcTable:
    return RpcTable(TIMEOUTS, attempts=attempts, pending_max=pending_max, rng=Random(1))


def ask(table: RpcTable, now: float = 0.0, *, node: NodeRef = PEER, hedged: bool = False) -> Pending:
    return table.open(node, "hi", now, Then(nothing, nothing), hedged=hedged)


def overdue(table: RpcTable, now: float) -> list[Overdue]:
    return [what for _pending, what in table.overdue(now)]


def test_a_response_closes_its_request_and_is_measured() -> None:
    table = new_table()
    pending = ask(table)
    assert table.match(pending.request_id, 7, PEER.address, 0.1) is pending
    assert table.rtt.mean_s(PEER.address) == pytest.approx(0.1)
    assert len(table) == 0
    assert table.next_deadline() == math.inf
    assert table.match(pending.request_id, 7, PEER.address, 0.2) is None


@pytest.mark.parametrize(
    ("sender", "address", "shift"),
    [
        (8, PEER.address, 0),  # another node
        (7, ("10.0.0.1", 2), 0),  # another port
        (7, ("10.0.0.2", 1), 0),  # another host
        (7, PEER.address, 1),  # a guessed identifier
    ],
)
def test_a_response_from_elsewhere_is_nobodys(sender: int, address: tuple[str, int], shift: int) -> None:
    table = new_table()
    pending = ask(table)
    assert table.match(pending.request_id + shift, sender, address, 0.1) is None
    assert len(table) == 1


def test_an_entry_point_may_have_any_identifier() -> None:
    table = new_table()
    pending = ask(table, node=NodeRef(0, PEER.address))
    assert table.match(pending.request_id, 99, PEER.address, 0.1) is pending


@pytest.mark.parametrize(
    ("attempts", "hedged", "steps"),
    [
        # After every row's time, what becomes of a request sent at 0 with an initial timeout of 0.5 s.
        (1, False, [(0.49, []), (0.5, [Overdue.DEAD]), (9.0, [])]),
        (2, False, [(0.5, [Overdue.AGAIN]), (1.49, []), (1.5, [Overdue.DEAD])]),
        (3, False, [(0.5, [Overdue.AGAIN]), (1.5, [Overdue.AGAIN]), (2.5, [Overdue.DEAD])]),
        (2, True, [(0.5, [Overdue.AGAIN]), (1.5, [Overdue.DEAD])]),  # nothing measured: late and overdue coincide
    ],
)
def test_a_silent_peer_is_asked_again_then_dead(
    attempts: int, hedged: bool, steps: list[tuple[float, list[Overdue]]]
) -> None:
    table = new_table(attempts=attempts)
    ask(table, hedged=hedged)
    for now, expected in steps:
        assert overdue(table, now) == expected
    assert len(table) == 0
    assert table.next_deadline() == math.inf


def test_a_peer_slower_than_most_is_late_before_it_is_asked_again() -> None:
    table = new_table()
    other = NodeRef(8, ("10.0.0.2", 1))
    table.match(ask(table, 0.0, node=other).request_id, 8, other.address, 0.1)
    hedge_s, timeout_s = table.rtt.hedge_s(), table.rtt.timeout_s(PEER.address)
    assert hedge_s < timeout_s
    ask(table, 1.0, hedged=True)
    assert table.next_deadline() == pytest.approx(1.0 + hedge_s)
    assert overdue(table, 1.0 + hedge_s) == [Overdue.LATE]
    assert overdue(table, 1.0 + timeout_s) == [Overdue.AGAIN]
    assert overdue(table, 1.0 + 3 * timeout_s) == [Overdue.DEAD]


def test_a_late_response_still_counts() -> None:
    table = new_table()
    table.match(ask(table).request_id, 7, PEER.address, 0.1)
    pending = ask(table, 1.0, hedged=True)
    list(table.overdue(1.0 + table.rtt.hedge_s()))
    assert table.match(pending.request_id, 7, PEER.address, 1.35) is pending


def test_a_retransmitted_request_is_measured_from_its_first_transmission() -> None:
    # Not Karn: a timeout that has become too short for a busy peer has to grow again.
    table = new_table()
    pending = ask(table)
    assert overdue(table, 0.5) == [Overdue.AGAIN]
    assert table.match(pending.request_id, 7, PEER.address, 0.6) is pending
    assert table.rtt.mean_s(PEER.address) == pytest.approx(0.6)


def test_a_reopened_request_has_all_its_attempts_and_another_identifier() -> None:
    table = new_table()
    pending = ask(table)
    first_id = pending.request_id
    list(table.overdue(0.5))
    assert table.match(first_id, 7, PEER.address, 0.6) is pending
    again = table.reopen(pending, 0.6)
    assert again is not None
    assert table.match(first_id, 7, PEER.address, 0.7) is None, "a copy of the first response"
    now = table.next_deadline()
    assert overdue(table, now) == [Overdue.AGAIN]
    assert table.match(again.request_id, 7, PEER.address, now + 0.1) is again
    assert table.reopen(again, now + 0.1) is None, "a second cookie"
    assert len(table) == 0


def test_requests_under_way_are_bounded() -> None:
    table = new_table(pending_max=2)
    first = ask(table)
    ask(table)
    assert table.full
    with pytest.raises(LocalProtocolError, match="more than 2 requests"):
        ask(table)
    table.match(first.request_id, 7, PEER.address, 0.1)
    assert not table.full
    ask(table)


@given(st.lists(st.tuples(st.sampled_from(["open", "answer", "wait"]), st.floats(0, 2)), max_size=60))
def test_every_request_ends_once_and_no_deadline_is_missed(steps: list[tuple[str, float]]) -> None:
    table = new_table()
    rng = Random(2)
    now = 0.0
    opened, ended = 0, 0
    waiting: list[Pending] = []
    for what, value in steps:
        if what == "open":
            waiting.append(ask(table, now, hedged=value > 1))
            opened += 1
        elif what == "answer" and waiting:
            pending = waiting.pop(rng.randrange(len(waiting)))
            ended += table.match(pending.request_id, 7, PEER.address, now) is not None
        else:
            now += value
            for pending, what_now in table.overdue(now):
                if what_now is Overdue.DEAD:
                    waiting.remove(pending)
                    ended += 1
        assert table.next_deadline() > now
        assert (table.next_deadline() == math.inf) == (len(table) == 0)
    for _ in range(10):
        now += 5.0
        ended += overdue(table, now).count(Overdue.DEAD)
    assert opened == ended

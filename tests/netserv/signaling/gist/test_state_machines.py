"""Every pair of state and input, thrown at each of the three machines."""

import itertools

import pytest

from netserv.signaling.gist import association, querying, responding
from netserv.signaling.gist.cookies import CookieFacts
from netserv.signaling.gist.messages import Confirm, MaHello, Response
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.querying import QueryingRow
from netserv.signaling.gist.responder import Proof, Reply
from netserv.signaling.gist.responding import RespondingRow
from netserv.signaling.gist.service import LastBy, SendFailure, TransferAttributes
from tests.netserv.signaling.gist.recorder import flow, message
from tests.netserv.signaling.gist.world import line

FLOW = flow("10.0.0.1", "10.0.9.1")
DATAGRAM = TransferAttributes()
TABLES = [querying, responding, association]


def established(attributes=DATAGRAM):
    """Two nodes with one session: the querying one first."""
    world, sender, second, _ = line()
    sender.send(message(FLOW, attributes=attributes))
    world.run(0.1)
    return world, sender, second


def row_of(host):
    (row,) = host.node._commons.table
    return row


@pytest.mark.parametrize("module", TABLES, ids=["querying", "responding", "association"])
def test_tables_are_whole_and_lead_nowhere_after_the_end(module):
    states = {state for state, _ in module.TRANSITIONS}
    assert module.State.ENDED not in states
    reached = {after for after, _ in module.TRANSITIONS.values()}
    start = next(iter(module.State))
    assert set(module.State) == reached | {start}
    assert {event for _, event in module.TRANSITIONS} == set(module.Input)
    used = {action for _, action in module.TRANSITIONS.values()}
    assert set(module.Action) - used <= {module.Action.NONE}


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(querying.State, querying.Input) if pair[0] is not querying.State.ENDED],
    ids=lambda one: one.value,
)
def test_querying_machine_does_what_its_table_says(state, event):
    world, sender, _ = established()
    row = row_of(sender)
    assert isinstance(row, QueryingRow)
    row.state = state
    subjects = {
        querying.Action.TRANSMIT: message(FLOW, attributes=DATAGRAM),
        querying.Action.QUEUE: message(FLOW, attributes=DATAGRAM),
        querying.Action.RESTART: message(FLOW, attributes=DATAGRAM),
        querying.Action.ESTABLISH: Response(
            nslp_id=row.nslp_id,
            wants_confirm=False,
            mri=FLOW.inverted(),
            sid=row.sid,
            nli=Nli(peer_identity=b"peer", address=row.peer.address, ip_ttl=0, validity_ms=30000),
            query_cookie=bytes(16),
        ),
        querying.Action.GIVE_UP: LastBy.TIMEOUT,
        querying.Action.FAIL: SendFailure.TRANSPORT,
    }
    expected = querying.TRANSITIONS.get((state, event))
    sender.node._querier._step(row, event, world.now, subjects.get(expected[1]) if expected else None)
    sender.perform(sender.node._commons.taken())
    ignored = sender.node.counters.out_of_turn
    assert ignored == (expected is None)
    assert row.state is (state if expected is None else expected[0])
    assert (row in list(sender.node._commons.table)) == (row.state is not querying.State.ENDED)
    if state is not type(state).NEW or expected is not None:
        world.run(60.0)


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(responding.State, responding.Input) if pair[0] is not responding.State.ENDED],
    ids=lambda one: one.value,
)
def test_responding_machine_does_what_its_table_says(state, event):
    world, sender, second = established()
    row = row_of(second)
    assert isinstance(row, RespondingRow)
    row.state = state
    if state is responding.State.AWAITING_CONFIRM:
        second.node._responder.half_open = 1
    reply = Reply(b"response", (sender.address, 270), 270)
    confirm = Confirm(
        nslp_id=row.nslp_id,
        mri=FLOW,
        sid=row.sid,
        nli=Nli(peer_identity=b"peer", address=sender.address, ip_ttl=0, validity_ms=30000),
    )
    subjects = {
        responding.Action.RESPOND: reply,
        responding.Action.REFRESH: reply,
        responding.Action.INSTALL: Proof(confirm, CookieFacts(1, 270, 0, 5), None, sender.address),
        responding.Action.QUEUE: message(FLOW.inverted(), attributes=DATAGRAM),
        responding.Action.TRANSMIT: message(FLOW.inverted(), attributes=DATAGRAM),
    }
    expected = responding.TRANSITIONS.get((state, event))
    second.node._responder._step(row, event, world.now, subjects.get(expected[1]) if expected else None)
    second.perform(second.node._commons.taken())
    assert second.node.counters.out_of_turn == (expected is None)
    assert row.state is (state if expected is None else expected[0])
    assert (row in list(second.node._commons.table)) == (row.state is not responding.State.ENDED)
    assert second.node._responder.half_open == (row.state is responding.State.AWAITING_CONFIRM)
    if state is not type(state).NEW or expected is not None:
        world.run(60.0)


@pytest.mark.parametrize(
    ("state", "event"),
    [p for p in itertools.product(association.State, association.Input) if p[0] is not association.State.ENDED],
    ids=lambda one: one.value,
)
def test_association_machine_does_what_its_table_says(state, event):
    world, sender, _ = established(TransferAttributes(reliable=True))
    associations = sender.node._associations
    (one,) = associations.all()
    one.state = state
    subjects = {
        association.Action.TRANSMIT: b"message",
        association.Action.QUEUE: b"message",
        association.Action.ANSWER: MaHello(wants_reply=True, hello_id=9),
    }
    expected = association.TRANSITIONS.get((state, event))
    associations._step(one, event, world.now, subjects.get(expected[1]) if expected else None)
    sender.perform(sender.node._commons.taken())
    assert sender.node.counters.out_of_turn == (expected is None)
    assert one.state is (state if expected is None else expected[0])
    assert (one in associations.all()) == (one.state is not association.State.ENDED)

"""TRIGGER: the last node sends a request back, and the outcome answers the TRIGGER (thesis 7.5.1)."""

import pytest

from mdht.signing import SigningKey
from netserv.signaling.gist.objects.mri import Direction
from netserv.signaling.gist.service import LastBy, SendFailure, SendMessage
from netserv.signaling.handler import RecordingHandler
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.publishers import Publishers
from netserv.signaling.nslp.requests import Probe, Setup, Trigger, encode
from netserv.signaling.nslp.responses import StackEntry
from netserv.signaling.nslp.text import padded
from tests.netserv.signaling.nslp.memory_path import (
    ALICE,
    MODULE,
    PUBLISHERS,
    RECEIVER,
    SENDER,
    TO_RECEIVER,
    UNIX,
    Accepting,
    Path,
    probe,
    setup,
    trigger,
)

BACK = TO_RECEIVER.swapped()
MALLORY = SigningKey.from_seed(b"\6" * 32)


def stack(path: Path) -> list[tuple[str, int]]:
    """As in the text: the way back, its last node first."""
    return [(entry.node_id, entry.code) for entry in path.answer.response.stack]


def test_the_last_node_sends_the_request_back_along_the_reverse_path() -> None:
    path = Path(Accepting(), Accepting(), Accepting())
    inner = setup(flow=BACK)
    path.ask(trigger(inner, target=MODULE))
    path.run()
    response = path.answer.response
    assert response.request == inner.nonce
    assert response.target == MODULE
    assert stack(path) == [("n1", 202), ("n2", 202), ("n3", 202)]
    assert response.stack[0].last_by is LastBy.ENDPOINT
    assert [len(handler.records) for handler in path.handlers] == [0, 0, 1]  # the TRIGGER itself
    for handler in path.handlers:
        assert isinstance(handler, Accepting)
        assert [encode(one) for one in handler.acted if isinstance(one, Setup)] == [encode(inner)]
    back = [message for _, message in path.sent if message.data == padded(encode(inner))]
    assert [message.mri.direction for message in back] == [Direction.DOWNSTREAM] * 3
    assert {(message.mri.source, message.mri.destination) for message in back} == {(RECEIVER, SENDER)}
    assert {message.sid for message in back}.isdisjoint({path.sent[0][1].sid})
    assert path.done[0][0] < 0.05


def test_the_nodes_of_the_reverse_path_hear_that_it_is_the_reverse_path() -> None:
    handler = RecordingHandler(PUBLISHERS)
    path = Path(RecordingHandler(PUBLISHERS), handler)
    path.ask(trigger(probe(flow=BACK)))
    path.run()
    assert [(type(record.request), record.arrival.flow) for record in handler.records] == [
        (Trigger, TO_RECEIVER),
        (Probe, BACK),
    ]
    assert path.handlers[0].records[0].arrival.flow == BACK


def test_where_nobody_is_on_the_way_back_the_last_node_is_the_only_one() -> None:
    path = Path(Accepting())
    # The sender's host has no GIST at its port: the last node hears of that by ICMP.
    path.filtering = lambda _source, _target, message: int(message.mri.destination != SENDER)
    path.ask(trigger(probe(flow=BACK)))
    path.at(0.01, lambda: path.report(1, 2, SendFailure.NO_NEXT_NODE))
    path.run()
    assert [(entry.node_id, entry.last_by) for entry in path.answer.response.stack] == [("n1", LastBy.TIMEOUT)]


def test_a_named_node_sends_it_back_though_others_are_behind() -> None:
    path = Path(Accepting(), Accepting(), Accepting())
    path.ask(trigger(probe(flow=BACK), node_id="n2"))
    path.run()
    assert stack(path) == [("n1", 200), ("n2", 200)]
    assert path.node(3).counters.requests == 0


@pytest.mark.parametrize(
    ("request_", "code", "why"),
    [
        (trigger(probe(flow=BACK), key=MALLORY), Code.UNAUTHORIZED, "signature is not alice's"),
        (trigger(probe(flow=BACK), user="bob"), Code.UNAUTHORIZED, "bob is not known"),
        (trigger(probe(flow=BACK, key=MALLORY)), Code.UNAUTHORIZED, "signature is not alice's"),
        (trigger(probe(flow=TO_RECEIVER)), Code.FORBIDDEN, "signed for the flow"),
        (trigger(probe(flow=BACK, expires=int(UNIX) - 60)), Code.GONE, "expired"),
        (trigger(probe(flow=BACK), node_id="n9"), Code.NOT_FOUND, "n9 is not on this path"),
        (Trigger(inner=probe(flow=BACK)), Code.UNAUTHORIZED, "no public probes"),
    ],
)
def test_what_may_not_be_sent_back_is_answered_by_the_last_node(request_: Trigger, code: Code, why: str) -> None:
    path = Path(Accepting(), Accepting())
    path.ask(request_)
    path.run()
    assert stack(path) == [("n2", code)]
    assert why in path.answer.response.stack[0].text
    assert path.answer.response.stack[0].last_by is LastBy.ICMP
    assert path.node(2).counters.triggers == 0


def test_what_only_the_last_node_itself_refuses_is_sent_back_all_the_same() -> None:
    path = Path(Accepting(), RecordingHandler(PUBLISHERS))
    path.ask(trigger(setup(flow=BACK)))
    path.run()
    assert stack(path) == [("n1", 202), ("n2", 403)]


def test_a_public_probe_may_be_sent_back_where_they_are_open() -> None:
    path = Path(
        *(RecordingHandler(Publishers()) for _ in range(2)), config=NslpConfig(public_probes=True, thesis_mode=True)
    )
    path.ask(Trigger(inner=Probe(items=("status",))))
    path.run()
    assert stack(path) == [("n1", 200), ("n2", 200)]


def test_a_host_that_is_no_node_sends_nothing_back() -> None:
    path = Path(Accepting())
    path.nodes[-1] = path._node("receiver", "10.9.0.1", None)
    path.ask(trigger(probe(flow=BACK)))
    path.run()
    assert stack(path) == [("receiver", 403)]


@pytest.mark.parametrize("copies", [2, 3])
def test_a_trigger_that_comes_twice_opens_one_flow(copies: int) -> None:
    path = Path(Accepting(), Accepting())
    path.filtering = lambda _source, _target, _message: copies
    path.ask(trigger(setup(flow=BACK)))
    path.run()
    assert stack(path) == [("n1", 202), ("n2", 202)]
    assert path.node(2).counters.triggers == 1
    for handler in path.handlers:
        assert isinstance(handler, Accepting)
        assert sum(isinstance(one, Setup) for one in handler.acted) == 1


def test_the_outcome_is_told_again_when_it_was_lost() -> None:
    path = Path(Accepting(), Accepting())
    lost = []

    def filtering(source: int, target: int, message: SendMessage) -> int:
        if (source, target) == (1, 0) and message.mri.destination == RECEIVER and not lost:
            lost.append(message)
            return 0
        return 1

    path.filtering = filtering
    path.ask(trigger(probe(flow=BACK)))
    path.run()
    assert lost
    assert stack(path) == [("n1", 200), ("n2", 200)]
    assert path.node(2).counters.triggers == 1


def test_a_way_back_that_is_silent_ends_in_time() -> None:
    path = Path(Accepting(), Accepting())
    path.filtering = lambda _source, _target, message: int(message.mri.destination != SENDER)
    path.ask(trigger(probe(flow=BACK)))
    path.run()
    entry = path.answer.response.stack[0]
    assert entry.node_id == "n2"
    assert "on the way back: no answer within 20 s" in entry.text
    assert 20.0 < path.done[0][0] < 22.0
    assert len(path.node(2)._asks) == path.node(2)._asks.triggered == 0


def test_a_relay_that_hears_nothing_says_so() -> None:
    path = Path(Accepting(), Accepting())
    path.filtering = lambda _source, target, _message: int(target != 2)
    path.ask(trigger(probe(flow=BACK)))
    path.run()
    entry: StackEntry = path.answer.response.stack[0]
    assert (entry.node_id, entry.code) == ("n1", 500)
    assert "no answer from further down within 39.5 s" in entry.text


def test_triggers_under_way_are_bounded() -> None:
    path = Path(Accepting(), config=NslpConfig(triggers_max=2))
    path.filtering = lambda _source, _target, message: int(message.mri.destination != SENDER)
    for _ in range(3):
        path.ask(trigger(probe(flow=BACK)))
    path.run(1.0)
    assert stack(path) == [("n1", 429)]
    path.run()
    assert len(path.done) == 3
    assert ALICE

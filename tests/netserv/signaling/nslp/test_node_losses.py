"""Losses, duplicates, nodes that go and come: everybody acts once, and the requester has his answer."""

from random import Random

import msgspec
import pytest

from netserv.signaling.gist.objects.mri import Direction
from netserv.signaling.gist.service import (
    LastBy,
    NetworkNotification,
    NotificationKind,
    RoutingStatus,
    SendFailure,
    SendMessage,
)
from netserv.signaling.handler import RecordingHandler
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.effects import Abandoned, Answered
from netserv.signaling.nslp.requests import encode
from netserv.signaling.nslp.responses import is_response
from netserv.signaling.nslp.text import padded
from tests.netserv.signaling.nslp.memory_path import (
    PUBLISHERS,
    RECEIVER,
    SENDER,
    UNIX,
    Accepting,
    Path,
    probe,
    setup,
)
from tests.netserv.signaling.nslp.test_node import codes, sent_by


def acted(path: Path) -> list[int]:
    return [len(handler.acted) for handler in path.handlers if isinstance(handler, Accepting)]


@pytest.mark.parametrize("reliable", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_nothing_doubles_under_loss_and_duplication(seed: int, reliable: bool) -> None:
    path = Path(Accepting(), Accepting(), Accepting())
    rng = Random(seed)
    path.filtering = lambda _source, _target, _message: rng.choices([0, 1, 2, 3], [30, 40, 20, 10])[0]
    path.ask(setup() if reliable else probe(), reliable=reliable)
    path.run()
    assert len(path.done) == 1
    effect = path.done[0][1]
    assert all(count <= 1 for count in acted(path))
    if isinstance(effect, Answered):
        stack = effect.response.nearest_first()
        assert [entry.node_id for entry in stack] == ["n1", "n2", "n3"][: len(stack)]
    else:
        assert "no answer within 40 s" in effect.reason


def test_most_requests_come_through_losses() -> None:
    full = 0
    for seed in range(40):
        path = Path(Accepting(), Accepting())
        rng = Random(seed)
        path.filtering = lambda _source, _target, _message, rng=rng: int(rng.random() >= 0.3)
        path.ask(probe(), reliable=False)
        path.run()
        effect = path.done[0][1]
        full += isinstance(effect, Answered) and len(effect.response.stack) == 2
    assert full >= 38  # each hop is tried anew after 1 s and every 2 s; only the requester would have come to 67 %


@pytest.mark.parametrize("lost_at", [0, 1])
def test_a_lost_response_is_repeated_when_the_request_comes_again(lost_at: int) -> None:
    path = Path(Accepting(), Accepting())
    lost = []

    def filtering(_source: int, target: int, message: SendMessage) -> int:
        if is_response(message.data) and target == lost_at and not lost:
            lost.append(message)
            return 0
        return 1

    path.filtering = filtering
    path.ask(setup())
    path.run()
    assert len(lost) == 1
    assert codes(path) == [202, 202]
    assert acted(path) == [1, 1]
    assert path.done[0][0] < 3.0


def test_a_duplicate_is_neither_acted_on_nor_sent_on_again_at_once() -> None:
    path = Path(Accepting(), Accepting())
    path.filtering = lambda _source, target, message: 3 if target == 1 and not is_response(message.data) else 1
    path.ask(setup())
    path.run()
    assert acted(path) == [1, 1]
    assert len(sent_by(path, 1, Direction.DOWNSTREAM)) == 1
    assert path.node(1).counters.repeated == 2


def test_the_same_request_in_another_session_is_answered_as_before() -> None:
    path = Path(Accepting(), Accepting())
    request = setup()
    path.ask(request)
    path.run(100.0)
    path.ask(request)  # after the answers of the first session are forgotten: it expires at 60 + 30 s
    path.run(150.0)
    assert [codes_of(effect) for _, effect in path.done] == [[202, 202], [410, 410]]
    path = Path(Accepting(), Accepting())
    path.ask(request)
    path.run(70.0)
    path.ask(request)
    path.run(90.0)
    assert [codes_of(effect) for _, effect in path.done] == [[202, 202], [202, 202]]
    assert acted(path) == [1, 1]
    assert path.node(1).counters.seen_before == 1


def codes_of(effect: Answered | Abandoned) -> list[int]:
    assert isinstance(effect, Answered)
    return [entry.code for entry in effect.response.nearest_first()]


def test_another_request_with_a_used_nonce_is_refused() -> None:
    path = Path(Accepting())
    path.ask(setup(nonce=bytes(16)))
    path.ask(setup(nonce=bytes(16), ttl_s=60))
    path.run()
    assert [codes_of(effect) for _, effect in path.done] == [[202], [403]]
    path = Path(Accepting())
    sid = bytes(16)
    path.ask(setup(nonce=bytes(16)), sid=sid)
    path.run(1.0)
    path.ask(setup(nonce=bytes(16), ttl_s=60), sid=sid)
    path.run(20.0)
    assert [codes_of(effect) for _, effect in path.done] == [[202], [403]]


def test_a_refresh_in_thesis_mode_is_acted_on_though_it_is_the_same_text() -> None:
    path = Path(Accepting(), config=NslpConfig(thesis_mode=True))
    request = setup(nonce=None, expires=None, flow=None)
    for until in (15.0, 30.0):
        path.ask(request, sid=bytes(16))
        path.run(until)
    assert acted(path) == [2]
    assert len(path.done) == 2


def test_a_node_whose_neighbour_is_silent_answers_with_what_it_knows() -> None:
    path = Path(Accepting(), Accepting(), Accepting())
    path.filtering = lambda _source, target, _message: int(target != 3)
    path.ask(setup())
    path.run()
    response = path.answer.response
    assert [entry.node_id for entry in response.stack] == ["n2", "n1"]
    assert "no answer from further down within 19.0 s" in response.stack[0].text
    assert response.stack[0].text.startswith("work has begun; ")
    assert response.stack[0].last_by is None
    assert response.stack[1].text == "work has begun"
    assert acted(path) == [1, 1, 0]


def test_a_node_that_has_started_anew_gets_the_request_again() -> None:
    path = Path(Accepting(), Accepting())
    path.filtering = lambda _source, target, _message: int(not (target == 2 and path.now < 1.5))
    path.at(1.0, lambda: path.restart(2))
    path.ask(setup())
    path.run()
    assert codes(path) == [202, 202]
    assert acted(path) == [1, 1]


def test_the_nearest_node_may_start_anew_while_the_answer_is_under_way() -> None:
    path = Path(Accepting(), Accepting())
    path.at(0.0025, lambda: path.restart(1))
    path.ask(setup())
    path.run()
    # It has lost its memory, so it has acted twice; the other one has not.
    assert codes(path) == [202, 202]
    assert acted(path) == [2, 1]


@pytest.mark.parametrize("failure", [SendFailure.TRANSPORT, SendFailure.RATE_LIMITED, SendFailure.TIMED_OUT])
def test_what_could_not_be_delivered_goes_out_again_soon(failure: SendFailure) -> None:
    path = Path(Accepting(), Accepting())
    broken = []

    def filtering(source: int, target: int, message: SendMessage) -> int:
        if (source, target) == (1, 2) and not broken:
            broken.append(message)
            assert message.handle is not None
            path.at(path.now + 0.01, lambda: path.report(1, message.handle, failure))
            return 0
        return 1

    path.filtering = filtering
    path.ask(setup())
    path.run()
    assert codes(path) == [202, 202]
    assert path.done[0][0] == pytest.approx(1.016, abs=0.01)


@pytest.mark.parametrize(
    "failure", [SendFailure.SECURITY, SendFailure.UNREACHABLE, SendFailure.HOPS, SendFailure.NO_STATE]
)
def test_what_can_never_be_delivered_is_answered_at_once(failure: SendFailure) -> None:
    path = Path(Accepting(), Accepting())

    def filtering(source: int, target: int, message: SendMessage) -> int:
        if (source, target) == (1, 2):
            path.at(path.now + 0.01, lambda: path.report(1, message.handle or 0, failure))
            return 0
        return 1

    path.filtering = filtering
    path.ask(setup())
    path.run()
    assert codes(path) == [202]
    assert failure.value in path.answer.response.stack[0].text
    assert path.done[0][0] < 0.1


def test_what_is_too_large_for_a_datagram_goes_by_connection() -> None:
    path = Path(RecordingHandler(PUBLISHERS), RecordingHandler(PUBLISHERS))

    def filtering(source: int, target: int, message: SendMessage) -> int:
        if target > source and not message.attributes.reliable:
            path.at(path.now + 0.01, lambda: path.report(source, message.handle or 0, SendFailure.TOO_LARGE))
            return 0
        return 1

    path.filtering = filtering
    path.ask(probe(), reliable=False)
    path.run()
    assert codes(path) == [200, 200]


def test_the_requester_hears_what_failed() -> None:
    path = Path(Accepting())
    path.filtering = lambda _source, _target, _message: 0
    path.ask(setup())
    path.at(0.01, lambda: path.report(0, 1, SendFailure.SECURITY))
    path.run()
    effect = path.done[0][1]
    assert isinstance(effect, Abandoned)
    assert not effect.no_node
    assert SendFailure.SECURITY.value in effect.reason
    path.ask(setup())
    path.at(path.now + 0.01, lambda: path.report(0, 2, SendFailure.TRANSPORT))
    path.run(100.0 + path.now)
    effect = path.done[1][1]
    assert isinstance(effect, Abandoned)
    assert "no answer within 40 s; GIST said last: the connection to the peer failed" in effect.reason


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (NotificationKind.COMMUNICATION_FAILURE, None),
        (NotificationKind.ROUTE_DELETION, None),
        (NotificationKind.ROUTING_STATUS_CHANGE, RoutingStatus.BAD),
    ],
)
@pytest.mark.parametrize("who", [0, 1])
def test_a_route_that_is_gone_has_the_request_sent_again(
    who: int, kind: NotificationKind, status: RoutingStatus | None
) -> None:
    path = Path(Accepting(), Accepting())
    path.filtering = lambda source, _target, _message: int(source != who or path.now > 0.5)
    path.ask(setup())

    def tell() -> None:
        message = path.sent[0][1]
        notification = NetworkNotification(nslp_id=32704, sid=message.sid, mri=message.mri, kind=kind, status=status)
        path.perform(who, path.node(who).notified(notification, path.now))

    path.at(0.1, tell)
    path.run()
    assert codes(path) == [202, 202]
    assert path.done[0][0] == pytest.approx(1.1, abs=0.02)
    assert acted(path) == [1, 1]


def test_a_route_that_is_only_better_known_changes_nothing() -> None:
    path = Path(Accepting())
    path.filtering = lambda _source, _target, _message: 0
    path.ask(setup())
    message = path.sent[0][1]
    for kind, status in (
        (NotificationKind.ROUTING_STATUS_CHANGE, RoutingStatus.GOOD),
        (NotificationKind.AUTHORISATION_CHANGE, None),
    ):
        notification = NetworkNotification(nslp_id=32704, sid=message.sid, mri=message.mri, kind=kind, status=status)
        assert path.sender.notified(notification, 0.0) == []
    path.run(1.9)
    assert len(path.sent) == 1


def test_a_report_alone_says_that_nobody_is_behind() -> None:
    path = Path(Accepting(), Accepting())
    path.filtering = lambda _source, target, _message: int(target != 2)
    path.ask(setup())
    path.at(0.01, lambda: path.report(1, 1, SendFailure.NO_NEXT_NODE))
    path.run()
    assert [(entry.node_id, entry.last_by) for entry in path.answer.response.stack] == [("n1", LastBy.TIMEOUT)]
    assert path.done[0][0] < 0.1


def test_a_late_answer_is_counted_and_goes_nowhere() -> None:
    path = Path(Accepting(), Accepting())
    held: list[SendMessage] = []

    def filtering(source: int, _target: int, message: SendMessage) -> int:
        if source == 2:
            held.append(message)
            return 0
        return 1

    path.filtering = filtering
    path.ask(setup())
    path.run(25.0)
    assert len(path.done) == 1
    path.filtering = lambda _source, _target, _message: 1
    path.perform(2, [held[0]])
    path.run(26.0)
    assert path.node(1).counters.late == 1
    assert len(path.done) == 1
    path.run(190.0)
    path.perform(2, [held[0]])
    path.run(191.0)
    assert path.node(1).counters.unasked == 1


@pytest.mark.parametrize("data", [b"RESPONSE * NETSERV/0.1\n\n", b"RESPONSE \xff"])
def test_an_answer_that_cannot_be_read_is_said_to_be_so(data: bytes) -> None:
    path = Path(Accepting(), Accepting())
    changed: list[bool] = []

    def filtering(source: int, _target: int, message: SendMessage) -> int:
        if source == 2 and not changed:
            changed.append(True)
            path.perform(2, [msgspec.structs.replace(message, data=padded(data))])
            return 0
        return 1

    path.filtering = filtering
    path.ask(setup())
    path.run()
    assert codes(path) == [202]
    assert "cannot be read" in path.answer.response.stack[0].text


def test_the_own_destination_is_the_end() -> None:
    path = Path(Accepting(), Accepting())
    path.filtering = lambda _source, target, _message: int(target != 2)
    path.ask(setup())
    path.at(0.01, lambda: path.report(1, 1, SendFailure.OWN_DESTINATION))
    path.run()
    assert path.answer.response.stack[0].last_by is LastBy.ENDPOINT


def test_a_replay_from_another_path_time_or_session_does_nothing() -> None:
    request = setup()
    handler = Accepting()
    path = Path(handler)
    path.ask(request)
    path.run(1.0)
    for flow in ((SENDER, RECEIVER), (bytes([10, 0, 0, 9]), RECEIVER)):
        effects = path.sender.ask(encode(request), source=flow[0], destination=flow[1], reliable=True, now=path.now)
        path.perform(0, effects)
        path.run(path.now + 1.0)
    assert [codes_of(effect) for _, effect in path.done] == [[202], [202], [403]]
    path.now = 91.0
    path.ask(request)
    path.run(95.0)
    assert codes_of(path.done[-1][1]) == [410]
    assert len(handler.acted) == 1
    assert UNIX

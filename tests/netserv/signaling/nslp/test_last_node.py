"""GIST says that nobody is behind a node which had a next one: requests that this one got are asked again."""

from collections.abc import Sequence

from netserv.signaling.gist.objects.mri import Direction
from netserv.signaling.gist.service import (
    LastBy,
    MessageStatus,
    NetworkNotification,
    NotificationKind,
    SendMessage,
    TransferAttributes,
)
from netserv.signaling.nslp.effects import Answered
from netserv.signaling.nslp.requests import request_id
from tests.netserv.signaling.nslp.memory_path import Accepting, Path, probe
from tests.netserv.signaling.nslp.test_node import sent_by


class Refreshing(Path):
    """Messages count as sent; a search for a next node that had one may find none."""

    def perform(self, index: int, effects: Sequence[object]) -> None:
        super().perform(index, effects)
        for effect in effects:
            if isinstance(effect, SendMessage) and effect.handle is not None:
                status = MessageStatus(nslp_id=32704, handle=effect.handle, attributes=TransferAttributes())
                super().perform(index, self.node(index).reported(status, self.now))

    def nobody_behind(self, index: int, message: SendMessage) -> None:
        notification = NetworkNotification(
            nslp_id=32704,
            sid=message.sid,
            mri=message.mri,
            kind=NotificationKind.LAST_NODE,
            last_by=LastBy.TIMEOUT,
        )
        self.perform(index, self.node(index).notified(notification, self.now))


def lost_once(path: Path, source: int) -> None:
    """What that host sends first is lost."""
    lost = []

    def filtering(place: int, _target: int, message: SendMessage) -> int:
        if place == source and not lost:
            lost.append(message)
            return 0
        return 1

    path.filtering = filtering


def test_a_requester_whose_request_was_sent_asks_again_before_it_says_that_nobody_is_there() -> None:
    path = Refreshing(Accepting(), Accepting())
    lost_once(path, 0)
    path.ask(probe())
    path.run(0.5)
    path.nobody_behind(0, sent_by(path, 0, Direction.DOWNSTREAM)[0])
    assert path.done == []
    path.run(1.8)  # before the regular repetition, which comes after two seconds
    assert isinstance(path.done[0][1], Answered)
    assert [entry.node_id for entry in path.answer.response.nearest_first()] == ["n1", "n2"]


def test_a_node_whose_request_was_sent_on_does_not_answer_as_the_last_one() -> None:
    path = Refreshing(Accepting(), Accepting())
    lost_once(path, 1)
    path.ask(probe())
    path.run(0.5)
    path.nobody_behind(1, sent_by(path, 1, Direction.DOWNSTREAM)[0])
    path.run(1.8)
    assert [entry.node_id for entry in path.answer.response.nearest_first()] == ["n1", "n2"]
    assert [len(handler.acted) for handler in (path.handlers[0], path.handlers[1])] == [1, 1]


def test_who_finds_nobody_for_what_it_has_not_sent_yet_says_so_at_once() -> None:
    path = Path(Accepting(), last_by=LastBy.TIMEOUT)
    path.ask(probe())
    path.run()
    assert [entry.last_by for entry in path.answer.response.stack] == [LastBy.TIMEOUT]
    assert path.done[0][0] < 7.6


def test_a_request_that_nobody_waits_for_any_more_is_sent_no_further_and_its_path_let_go() -> None:
    path = Path(Accepting(), last_by=LastBy.TIMEOUT)
    request = probe()
    path.ask(request)
    path.run(1.0)
    assert path.sender.withdraw(bytes(16)) == []
    path.perform(0, path.sender.withdraw(request_id(request, b"")))
    assert [(who, effect.lifetime_s) for who, effect in path.lifetimes] == [(0, 0.0)]
    path.run()
    assert path.done == []
    assert len(sent_by(path, 0, Direction.DOWNSTREAM)) == 1
    assert path.sender.status().own == 0


def test_a_session_goes_on_when_one_of_its_requests_is_not_waited_for() -> None:
    path = Path(Accepting())
    first, second = probe(long_session=True), probe()
    for request in (first, second):
        path.ask(request, sid=b"S" * 16)
        path.perform(0, path.sender.withdraw(request_id(request, b"")))
    path.run()
    assert [who for who, effect in path.lifetimes if effect.lifetime_s == 0.0 and who == 0] == [0]

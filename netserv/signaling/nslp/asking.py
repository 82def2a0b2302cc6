"""Requests that begin here: those of this host's user, and those that a TRIGGER has this node send.

GIST's promise ends at the next node, so a request is sent again, the same bytes, until its answer is there. Nodes that
have it already answer again, and act no more.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.service import LastBy, SendFailure, SendMessage, TransferAttributes
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.deadlines import Deadlines
from netserv.signaling.nslp.effects import NslpEffect
from netserv.signaling.nslp.exchange import ExchangeKey, SessionKey
from netserv.signaling.nslp.responses import Response

NOTIFICATION_WITHIN_S: Final = 0.05
"How GIST knows that nobody is behind follows its report that nothing was sent, in the same batch of effects."
TRANSIENT: Final = frozenset({SendFailure.TRANSPORT, SendFailure.RATE_LIMITED, SendFailure.TIMED_OUT})
"What may go when it is tried again: a connection was cut, the other node starts anew."
HOW_LAST: Final = {
    LastBy.ICMP: "the destination's kernel says that nothing listens on the GIST port",
    LastBy.TIMEOUT: "nobody has answered",
    LastBy.ENDPOINT: "the destination has GIST, but not this NSLP",
}


class Ask:
    """A request of our own, under way."""

    __slots__ = (
        "data", "delivered", "ends_at", "failure", "handle", "inner_of", "long", "nobody", "number", "reliable",
        "resend_at", "resend_s", "session", "started",
    )  # fmt: skip

    def __init__(self, number: bytes, session: SessionKey, data: bytes, *, reliable: bool, started: float) -> None:
        self.number = number
        "By which the response names it."
        self.session = session
        self.data = data
        self.reliable = reliable
        self.started = started
        self.ends_at = 0.0
        self.resend_at = 0.0
        self.resend_s = 0.0
        self.handle = 0
        self.long = False
        self.inner_of: ExchangeKey | None = None
        "The TRIGGER that has it sent."
        self.delivered = False
        "GIST has sent it to a next node, as far as it knows."
        self.nobody = False
        self.failure: SendFailure | None = None
        "The last one."


class Settled(msgspec.Struct, frozen=True):
    """A request of our own is over."""

    ask: Ask
    response: Response | None = None
    reason: str = ""
    "Where there is no response."
    last_by: LastBy | None = None
    "How GIST knows that no NetServ node is on the path."


class Asks:
    """All of them.

    Args:
        config: limits and times.
        handles: numbers for what GIST is to report about.
    """

    def __init__(self, config: NslpConfig, handles: Iterator[int]) -> None:
        self._config = config
        self._handles = handles
        self._of_session: dict[SessionKey, dict[bytes, Ask]] = {}
        self._of_handle: dict[int, Ask] = {}
        self._due: Deadlines[tuple[SessionKey, bytes]] = Deadlines()
        self.triggered = 0
        "Inner requests of TRIGGERs."

    def __len__(self) -> int:
        return len(self._due)

    def begin(
        self,
        data: bytes,
        number: bytes,
        session: SessionKey,
        *,
        reliable: bool,
        within_s: float,
        now: float,
        inner_of: ExchangeKey | None = None,
        long: bool = False,
    ) -> list[NslpEffect]:
        """Send a request.

        Raises:
            LocalProtocolError: it is under way already, or too many are.
        """
        asks = self._of_session.get(session, {})
        if number in asks:
            raise LocalProtocolError("that request is under way already")
        if len(self) >= self._config.asks_max:
            raise LocalProtocolError(f"{self._config.asks_max} requests are under way already; wait for their answers")
        ask = Ask(number, session, data, reliable=reliable, started=now)
        ask.ends_at = now + within_s
        ask.resend_s = self._config.resend_s if reliable else self._config.resend_unreliable_s
        ask.inner_of = inner_of
        ask.long = long
        self._of_session.setdefault(session, asks)[number] = ask
        self.triggered += inner_of is not None
        return self._send(ask, now)

    def find(self, session: SessionKey, number: bytes) -> Ask | None:
        """The one that a response answers."""
        return self._of_session.get(session, {}).get(number)

    def own(self, number: bytes) -> Ask | None:
        """The one of this host's user that is named so."""
        asks = (ask for asks in self._of_session.values() for ask in asks.values())
        return next((ask for ask in asks if ask.number == number and ask.inner_of is None), None)

    def of_session(self, session: SessionKey) -> Iterable[Ask]:
        """Those of one session."""
        return tuple(self._of_session.get(session, {}).values())

    def settle(self, ask: Ask) -> None:
        """It is over: forget it."""
        asks = self._of_session[ask.session]
        del asks[ask.number]
        if not asks:
            del self._of_session[ask.session]
        self._of_handle.pop(ask.handle, None)
        self._due.drop((ask.session, ask.number))
        self.triggered -= ask.inner_of is not None

    def reported(self, handle: int, failure: SendFailure | None, now: float) -> tuple[list[NslpEffect], list[Settled]]:
        """GIST has sent one of them, or could not."""
        ask = self._of_handle.get(handle)
        if ask is None:
            return [], []
        ask.delivered = failure is None
        if failure is None:
            return [], []
        ask.failure = failure
        if failure is SendFailure.NO_NEXT_NODE:
            ask.nobody = True
            self._wake(ask, now + NOTIFICATION_WITHIN_S)
        elif failure is SendFailure.TOO_LARGE and not ask.reliable:
            ask.reliable = True
            return self._send(ask, now), []
        elif failure in TRANSIENT:
            self._wake(ask, min(now + self._config.retry_s, ask.ends_at))
        else:
            return [], [Settled(ask, reason=f"GIST could not send it: {failure.value}")]
        return [], []

    def last_node(self, session: SessionKey, last_by: LastBy, now: float) -> list[Settled]:
        """GIST knows that no node is on the path.

        What was delivered had one, which is gone or cannot be heard: GIST has to look for another one.
        """
        settled = []
        for ask in self.of_session(session):
            if ask.delivered:
                self._soon(ask, now)
            else:
                settled.append(_unheard(ask, last_by))
        return settled

    def trouble(self, session: SessionKey, now: float) -> None:
        """The way to the next node is gone: send again soon."""
        for ask in self.of_session(session):
            if not ask.nobody:
                self._soon(ask, now)

    def tick(self, now: float) -> tuple[list[NslpEffect], list[Settled]]:
        """Send again what has no answer yet, give up what has had its time."""
        effects: list[NslpEffect] = []
        settled: list[Settled] = []
        for session, number in self._due.due(now):
            ask = self._of_session[session][number]
            if ask.nobody:
                settled.append(_unheard(ask, LastBy.TIMEOUT))
            elif now >= ask.ends_at:
                last = f"; GIST said last: {ask.failure.value}" if ask.failure is not None else ""
                settled.append(Settled(ask, reason=f"no answer within {now - ask.started:.0f} s{last}"))
            else:
                effects += self._send(ask, now)
        return effects, settled

    def next_deadline(self) -> float:
        """When to call `tick`."""
        return self._due.next()

    def _send(self, ask: Ask, now: float) -> list[NslpEffect]:
        self._of_handle.pop(ask.handle, None)
        ask.handle = next(self._handles)
        self._of_handle[ask.handle] = ask
        ask.delivered = False
        ask.resend_at = now + ask.resend_s
        ask.resend_s = 2 * ask.resend_s if ask.reliable else self._config.resend_s
        self._wake(ask, min(ask.resend_at, ask.ends_at))
        return [
            message_to(self._config, ask.session[0], ask.session[1], ask.data, reliable=ask.reliable, handle=ask.handle)
        ]

    def _soon(self, ask: Ask, now: float) -> None:
        self._wake(ask, min(now + self._config.retry_s, ask.resend_at, ask.ends_at))

    def _wake(self, ask: Ask, at: float) -> None:
        self._due.set((ask.session, ask.number), at)


def _unheard(ask: Ask, last_by: LastBy) -> Settled:
    return Settled(ask, reason=f"no NetServ node is on the path: {HOW_LAST[last_by]}", last_by=last_by)


def message_to(
    config: NslpConfig,
    sid: bytes,
    mri: Mri,
    data: bytes,
    *,
    reliable: bool,
    handle: int | None = None,
) -> SendMessage:
    """What GIST is asked to send; over TLS only reliably."""
    attributes = TransferAttributes(reliable=reliable, secure=config.secure and reliable)
    return SendMessage(nslp_id=config.nslp_id, sid=sid, mri=mri, data=data, handle=handle, attributes=attributes)

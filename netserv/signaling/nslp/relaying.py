"""Requests of others on their way through this node, and answers on their way back (NetServ design, sections 1, 2).

A request is sent on at once and unchanged, whatever this node says to it: that stands in its own entry on the stack.
Longer than most modules: all that can happen to a request at a node, side by side as in its table.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.messages import HOPS_DEFAULT
from netserv.signaling.gist.objects.mri import Area
from netserv.signaling.gist.service import LastBy, RecvMessage, SendFailure, SendMessage
from netserv.signaling.nslp.around import Found, Surroundings, around_of, merged
from netserv.signaling.nslp.asking import NOTIFICATION_WITHIN_S, TRANSIENT, Settled, message_to
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.counters import NslpCounters
from netserv.signaling.nslp.deadlines import Deadlines
from netserv.signaling.nslp.effects import NslpEffect
from netserv.signaling.nslp.entries import Entries, joined
from netserv.signaling.nslp.exchange import Action, Exchange, ExchangeKey, Input, SessionKey, Stage
from netserv.signaling.nslp.exchanges import Exchanges
from netserv.signaling.nslp.handling import Answer, Arrival
from netserv.signaling.nslp.judging import Judge, refusal
from netserv.signaling.nslp.requests import Probe, Remove, Request, Setup, Trigger, decode, request_id
from netserv.signaling.nslp.responses import Response, encode
from netserv.signaling.nslp.routing import Sessions, downstream, upstream
from netserv.signaling.nslp.text import RESPONSE_BYTES_MAX, padded
from netserv.signaling.nslp.triggering import WayBack
from netserv.signaling.nslp.values import Flow

DISCOVERY_MARGIN_S: Final = 0.5
"No node waits less than GIST's search takes, and this for the way back."


class Relay:
    """Treats the requests of others.

    Args:
        config: limits and times.
        entries: of this node.
        judge: what this node says; None on a host that is no node: it only answers where a flow ends.
        back: opens the flow of a TRIGGER.
        surroundings: tells off-path requests.
        hops_to: IP hops from here to a host, as far as they are known.
        handles: numbers for what GIST is to report about.
        counters: of the node.
    """

    def __init__(
        self,
        *,
        config: NslpConfig,
        entries: Entries,
        judge: Judge | None,
        back: WayBack,
        surroundings: Surroundings,
        hops_to: Callable[[PackedAddress], int],
        handles: Iterator[int],
        counters: NslpCounters,
    ) -> None:
        self._config = config
        self._entries = entries
        self._judge = judge
        self._back = back
        self._surroundings = surroundings
        self._hops_to = hops_to
        self._counters = counters
        self._due: Deadlines[ExchangeKey] = Deadlines()
        # Requests that were only sent on, one of a session: to say so when they are answered.
        self._overloaded: OrderedDict[SessionKey, Exchange] = OrderedDict()
        self.exchanges = Exchanges(config, handles)
        self.sessions = Sessions(config)

    # What comes in.

    def request(self, message: RecvMessage, now: float) -> list[NslpEffect]:
        """A request has come from upstream."""
        exchange = self._read(message)
        known = self.exchanges.get(exchange.key)
        if known is not None:
            return self._again(known, now)
        self._counters.requests += 1
        if self.exchanges.find(exchange.session, exchange.number) is not None:
            exchange.answer = Answer(code=Code.FORBIDDEN, text="another request of this session had that nonce")
            return [self._upwards(exchange, self._own(exchange, self._blank(exchange), None))]
        if not self.exchanges.has_room(message.mri.source):
            return self._overload(exchange)
        return self._begin(exchange, now)

    def response(self, session: SessionKey, data: bytes, response: Response | None, now: float) -> list[NslpEffect]:
        """A response has come from further down; None: it cannot be read."""
        if response is None:
            waiting = [one for one in self.exchanges.of_session(session) if one.is_open]
            return self._alone(waiting, Input.FAILED_FOR_GOOD, "the answer from further down cannot be read", now)
        exchange = self.exchanges.find(session, response.request)
        if exchange is None:
            return self._unasked(session, response)
        # The flow's end may be a host that puts no entry of its own: then this node is the last one.
        last_by = None if response.stack or response.truncated else LastBy.ENDPOINT
        if exchange.gathering and exchange.stage is Stage.WAITING:
            return self._hold(exchange, response, last_by)
        action = exchange.step(Input.RESPONSE)
        if action is not Action.PASS_ON:
            self._counters.late += 1
            return []
        self._counters.responses += 1
        if exchange.answer is None:  # a TRIGGER or a balloon: the nodes on its way only relay
            return self._answer(exchange, data, now)
        return self._answer(exchange, self._own(exchange, response, last_by), now)

    def last_node(self, session: SessionKey, last_by: LastBy, now: float) -> list[NslpEffect]:
        """GIST knows that nobody is behind this node: what a next node has got already may be lost with it."""
        effects: list[NslpEffect] = []
        for exchange in self.exchanges.of_session(session):
            if exchange.delivered and exchange.is_open:
                self._retry_later(exchange, now)
            elif exchange.is_open:
                effects += self._turn(exchange, last_by, now)
        passed = self._overloaded.pop(session, None)
        if passed is not None:
            effects.append(self._upwards(passed, self._own(passed, self._blank(passed), last_by)))
        return effects

    def reported(self, handle: int, failure: SendFailure | None, now: float) -> list[NslpEffect]:
        """GIST has sent a request on, or could not."""
        exchange = self.exchanges.of_handle(handle)
        if exchange is None:
            return []
        exchange.delivered = failure is None
        if failure is None:
            return []
        if failure is SendFailure.OWN_DESTINATION:
            return self._turn(exchange, LastBy.ENDPOINT, now)
        if failure is SendFailure.NO_NEXT_NODE:
            exchange.nobody = True
            self._due.set(exchange.key, now + NOTIFICATION_WITHIN_S)
            return []
        if failure is SendFailure.TOO_LARGE and not exchange.reliable_on:
            exchange.reliable_on = True
            return self._send_on(exchange, now)
        if failure in TRANSIENT:
            self._retry_later(exchange, now)
            return []
        text = f"the next node could not be reached: {failure.value}"
        return self._alone([exchange], Input.FAILED_FOR_GOOD, text, now)

    def trouble(self, session: SessionKey, now: float) -> None:
        """The way to the next node has changed or is gone: what is not answered yet goes out again."""
        for exchange in self.exchanges.of_session(session):
            self._retry_later(exchange, now)

    def outcome(self, settled: Settled, now: float) -> list[NslpEffect]:
        """The inner request of a TRIGGER is answered, or will not be."""
        key = settled.ask.inner_of
        exchange = self.exchanges.get(key) if key is not None else None
        self._counters.late += exchange is not None and not exchange.is_open
        if exchange is None or exchange.step(Input.OUTCOME) is not Action.TELL:
            return []
        below = settled.response or self._blank(exchange)
        if settled.response is None and settled.last_by is None and exchange.answer is not None:
            text = joined(exchange.answer.text, f"on the way back: {settled.reason}")
            exchange.answer = msgspec.structs.replace(exchange.answer, text=text)
        target = exchange.request.target if exchange.request is not None else None
        response = msgspec.structs.replace(below, target=target, request=exchange.number)
        # Of the way back this node is the first.
        exchange.arrival = msgspec.structs.replace(exchange.arrival, distance=0)
        return self._answer(exchange, self._own(exchange, response, settled.last_by), now)

    def gathered(self, found: Found, now: float) -> list[NslpEffect]:
        """The nodes around have answered."""
        exchange = self.exchanges.get(found.whose) if isinstance(found.whose, tuple) else None
        if exchange is None or not exchange.is_open:
            self._counters.late += 1
            return []
        exchange.gathering, exchange.around = False, found.entries
        if exchange.stage is Stage.WAITING or exchange.step(Input.OUTCOME) is not Action.TELL:
            return []
        response, last_by = exchange.below or (self._blank(exchange), None)
        return self._answer(exchange, self._own(exchange, response, last_by), now)

    def tick(self, now: float) -> list[NslpEffect]:
        """Do what is due."""
        effects: list[NslpEffect] = []
        for key in self._due.due(now):
            exchange = self.exchanges.get(key)
            if exchange is not None:
                effects += self._on_time(exchange, now)
        return effects + self.sessions.tick(now)

    def next_deadline(self) -> float:
        """When to call `tick`."""
        return min(self._due.next(), self.sessions.next_deadline())

    # What is done.

    def _read(self, message: RecvMessage) -> Exchange:
        request: Request | None = None
        answer: Answer | None = None
        try:
            request = decode(message.data)
        except NslpError as error:
            self._counters.malformed += 1
            answer = refusal(error)
        key = (message.sid, downstream(message.mri), hashlib.sha256(message.data).digest())
        number = request_id(request, message.data.rstrip(b"\0"))
        exchange = Exchange(key, request, number, message.data, _arrival(message))
        exchange.answer = answer if self._judge is not None else None
        exchange.reliable = exchange.reliable_on = message.attributes.reliable
        exchange.hops = message.hops
        exchange.peer = message.sii.address if message.sii is not None else None
        return exchange

    def _begin(self, exchange: Exchange, now: float) -> list[NslpEffect]:
        self._overloaded.pop(exchange.session, None)
        self.exchanges.add(exchange)
        self.sessions.begin(exchange.session)
        exchange.ends_at = now + self._patience_s(exchange)
        request, arrival = exchange.request, exchange.arrival
        ends_here = arrival.to_flow_endpoint or (
            isinstance(request, Trigger) and request.node_id == self._entries.node_id
        )
        around = around_of(request) if self._judge is not None else None
        area = None if around is None else around.area
        # A bubble is around the sender, so the path behind this node is none of its business.
        turns = ends_here or area is Area.BUBBLE
        effects = [] if turns else self._send_on(exchange, now)
        if request is not None and not isinstance(request, Trigger) and area is not Area.BALLOON:
            # The hop from the sender counts; around a path, what is on it has the whole radius.
            left = 0 if around is None else around.radius - (arrival.distance + 1 if area is Area.BUBBLE else 0)
            effects += self._act(exchange, request, left, now)
        if turns:
            effects += self._turn(exchange, LastBy.ENDPOINT if arrival.to_flow_endpoint else None, now)
        self._counters.refused += exchange.answer is not None and exchange.answer.code >= Code.BAD_REQUEST
        return effects

    def _act(self, exchange: Exchange, request: Setup | Remove | Probe, left: int, now: float) -> list[NslpEffect]:
        """Have this node say what it says, and tell the nodes within `left` IP hops; beyond the radius, nothing."""
        if self._judge is None or left < 0:
            return []
        verdict = self._judge.judge(request, exchange.arrival, now)
        exchange.answer = verdict.answer
        effects = self.sessions.lengthen(exchange.session) if verdict.authentic and _is_long(request) else []
        if not verdict.authentic or left == 0:
            return effects
        try:
            effects += self._surroundings.begin(exchange.session[0], request, left, exchange.key, now)
        except LocalProtocolError as error:
            text = joined(exchange.answer.text, f"nodes around are not told: {error}")
            exchange.answer = msgspec.structs.replace(exchange.answer, text=text)
        else:
            exchange.gathering = True
        return effects

    def _hold(self, exchange: Exchange, response: Response, last_by: LastBy | None) -> list[NslpEffect]:
        """The path has answered; wait for the nodes around."""
        exchange.step(Input.SPREAD)
        exchange.below = response, last_by
        self._due.set(exchange.key, exchange.ends_at)
        return []

    def _again(self, exchange: Exchange, now: float) -> list[NslpEffect]:
        self._counters.repeated += 1
        match exchange.step(Input.AGAIN):
            case Action.SEND_ON if now - exchange.sent_at >= self._config.retry_s and not exchange.nobody:
                self._counters.sent_again += 1
                return self._send_on(exchange, now)
            case Action.REPEAT:
                self.sessions.again(exchange.session, now)
                return [self._upwards(exchange, exchange.response)]
            case _:
                return []

    def _overload(self, exchange: Exchange) -> list[NslpEffect]:
        """Only send it on; when it is answered, or nobody is behind, an entry says that it was not treated here."""
        self._counters.overload += 1
        exchange.answer = Answer(code=Code.TOO_MANY, text="too many requests wait here: try again later")
        if exchange.arrival.to_flow_endpoint:
            return [self._upwards(exchange, self._own(exchange, self._blank(exchange), LastBy.ENDPOINT))]
        sid, mri = exchange.session
        effects: list[NslpEffect] = [message_to(self._config, sid, mri, exchange.data, reliable=exchange.reliable)]
        exchange.data = b""
        self._overloaded[exchange.session] = exchange
        if len(self._overloaded) > self._config.pending_max:
            self._overloaded.popitem(last=False)
        return effects

    def _unasked(self, session: SessionKey, response: Response) -> list[NslpEffect]:
        exchange = self._overloaded.get(session)
        if exchange is None or exchange.number != response.request:
            self._counters.unasked += 1
            return []
        del self._overloaded[session]
        return [self._upwards(exchange, self._own(exchange, response, None))]

    def _send_on(self, exchange: Exchange, now: float) -> list[NslpEffect]:
        exchange.sent_at, exchange.delivered = now, False
        self._counters.sent_on += 1
        exchange.resend_s = self._config.resend_s if exchange.resend_s else self._config.resend_unreliable_s
        again_at = exchange.ends_at if exchange.reliable_on else now + exchange.resend_s
        self._due.set(exchange.key, min(again_at, exchange.ends_at))
        sid, mri = exchange.session
        handle = self.exchanges.numbered(exchange)
        message = message_to(self._config, sid, mri, exchange.data, reliable=exchange.reliable_on, handle=handle)
        # Without a limit of its own the message would go round a loop of nodes until each knows it.
        return [msgspec.structs.replace(message, hops=exchange.hops)] if exchange.hops else [message]

    def _retry_later(self, exchange: Exchange, now: float) -> None:
        if exchange.step(Input.FAILED) is Action.WAIT:
            self._due.set(exchange.key, min(now + self._config.retry_s, exchange.ends_at))

    def _on_time(self, exchange: Exchange, now: float) -> list[NslpEffect]:
        if not exchange.is_open:
            if exchange.step(Input.DEADLINE) is Action.FORGET:
                self.exchanges.forget(exchange)
            return []
        if exchange.nobody and exchange.stage is Stage.WAITING:
            return self._turn(exchange, LastBy.TIMEOUT, now)
        if now < exchange.ends_at:
            self._counters.sent_again += 1
            return self._send_on(exchange, now)
        text = f"no answer from further down within {self._patience_s(exchange):.1f} s"
        return self._alone([exchange], Input.DEADLINE, text, now)

    def _turn(self, exchange: Exchange, last_by: LastBy | None, now: float) -> list[NslpEffect]:
        """Answer as last node; a TRIGGER is sent back."""
        if isinstance(exchange.request, Trigger) and exchange.stage is Stage.WAITING:
            leave = self._back.leave(exchange.request, exchange.arrival, now)
            exchange.answer = leave.answer
            if leave.may_send:
                exchange.step(Input.TURN_BACK)
                exchange.ends_at = now + 2 * self._config.answer_within_s
                self._due.set(exchange.key, exchange.ends_at)
                self._counters.triggers += 1
                return self._back.send(exchange, exchange.request.inner, now)
        effects: list[NslpEffect] = []
        around = around_of(exchange.request)
        if around is not None and around.area is Area.BALLOON and isinstance(exchange.request, Setup | Remove | Probe):
            to_end = 0 if exchange.arrival.to_flow_endpoint else self._hops_to(exchange.session[1].destination)
            effects = self._act(exchange, exchange.request, around.radius - to_end, now)
        if exchange.gathering and exchange.stage is Stage.WAITING:
            return effects + self._hold(exchange, self._blank(exchange), last_by)
        if exchange.step(Input.LAST_NODE) is not Action.TURN:
            return effects
        self._counters.turned += 1
        return effects + self._answer(exchange, self._own(exchange, self._blank(exchange), last_by), now)

    def _alone(self, exchanges: Iterable[Exchange], what: Input, why: str, now: float) -> list[NslpEffect]:
        effects: list[NslpEffect] = []
        for exchange in exchanges:
            if exchange.step(what) is Action.ALONE:
                self._counters.alone += 1
                answer = exchange.answer or Answer(code=Code.ERROR)
                exchange.answer = msgspec.structs.replace(answer, text=joined(answer.text, why))
                below, last_by = exchange.below or (self._blank(exchange), None)
                effects += self._answer(exchange, self._own(exchange, below, last_by), now)
        return effects

    def _answer(self, exchange: Exchange, data: bytes, now: float) -> list[NslpEffect]:
        """Send the answer up, and keep it for whoever sends the request again."""
        exchange.response = data
        numbered = not isinstance(exchange.request, Setup | Remove | Probe) or exchange.request.nonce is not None
        kept_s = self._config.kept_s if numbered else self._config.kept_unnumbered_s
        exchange.data, exchange.request = b"", None
        self._due.set(exchange.key, now + kept_s)
        self.sessions.end(exchange.session, now)
        oldest = self.exchanges.close(exchange)
        if oldest is not None:
            self._due.drop(oldest.key)
            self.exchanges.forget(oldest)
        return [self._upwards(exchange, data)]

    def _own(self, exchange: Exchange, response: Response, last_by: LastBy | None) -> bytes:
        """A response with this node's entry, as it is sent."""
        bytes_max = RESPONSE_BYTES_MAX if exchange.reliable else self._config.unreliable_bytes_max
        response = merged(response, exchange.around, bytes_max=bytes_max)
        if exchange.answer is not None:
            response = self._entries.push(
                response,
                exchange.answer,
                peer=exchange.peer,
                distance=exchange.arrival.distance,
                last_by=last_by,
                bytes_max=bytes_max,
            )
            self._counters.truncated += response.truncated > 0
        return padded(encode(response))

    def _upwards(self, exchange: Exchange, data: bytes) -> SendMessage:
        sid, mri = exchange.session
        return message_to(self._config, sid, upstream(mri), data, reliable=exchange.reliable)

    def _blank(self, exchange: Exchange) -> Response:
        target = exchange.request.target if exchange.request is not None else None
        return Response(target=target, request=exchange.number, code=Code.OK)

    def _patience_s(self, exchange: Exchange) -> float:
        """How long to wait for an answer from further down: a little longer than the nodes there do."""
        come = HOPS_DEFAULT - exchange.hops if 0 < exchange.hops <= HOPS_DEFAULT else 0
        patience_s = self._config.answer_within_s - come * self._config.answer_step_s
        patience_s = max(patience_s, self._config.discovery_s + DISCOVERY_MARGIN_S)
        if around_of(exchange.request) is not None:
            patience_s += self._config.around_s
        return patience_s + self._config.answer_within_s if isinstance(exchange.request, Trigger) else patience_s


def _arrival(message: RecvMessage) -> Arrival:
    return Arrival(
        flow=Flow(message.mri.source, message.mri.destination),
        session=message.sid,
        interface=message.interface,
        distance=message.ip_distance,
        to_flow_endpoint=message.to_flow_endpoint,
        secure=message.attributes.secure,
        routability_checked=message.routability_checked,
    )


def _is_long(request: Request) -> bool:
    return not isinstance(request, Trigger) and request.long_session

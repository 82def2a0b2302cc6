"""The NSLP of one node or host, without I/O: what GIST brings goes in, what is to be done comes out."""

import itertools
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from mdht.signing import SigningKey
from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.objects.mri import Area, Direction, OffPathMri, PathCoupledMri
from netserv.signaling.gist.service import (
    LastBy,
    MessageStatus,
    NetworkNotification,
    NotificationKind,
    Peering,
    RecvMessage,
    RoutingStatus,
)
from netserv.signaling.nslp import requests, responses
from netserv.signaling.nslp.acquaintances import Acquaintances
from netserv.signaling.nslp.around import Surroundings, around_of, merged
from netserv.signaling.nslp.asking import Ask, Asks, Settled
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.counters import NslpCounters
from netserv.signaling.nslp.effects import Abandoned, Answered, NslpEffect, SetStateLifetime
from netserv.signaling.nslp.entries import Entries
from netserv.signaling.nslp.exchange import SessionKey
from netserv.signaling.nslp.handling import Handler
from netserv.signaling.nslp.judging import Judge
from netserv.signaling.nslp.relaying import Relay
from netserv.signaling.nslp.requests import Request, Trigger
from netserv.signaling.nslp.routing import downstream
from netserv.signaling.nslp.text import RESPONSE_BYTES_MAX, padded
from netserv.signaling.nslp.triggering import SID_BYTES, WayBack
from netserv.signaling.nslp.values import read_word

_LOST = {NotificationKind.ROUTE_DELETION, NotificationKind.COMMUNICATION_FAILURE}


class NslpStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the NSLP stands."""

    waiting: int
    "Requests of others that wait for an answer."
    kept: int
    "Answered ones, kept for whoever sends them again."
    sessions: int
    "Whose routing state is not released yet."
    long_sessions: int
    own: int
    "Requests of our own under way."
    remembered: int
    "Nonces."
    counters: NslpCounters


class NslpNode:
    """The NetServ NSLP of one node; an `Application` of GIST.

    Args:
        config: rules, limits and times.
        node_id: what the node is called in its entries.
        addresses: the node's addresses, as text, or a function that gives them, since they change.
        handler: the controller; None on an end host, which is no node: it asks, and where a flow ends it answers
            without an entry of its own.
        rng: for session identifiers; `random.SystemRandom()` outside tests.
        unix_time: the wall clock, in seconds since 1970: when a request expires is said in that time.
        key: signs this node's entries; None: they are not signed.
        towards: which of its addresses the route to a host has, if that can be asked.
        neighbours: further nodes that off-path requests are told, by their addresses.
        hops_to: IP hops from here to a host, as far as they are known; 1 where it is on a link of this node.
    """

    def __init__(
        self,
        *,
        config: NslpConfig,
        node_id: str,
        addresses: Sequence[str] | Callable[[], Sequence[str]],
        handler: Handler | None,
        rng: Random,
        unix_time: Callable[[], float],
        key: SigningKey | None = None,
        towards: Callable[[PackedAddress], PackedAddress | None] | None = None,
        neighbours: Callable[[], Sequence[PackedAddress]] = tuple,
        hops_to: Callable[[PackedAddress], int] = lambda _host: 1,
    ) -> None:
        read_word(node_id)
        self._config = config
        self._has_handler = handler is not None
        self._rng = rng
        self.counters = NslpCounters()
        handles = itertools.count(1)
        self._judge = None
        if handler is not None:
            self._judge = Judge(
                config=config, node_id=node_id, handler=handler, unix_time=unix_time, counters=self.counters
            )
        self._asks = Asks(config, handles)
        self._acquaintances = Acquaintances(neighbours)
        entries = Entries(node_id, addresses if callable(addresses) else lambda: addresses, key, towards)
        self._surroundings = Surroundings(
            config=config,
            entries=entries,
            judge=self._judge,
            acquaintances=self._acquaintances,
            counters=self.counters,
        )
        self._relay = Relay(
            config=config,
            entries=entries,
            judge=self._judge,
            back=WayBack(config=config, node_id=node_id, judge=self._judge, asks=self._asks, rng=rng),
            surroundings=self._surroundings,
            hops_to=hops_to,
            handles=handles,
            counters=self.counters,
        )

    # What GIST says.

    def peering(self, query: RecvMessage, now: float) -> Peering:  # noqa: ARG002 - of the interface
        """Be the next node of every NetServ session that passes; an end host only of those that end there.

        What neighbours tell each other off the path is for the one alone that it is addressed to.
        """
        if isinstance(query.mri, OffPathMri):
            return Peering(peer=query.to_flow_endpoint)
        return Peering(peer=self._has_handler or query.to_flow_endpoint)

    def received(self, message: RecvMessage, now: float) -> list[NslpEffect]:
        """A message has come."""
        if not message.data:
            return []
        if not message.state_validated:
            # Whoever sent it has shown nowhere that he receives at his address, and there is no way to answer him.
            self.counters.unvalidated += 1
            return []
        self._acquaintances.heard(message.sii, now)
        if isinstance(message.mri, OffPathMri):
            return self._drained(self._surroundings.received(message, now), now)
        is_response = responses.is_response(message.data)
        if is_response != (message.mri.direction == Direction.UPSTREAM):
            self.counters.strays += 1
            return []
        if is_response:
            return self._response((message.sid, downstream(message.mri)), message.data, now)
        return self._drained(self._relay.request(message, now), now)

    def reported(self, status: MessageStatus, now: float) -> list[NslpEffect]:
        """GIST has sent a message, or could not."""
        effects, settled = self._asks.reported(status.handle, status.failure, now)
        effects += self._settle(settled, now) + self._relay.reported(status.handle, status.failure, now)
        return self._drained(effects, now)

    def notified(self, notification: NetworkNotification, now: float) -> list[NslpEffect]:
        """Something has happened on a path."""
        session = (notification.sid, downstream(notification.mri))
        if notification.mri.direction != Direction.DOWNSTREAM:
            return []  # the way back: whoever asked asks again, and the answer is still here
        if isinstance(notification.mri, OffPathMri):
            if notification.kind is not NotificationKind.LAST_NODE:
                return []  # a neighbour that starts anew is asked again
            return self._drained(self._surroundings.unreachable(notification.sid, notification.mri, now), now)
        if notification.kind is NotificationKind.LAST_NODE:
            last_by = notification.last_by or LastBy.TIMEOUT
            effects = self._settle(self._asks.last_node(session, last_by, now), now)
            return self._drained(effects + self._relay.last_node(session, last_by, now), now)
        if notification.kind in _LOST or notification.status is RoutingStatus.BAD:
            self._relay.trouble(session, now)
            self._asks.trouble(session, now)
        return []

    def tick(self, now: float) -> list[NslpEffect]:
        """Do what is due."""
        effects, settled = self._asks.tick(now)
        effects += self._settle(settled, now) + self._relay.tick(now) + self._surroundings.tick(now)
        return self._drained(effects, now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return min(self._asks.next_deadline(), self._relay.next_deadline(), self._surroundings.next_deadline())

    # What our own side wants.

    def ask(
        self,
        request: bytes | Request,
        *,
        source: PackedAddress,
        destination: PackedAddress,
        reliable: bool,
        now: float,
        sid: bytes | None = None,
    ) -> list[NslpEffect]:
        """Send a request towards a host; `Answered` or `Abandoned` follows, with `requests.request_id` of it.

        Args:
            request: signed, as it is to be sent.
            source: own address, where the flow begins.
            destination: where it ends.
            reliable: by a connection; else by datagrams, which only a small PROBE fits.
            now: the time.
            sid: 16 random bytes, for several requests in a session that they declare long; None: a new one.

        Raises:
            NslpError: the text is no request.
            LocalProtocolError: it is under way already, too many are, or it is too long for datagrams.
        """
        value = requests.decode(request if isinstance(request, bytes) else requests.encode(request))
        text = requests.encode(value)
        if not reliable and len(text) > self._config.unreliable_bytes_max:
            most = self._config.unreliable_bytes_max
            raise LocalProtocolError(
                f"{len(text)} bytes do not fit a datagram, which has room for {most}: ask reliably"
            )
        number = requests.request_id(value, text)
        session = (sid or self._rng.randbytes(SID_BYTES), flow_mri(source, destination))
        around = around_of(value)
        self.counters.asked += 1
        if around is not None and around.area is Area.BUBBLE and self._judge is not None:
            # This machine is a node itself, and knows others: it is the middle of the bubble.
            return self._drained(self._surroundings.begin(session[0], value, around.radius, number, now), now)
        within_s = self._config.ask_within_s * (2 if isinstance(value, Trigger) else 1)
        within_s += self._config.around_s if around is not None else 0.0
        begin, long = self._asks.begin, not isinstance(value, Trigger) and value.long_session
        return begin(padded(text), number, session, reliable=reliable, within_s=within_s, now=now, long=long)

    def withdraw(self, number: bytes) -> list[NslpEffect]:
        """Whoever has asked waits no more: send it no further, and let its path go.

        Args:
            number: `requests.request_id` of the request; one that is over, or was never asked, is fine.
        """
        ask = self._asks.own(number)
        if ask is None:
            return []
        self._asks.settle(ask)
        self.counters.abandoned += 1
        return self._let_go(ask)

    def release(self, sid: bytes, *, source: PackedAddress, destination: PackedAddress) -> list[NslpEffect]:
        """End a session that was declared long."""
        return [self._lifetime((sid, flow_mri(source, destination)), 0.0)]

    def status(self) -> NslpStatus:
        """How it stands."""
        exchanges, sessions = self._relay.exchanges, self._relay.sessions
        return NslpStatus(
            waiting=exchanges.open,
            kept=len(exchanges) - exchanges.open,
            sessions=len(sessions),
            long_sessions=sessions.long,
            own=len(self._asks),
            remembered=len(self._judge.seen) if self._judge else 0,
            counters=msgspec.structs.replace(self.counters),
        )

    # What is done.

    def _response(self, session: SessionKey, data: bytes, now: float) -> list[NslpEffect]:
        response: responses.Response | None = None
        try:
            response = responses.decode(data)
        except NslpError:
            self.counters.malformed += 1
        else:
            ask = self._asks.find(session, response.request)
            if ask is not None:
                return self._settle([Settled(ask, response)], now)
        return self._relay.response(session, data, response, now)

    def _drained(self, effects: list[NslpEffect], now: float) -> list[NslpEffect]:
        """With what comes of the off-path requests that all nodes around have answered."""
        for found in self._surroundings.take_found():
            if isinstance(found.whose, tuple):
                effects += self._relay.gathered(found, now)
                continue
            self.counters.answered += 1
            blank = responses.Response(target=found.target, request=found.whose, code=Code.OK)
            response = merged(blank, found.entries, bytes_max=RESPONSE_BYTES_MAX)
            effects.append(Answered(nonce=found.whose, response=response))
        return effects

    def _settle(self, settled: Sequence[Settled], now: float) -> list[NslpEffect]:
        """Tell whoever asked, and let GIST forget the way."""
        effects: list[NslpEffect] = []
        for one in settled:
            self._asks.settle(one.ask)
            if one.ask.inner_of is not None:
                effects += self._relay.outcome(one, now)
            elif one.response is not None:
                self.counters.answered += 1
                effects.append(Answered(nonce=one.ask.number, response=one.response))
            else:
                self.counters.abandoned += 1
                no_node = one.last_by is not None
                effects.append(Abandoned(nonce=one.ask.number, reason=one.reason, no_node=no_node))
            effects += self._let_go(one.ask)
        return effects

    def _let_go(self, ask: Ask) -> list[NslpEffect]:
        """After the last request of a session its path is not needed, unless it was declared long."""
        if ask.long or self._asks.of_session(ask.session):
            return []
        return [self._lifetime(ask.session, 0.0)]

    def _lifetime(self, session: SessionKey, lifetime_s: float) -> SetStateLifetime:
        sid, mri = session
        return SetStateLifetime(nslp_id=self._config.nslp_id, mri=mri, sid=sid, lifetime_s=lifetime_s)


def flow_mri(source: PackedAddress, destination: PackedAddress) -> PathCoupledMri:
    """The flow of all packets from one host to another."""
    bits = 8 * len(source)
    return PathCoupledMri(source=source, destination=destination, source_prefix=bits, destination_prefix=bits)

"""Off-path requests: what `Epidemic` wants done as messages of the NSLP, and what comes as its events (thesis 7.5.2).

From node to node such a request travels in sessions of their own, whose routing method (MRM 120) leads straight to the
neighbour: `source` is who tells, `destination` who is told, `radius` the IP hops that are left before that hop.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from netserv.signaling.epidemic import RADIUS_MAX, Act, Answer, Ask, Effect, Epidemic, EpidemicConfig, Gathered
from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.messages import HOPS_DEFAULT
from netserv.signaling.gist.objects.mri import Direction, OffPathMri
from netserv.signaling.gist.service import RecvMessage, SendMessage
from netserv.signaling.nslp import responses
from netserv.signaling.nslp.acquaintances import Acquaintances
from netserv.signaling.nslp.asking import message_to
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.counters import NslpCounters
from netserv.signaling.nslp.effects import NslpEffect, SetStateLifetime
from netserv.signaling.nslp.entries import Entries
from netserv.signaling.nslp.exchange import ExchangeKey
from netserv.signaling.nslp.handling import Arrival
from netserv.signaling.nslp.judging import Judge
from netserv.signaling.nslp.requests import Request, Trigger, decode, encode, request_id
from netserv.signaling.nslp.responses import Response, StackEntry, pushed
from netserv.signaling.nslp.text import RESPONSE_BYTES_MAX, padded
from netserv.signaling.nslp.values import Around, Flow, ModuleRef

MORE: Final = "more"
"Header of an answer between neighbours: `yes` while further entries are expected."
TELLERS_MAX: Final = 64
"Neighbours that tell of one request: as many as a node tells."

Whose: TypeAlias = ExchangeKey | bytes
"For which exchange answers are gathered, or for which request of our own: its number."


class Found(msgspec.Struct, frozen=True):
    """All that the nodes around have answered."""

    whose: Whose
    target: ModuleRef | None
    "Of the request."
    entries: tuple[StackEntry, ...]


class _Told(msgspec.Struct):
    """A request that this node was told, or has begun."""

    request: Request
    mri: dict[PackedAddress, OffPathMri] = {}
    "By teller: the routing state on which it is answered."
    asked: dict[PackedAddress, OffPathMri] = {}
    "By neighbour."
    whose: Whose | None = None
    hops: int = 0
    "IP hops from the place around which it is told, along the way that it came first."


class Surroundings:
    """The off-path side of one node.

    Args:
        config: limits and times.
        entries: of this node.
        judge: what it says; None on a host that is no node: it answers with nothing.
        acquaintances: whom it knows.
        counters: of the node.
    """

    def __init__(
        self,
        *,
        config: NslpConfig,
        entries: Entries,
        judge: Judge | None,
        acquaintances: Acquaintances,
        counters: NslpCounters,
    ) -> None:
        self._config = config
        self._entries = entries
        self._judge = judge
        self._acquaintances = acquaintances
        self._counters = counters
        self._told: dict[bytes, _Told] = {}
        self._found: list[Found] = []
        self.epidemic: Epidemic[StackEntry] = Epidemic(EpidemicConfig())

    def begin(self, sid: bytes, request: Request, budget: int, whose: Whose, now: float) -> list[NslpEffect]:
        """Tell a request to the nodes within so many IP hops of this one; `take_found` has what comes of it.

        Raises:
            LocalProtocolError: too many are out.
        """
        told = self._told.setdefault(sid, _Told(request))
        told.whose = whose
        neighbours = self._acquaintances.all(now)
        return self._perform(self.epidemic.begin(sid, encode(request), min(budget, RADIUS_MAX), neighbours, now), now)

    def received(self, message: RecvMessage, now: float) -> list[NslpEffect]:
        """A neighbour tells a request, or answers one."""
        mri = message.mri
        assert isinstance(mri, OffPathMri)  # noqa: S101 - the caller has looked
        if mri.direction is Direction.UPSTREAM:
            return self._answered(message.sid, mri, message.data, now)
        try:
            request = decode(message.data)
        except NslpError:
            request = None
        place = around_of(request)
        if request is None or place is None or mri.radius > place.radius:  # further than its publisher has signed
            self._counters.malformed += 1
            return []
        sid = message.sid
        # The hop itself counts too: who is on the same link is one hop away.
        distance = max(message.ip_distance, 0) + 1
        told = self._told.setdefault(sid, _Told(request, hops=place.radius - mri.radius + distance))
        if mri.source not in told.mri and len(told.mri) >= TELLERS_MAX:
            self._counters.overload += 1
            return []
        told.mri[mri.source] = mri
        neighbours = self._acquaintances.all(now)
        effects = self._perform(
            self.epidemic.asked(sid, encode(request), mri.radius, mri.source, distance, neighbours, now), now
        )
        if sid not in self.epidemic:  # out of reach, or no room for it
            del self._told[sid]
        return effects

    def unreachable(self, sid: bytes, mri: OffPathMri, now: float) -> list[NslpEffect]:
        """GIST says that a neighbour is not there, or has no NetServ."""
        return self._perform(self.epidemic.answered(sid, mri.destination, {}, complete=True), now)

    def tick(self, now: float) -> list[NslpEffect]:
        """Do what is due."""
        effects = self._perform(self.epidemic.tick(now), now)
        for sid in [sid for sid in self._told if sid not in self.epidemic]:
            told = self._told.pop(sid)
            for mri in (*told.mri.values(), *told.asked.values()):
                effects += [self._release(sid, mri), self._release(sid, mri.inverted())]
        return effects

    def next_deadline(self) -> float:
        """When to call `tick`."""
        return self.epidemic.next_deadline()

    def take_found(self) -> list[Found]:
        """What is gathered to the end since the last call."""
        found, self._found = self._found, []
        return found

    def _answered(self, sid: bytes, mri: OffPathMri, data: bytes, now: float) -> list[NslpEffect]:
        told = self._told.get(sid)
        try:
            response = responses.decode(data)
        except NslpError:
            self._counters.malformed += 1
            return []
        if told is None or response.request != request_id(told.request, encode(told.request)):
            self._counters.unasked += 1
            return []
        complete = dict(response.others).get(MORE) != "yes"
        entries = {entry.node_id: entry for entry in response.stack}
        return self._perform(self.epidemic.answered(sid, mri.destination, entries, complete=complete), now)

    def _perform(self, effects: Sequence[Effect[StackEntry]], now: float) -> list[NslpEffect]:
        done: list[NslpEffect] = []
        for effect in effects:
            match effect:
                case Act(sid=sid, teller=teller):
                    done += self._perform(self._act(sid, teller, now), now)
                case Ask(neighbour=neighbour, sid=sid, request=data, budget=budget):
                    done += self._ask(sid, neighbour, data, budget, now)
                case Answer(to=to, sid=sid, entries=entries, complete=complete):
                    done += self._answer(sid, to, entries, complete=complete)
                case Gathered(sid=sid, entries=entries, complete=True):
                    told = self._told.get(sid)
                    if told is not None and told.whose is not None:
                        self._found.append(Found(told.whose, told.request.target, entries))
                        told.whose = None
                case Gathered():
                    pass
        return done

    def _act(self, sid: bytes, teller: PackedAddress, now: float) -> list[Effect[StackEntry]]:
        told = self._told[sid]
        if self._judge is None:
            return self.epidemic.acted(sid, self._entries.node_id, None, [], now, spread=False)
        mri = told.mri[teller]
        # Nobody can check the path of what comes off the path: the flow is what its publisher has signed.
        flow = told.request.flow if not isinstance(told.request, Trigger) else None
        arrival = Arrival(flow=flow or Flow(mri.source, mri.destination), session=sid, distance=told.hops)
        self._counters.requests += 1
        verdict = self._judge.judge(told.request, arrival, now)
        self._counters.refused += verdict.answer.code >= Code.BAD_REQUEST
        entry = self._entries.entry(
            verdict.answer,
            request_id(told.request, encode(told.request)),
            peer=teller,
            distance=told.hops,
            last_by=None,
        )
        neighbours = self._acquaintances.all(now)
        return self.epidemic.acted(sid, self._entries.node_id, entry, neighbours, now, spread=verdict.authentic)

    def _ask(self, sid: bytes, neighbour: PackedAddress, data: bytes, budget: int, now: float) -> list[NslpEffect]:
        told, own = self._told[sid], self._entries.facing(neighbour)
        place = around_of(told.request)
        if own == neighbour or len(own) != len(neighbour) or place is None:
            return self._perform(self.epidemic.answered(sid, neighbour, {}, complete=True), now)
        mri = OffPathMri(area=place.area, source=own, destination=neighbour, radius=budget)
        told.asked[neighbour] = mri
        return [self._message(sid, mri, data)]

    def _answer(
        self, sid: bytes, to: PackedAddress, entries: tuple[StackEntry, ...], *, complete: bool
    ) -> list[NslpEffect]:
        told = self._told[sid]
        request = told.request
        response = Response(
            target=request.target,
            request=request_id(request, encode(request)),
            code=Code.OK,
            others=() if complete else ((MORE, "yes"),),
        )
        for entry in entries:
            response = pushed(response, entry, bytes_max=RESPONSE_BYTES_MAX)
        return [self._message(sid, told.mri[to].inverted(), responses.encode(response))]

    def _message(self, sid: bytes, mri: OffPathMri, data: bytes) -> SendMessage:
        message = message_to(self._config, sid, mri, padded(data), reliable=True)
        return msgspec.structs.replace(message, hops=HOPS_DEFAULT)

    def _release(self, sid: bytes, mri: OffPathMri) -> SetStateLifetime:
        return SetStateLifetime(nslp_id=self._config.nslp_id, mri=mri, sid=sid, lifetime_s=0.0)


def around_of(request: Request | None) -> Around | None:
    """For the nodes around which place it is; None: for those on the path."""
    return None if request is None or isinstance(request, Trigger) else request.around


def merged(response: Response, entries: Sequence[StackEntry], *, bytes_max: int) -> Response:
    """A response with the entries of nodes that have none in it yet."""
    known = {entry.node_id for entry in response.stack}
    for entry in entries:
        if entry.node_id not in known:
            known.add(entry.node_id)
            response = pushed(response, entry, bytes_max=bytes_max)
    return response

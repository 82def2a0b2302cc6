"""One Chord node as a core without I/O: routing, joining, fingers.

`receive`, `tick`, `join` and `leave` return the effects to perform. The layer above calls `lookup` and `tell` from
within its own calls; their effects wait for the next `collect`.

Longer than most modules: it is what all parts of the node, which have modules of their own, meet in.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable
from random import Random
from typing import Any, Final

from dhtboot.chord.application import Application
from dhtboot.chord.config import ChordConfig
from dhtboot.chord.fingers import FingerTable
from dhtboot.chord.fix import fix_fingers
from dhtboot.chord.join import Joining
from dhtboot.chord.messages import (
    LIST_MAX,
    FindSuccessor,
    JoinReply,
    JoinRequest,
    Leaving,
    NewSuccessorHint,
    Notified,
    Notify,
    Packet,
    Ping,
    Pong,
    Predecessor,
    Refused,
    Route,
    Stabilize,
    Successors,
    Tell,
)
from dhtboot.chord.outcome import FAILED, OnOutcome, Outcome
from dhtboot.chord.periods import Period
from dhtboot.chord.router import Router
from dhtboot.chord.stabilize import Neighbours
from dhtboot.chord.walk import HOPS, MINE, SUCCESSORS, Walk, look_around
from dhtboot.effects import Effect, Send
from dhtboot.ids import ID_BYTES, Address, NodeRef, id_bytes, id_from
from dhtboot.limits import token_buckets
from dhtboot.rpc import IGNORED, REQUEST_ID_BITS, Asker, Overdue, Pending, RpcTable


class ChordNode(Router):
    """A node of Chord.

    Args:
        identifier: own identifier.
        config: settings.
        rng: source of all chance, unpredictable on a real network.
        now: time of creation.
        application: the layer above, None for a bare overlay.
    """

    __slots__ = (
        "_application",
        "_config",
        "_effects",
        "_fix_at",
        "_fix_period",
        "_id_bytes",
        "_limiter",
        "_rng",
        "_routed",
        "_timers_at",
        "_turned_away",
        "client",
        "counters",
        "joined",
        "joining",
        "neighbours",
        "rpc",
    )

    def __init__(
        self,
        identifier: int,
        config: ChordConfig,
        rng: Random,
        now: float,  # noqa: ARG002 - every core is made with the time
        application: Application | None = None,
    ) -> None:
        self.id = identifier
        self.client = False
        "Whether it has no place in the ring: it asks those in it, and nobody is told of it."
        self.joined = False
        "Whether this node is part of the ring: it routes, and lets others in (READY)."
        self.counters: Counter[str] = Counter()
        self.neighbours = Neighbours(self, identifier, config, rng)
        self.fingers = FingerTable(identifier)
        self.joining = Joining(self, config, rng)
        self._id_bytes = id_bytes(identifier)
        self._config = config
        self._rng = rng
        self._application = application
        self.rpc = RpcTable(config.timeouts, attempts=config.attempts, pending_max=config.pending_max, rng=rng)
        self._limiter = token_buckets(rate_per_s=config.requests_per_s, burst=config.requests_burst)
        self._fix_period = Period(
            config.fix_fingers_min_s, config.fix_fingers_max_s, config.fix_fingers_quiet_s, config, rng
        )
        self._effects: list[Effect] = []
        self._turned_away: list[tuple[NodeRef, Asker]] = []
        self._routed: OrderedDict[int, tuple[float, Walk]] = OrderedDict()
        self._fix_at = math.inf
        self._timers_at = math.inf

    # ---- driver's side -------------------------------------------------------------------------------------------

    def receive(self, packet: Packet[Any], source: Address, now: float) -> list[Effect]:
        """Act on one packet from the network."""
        message, sender_id = packet.message, packet.sender
        if len(sender_id) != ID_BYTES:
            self.counters["without_sender"] += 1
        elif type(message) in _RESPONSES:
            sender = id_from(sender_id)
            pending = self.rpc.match(packet.request_id, sender, source, now)
            if pending is not None:
                # Of an entry point only the address was known.
                node = pending.node if pending.node.id else NodeRef(sender, source)
                pending.asker.on_reply(node, message, now)
            elif type(message) is Successors and packet.request_id in self._routed:
                self._on_routed(message, NodeRef(sender, source), packet.request_id, now)
            else:
                self.counters["unexpected_responses"] += 1
        elif self._limiter.take(source, now):
            self.counters["rate_limited"] += 1
        else:
            self._on_request(packet, source, now)
        return self.collect()

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        for pending, overdue in self.rpc.overdue(now):
            if overdue is Overdue.AGAIN:
                self.counters["retransmitted"] += 1
                self.send(pending.node.address, pending.request_id, pending.request)
            elif overdue is Overdue.DEAD:
                self.on_unanswered(pending, now)
        turned_away, self._turned_away = self._turned_away, []
        for node, asker in turned_away:
            asker.on_fail(node, now)
        while self._routed and next(iter(self._routed.values()))[0] <= now:
            self.on_walked(self._routed.popitem(last=False)[1][1], FAILED, now)
        if now >= self.joining.due_at:
            self.joining.tick(now)
        if now >= self.neighbours.due_at:
            self.neighbours.tick(now)
        if now >= self._fix_at:
            self._fix_fingers(now)
        self.set_timers()
        return self.collect()

    def on_unanswered(self, pending: Pending, now: float) -> None:
        """A request will not be answered any more: its peer counts as dead."""
        self.counters["timeouts"] += 1
        self.on_dead(pending.node, now)
        pending.asker.on_fail(pending.node, now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; asked after each packet, so it is kept rather than worked out."""
        due_at = self.rpc.due_at
        return due_at if due_at < self._timers_at else self._timers_at  # noqa: FURB136 - min() costs three times that

    def set_timers(self) -> None:
        """Work out when to call `tick`; after whatever was done to a part of this node from outside."""
        self._timers_at = min(self.neighbours.due_at, self._fix_at, self.joining.due_at)
        if self._turned_away:
            self._timers_at = -math.inf
        elif self._routed:
            self._timers_at = min(self._timers_at, next(iter(self._routed.values()))[0])

    def join(self, contacts: Iterable[NodeRef], now: float) -> list[Effect]:
        """Join through the first contact that helps; alone when there are none."""
        self.joining.join(contacts, now)
        self.set_timers()
        return self.collect()

    def learn(self, contact: NodeRef, now: float) -> list[Effect]:
        """Get to know one more entry point, which may stand in another ring."""
        self.neighbours.reunion.meet(contact, now)
        self.set_timers()
        return self.collect()

    def leave(self) -> list[Effect]:
        """Say goodbye to the neighbours, which join hands."""
        self.joining.leave()
        return self.collect()

    def abandon(self, now: float) -> None:
        """Let all that is under way fail, as another core takes the place of this one."""
        while self.rpc or self._turned_away or self._routed:
            turned_away, self._turned_away = self._turned_away, []
            while self._routed:
                self.on_walked(self._routed.popitem(last=False)[1][1], FAILED, now)
            for node, asker in (*turned_away, *[(one.node, one.asker) for one in self.rpc.close_all()]):
                asker.on_fail(node, now)

    def collect(self) -> list[Effect]:
        """The effects queued since the last call."""
        effects, self._effects = self._effects, []
        return effects

    def is_responsible(self, target: int) -> bool:
        """Whether this node believes that `target` is its own."""
        return not self.client and (self.neighbours.precede(target) or (self.joined and self.neighbours.alone))

    def lookup(self, target: int, now: float, *, on_done: OnOutcome) -> None:
        """Look for the node responsible for `target`; `on_done` is called once, perhaps at once."""
        self._walk(target, -1, on_done, now)

    def tell(self, address: Address, note: Any) -> None:
        """Send a note, once, without guarantee."""
        self.send(address, 0, Tell(note))

    def call(self, node: NodeRef, request: Any, now: float, asker: Asker) -> None:
        """Send one request and wait for its response; with too many under way it fails at the next tick."""
        if self.rpc.full:
            self.counters["requests_turned_away"] += 1
            self._turned_away.append((node, asker))
            self._timers_at = -math.inf
            return
        pending = self.rpc.open(node, request, now, asker)
        self.send(node.address, pending.request_id, request)

    # ---- routing and fingers -----------------------------------------------------------------------------------------

    def _walk(self, target: int, finger: int, on_outcome: OnOutcome | None, now: float) -> None:
        hops_max, persistent = self._config.hops_max, self._config.persistent
        walk = Walk(self, target, hops_max=hops_max, persistent=persistent, finger=finger, on_outcome=on_outcome)
        if not self.joined:
            self.on_walked(walk, FAILED, now)
            return
        step = self.next_step(target)
        if step.step is HOPS and self._config.lookup == "recursive" and not self.client:
            request_id = self._rng.getrandbits(REQUEST_ID_BITS) or 1
            self._routed[request_id] = (now + self._config.routed_timeout_s, walk)
            self.set_timers()
            self.send(step.nodes[0].address, request_id, Route(id_bytes(target), None, 1))
        else:
            walk.take(step, None, now)

    def next_step(self, target: int) -> Successors:
        """What this node knows about the way to `target`."""
        successors = self.neighbours.successors.nodes
        if self.is_responsible(target):
            return Successors(successors[: LIST_MAX - 1], MINE)
        if self._config.hop_choices == 1:
            node = self.fingers.preceding(target, successors)
            hops: tuple[NodeRef, ...] = () if node is None else (node,)
        else:
            hops = self.fingers.all_preceding(target, successors, self._config.hop_choices)
        return Successors(hops, HOPS) if hops else Successors(successors, SUCCESSORS)

    def _step_around(self, target: int, avoid: tuple[bytes, ...], now: float) -> Successors:
        """The same for an asker that found some nodes dead; whoever is known of them is asked for a sign of life."""
        dead = {id_from(identifier) for identifier in avoid}
        successors = self.neighbours.successors.nodes
        for node in {node.id: node for node in (*successors, *self.fingers.nodes) if node.id in dead}.values():
            self.call(node, Ping(), now, IGNORED)
        if self.is_responsible(target):
            return self.next_step(target)
        hops = self.fingers.all_preceding(target, successors, self._config.hop_choices, dead)
        live = tuple([node for node in successors if node.id not in dead])
        return Successors(hops, HOPS) if hops else Successors(live, SUCCESSORS)

    def _on_route(self, message: Route, sender: NodeRef, request_id: int) -> None:
        if not self.joined or message.hops > self._config.hops_max:
            self.counters["routes_dropped"] += 1
            return
        origin = message.origin or sender
        answer = self.next_step(id_from(message.target))
        if answer.step is HOPS:
            self.send(answer.nodes[0].address, request_id, Route(message.target, origin, message.hops + 1))
        else:
            self.send(origin.address, request_id, Successors(answer.nodes, answer.step, message.hops))

    def _on_routed(self, answer: Successors, sender: NodeRef, request_id: int, now: float) -> None:
        _deadline, walk = self._routed.pop(request_id)
        walk.hops = answer.hops
        if answer.step is HOPS:  # no answer to a recursive lookup
            self.on_walked(walk, FAILED, now)
        else:
            walk.take(answer, sender, now)

    def look_around(self, known: Iterable[NodeRef], on_outcome: OnOutcome, now: float) -> None:
        """Ask these, and the fingers, who follows this node."""
        look_around(self, (*known, *self.fingers.nodes), self._config.hops_max, on_outcome, now)

    def on_walked(self, walk: Walk, outcome: Outcome, now: float) -> None:
        """A lookup has ended: tell whoever wanted it, or set the finger that it was for."""
        if walk.on_outcome is not None:
            walk.on_outcome(outcome, now)
        elif not outcome.failed:
            node = None if outcome.mine else outcome.closest[0]
            if self.fingers.set(walk.finger, None if node is None or node.id == self.id else node):
                self._fix_period.reset()
        elif self._config.lookup == "recursive":
            self.fingers.set(walk.finger, None)  # hops are not watched there, so an old finger may be dead

    def _fix_fingers(self, now: float) -> None:
        self._fix_period.calm()
        self._fix_at = now + self._fix_period.next()
        successor = self.neighbours.successors.first
        if successor is None:
            return
        fix_fingers(self, successor, now, check=self._config.check_fingers)

    def look_up_finger(self, index: int, now: float) -> None:
        """Look for the node responsible for the start of a finger."""
        self._walk(self.fingers.start(index), index, None, now)

    def on_neighbours_changed(self, now: float) -> None:
        """What the next hops are drawn from is out of date."""
        self.fingers.changed()
        self._fix_period.reset()
        if self.joined:
            self._fix_at = min(self._fix_at, now + self._fix_period.longest_s)
        self.set_timers()

    def nearest_finger(self, but: int) -> NodeRef | None:
        """The finger that follows closest, but for one."""
        return next((node for node in self.fingers.nodes if node.id != but), None)

    def on_joined(self, now: float, *, told: bool = False) -> None:
        """Stabilise and fix fingers at once [thesis 2.4.1], unless another host of this very node has done so."""
        self.joined = True
        self._fix_at = now + (self._fix_period.next() if told else 0.0)
        if not told and not self.client:
            self.neighbours.start(now)
        self.set_timers()

    def on_parted(self) -> None:
        """This node is not part of the ring any more."""
        self.joined = False
        self._fix_at = math.inf
        self.neighbours.stop()
        self.fingers.changed()
        self.set_timers()

    def on_isolated(self, now: float) -> None:
        """Nobody is left that we know."""
        self.joining.on_isolated(now)

    def _on_request(self, packet: Packet[Any], source: Address, now: float) -> None:
        message = packet.message
        joined = self.joined
        response: Any = None
        match message:
            case FindSuccessor(target=target, avoid=avoid):
                if not joined:
                    response = _REFUSED
                elif avoid:
                    response = self._step_around(id_from(target), avoid, now)
                else:
                    response = self.next_step(id_from(target))
            case Stabilize():
                response = self.neighbours.on_stabilize(id_from(packet.sender)) if joined else _REFUSED
            case Notify(failed=failed):
                sender = NodeRef(id_from(packet.sender), source)
                response = self.neighbours.on_notify(sender, failed, now) if joined else _REFUSED
            case Ping():
                response = Pong()
            case _:
                self._on_statement(message, NodeRef(id_from(packet.sender), source), packet.request_id, now)
        if response is _REFUSED:
            self.joining.on_asked(now)
        if response is not None:
            self.send(source, packet.request_id, response)

    def _on_statement(self, message: Any, sender: NodeRef, request_id: int, now: float) -> None:
        match message:
            case Tell(note=note):
                if self._application is not None:
                    self._application.on_note(note, sender, now)
            case Route():
                self._on_route(message, sender, request_id)
            case JoinRequest(joiner=joiner, hops=hops):
                self.joining.on_request(joiner or sender, hops, request_id, now, sender)
            case JoinReply():
                self.joining.on_reply(sender, message, request_id, now)
            case NewSuccessorHint(node=node):
                self.neighbours.on_hint(node, now)
            case Leaving(predecessor=predecessor, successors=successors):
                # A forged one costs no more than a round: the next successor still names the node as its predecessor.
                self.fingers.remove(sender.id)
                self.neighbours.on_leaving(sender, predecessor, successors, now)

    def on_dead(self, node: NodeRef, now: float) -> None:
        """A node did not answer, to whatever was asked."""
        if self.fingers.remove(node.id):
            self._fix_period.reset()
        self.neighbours.on_dead(node, now)

    def send(self, to: Address, request_id: int, message: Any) -> None:
        """Send one packet."""
        self._effects.append(Send(to, Packet(self._id_bytes, request_id, message)))

    def emit(self, effect: Effect) -> None:
        """Tell the driver."""
        self._effects.append(effect)


_RESPONSES: Final = frozenset({Successors, Predecessor, Notified, Pong, Refused})
_REFUSED: Final = Refused()

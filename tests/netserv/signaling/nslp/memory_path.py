"""A path of NSLP nodes in memory, on virtual time: what GIST would do between them is done here by its values.

sender - n1 - n2 - ... - receiver
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from mdht.signing import SigningKey
from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.objects.mri import Direction
from netserv.signaling.gist.service import (
    LastBy,
    MessageStatus,
    NetworkNotification,
    NotificationKind,
    RecvMessage,
    SendFailure,
    SendMessage,
    SiiHandle,
    TransferAttributes,
)
from netserv.signaling.handler import Answer, Arrival, NodeFacts, RecordingHandler
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.effects import Abandoned, Answered, SetStateLifetime
from netserv.signaling.nslp.node import NslpNode
from netserv.signaling.nslp.publishers import Publishers
from netserv.signaling.nslp.requests import Probe, Remove, Request, Setup, Trigger
from netserv.signaling.nslp.signing import signed
from netserv.signaling.nslp.values import Flow, ModuleRef

UNIX = 1_800_000_000.0
"Wall clock at time 0."
ALICE = SigningKey.from_seed(bytes(range(32)))
SENDER = packed("10.0.0.1")
RECEIVER = packed("10.9.0.1")
TO_RECEIVER = Flow(SENDER, RECEIVER)
MODULE = ModuleRef("NetServ.apps.NetMonitor", "1.0.0")
HOP_S = 0.001
PUBLISHERS = Publishers({"alice": (ALICE.public_key,)})


class Accepting(RecordingHandler):
    """Takes every module, as a controller that has begun its work does."""

    def __init__(self, publishers: Publishers = PUBLISHERS, facts: NodeFacts | None = None) -> None:
        super().__init__(publishers, facts)
        self.acted: list[Request] = []

    def handle(self, request: Request, arrival: Arrival, now: float) -> Answer:
        self.acted.append(request)
        if isinstance(request, Setup | Remove):
            return Answer(code=202, text="work has begun")
        return super().handle(request, arrival, now)


class Path:
    """Hosts in a row; `filtering(source, target, message)` says how many copies of a message arrive."""

    def __init__(
        self,
        *handlers: RecordingHandler,
        last_by: LastBy = LastBy.ICMP,
        config: NslpConfig | None = None,
        receiver: RecordingHandler | None = None,
        keys: Sequence[SigningKey | None] = (),
        seed: int = 1,
    ) -> None:
        self.rng = Random(seed)
        self.config = config or NslpConfig()
        self.last_by = last_by
        self.now = 0.0
        self.handlers = handlers
        self.nodes: list[NslpNode | None] = [self._node("sender", "10.0.0.1", None)]
        for number, handler in enumerate(handlers, 1):
            key = keys[number - 1] if keys else None
            self.nodes.append(self._node(f"n{number}", f"10.0.{number}.1", handler, key))
        self.nodes.append(self._node("receiver", "10.9.0.1", receiver) if receiver else None)
        self.length = len(self.nodes)
        self.addresses = [SENDER, *(packed(f"10.0.{n}.1") for n in range(1, len(handlers) + 1)), RECEIVER]
        self.filtering: Callable[[int, int, SendMessage], int] = lambda _source, _target, _message: 1
        self.sent: list[tuple[int, SendMessage]] = []
        self.done: list[tuple[float, Answered | Abandoned]] = []
        self.lifetimes: list[tuple[int, SetStateLifetime]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def _node(
        self, name: str, address: str, handler: RecordingHandler | None, key: SigningKey | None = None
    ) -> NslpNode:
        return NslpNode(
            config=self.config,
            node_id=name,
            addresses=[address],
            handler=handler,
            rng=self.rng,
            unix_time=lambda: UNIX + self.now,
            key=key,
        )

    def restart(self, index: int) -> None:
        """The node at this place has lost all that it knew."""
        self.nodes[index] = self._node(f"n{index}", f"10.0.{index}.1", self.handlers[index - 1])

    @property
    def sender(self) -> NslpNode:
        node = self.nodes[0]
        assert node is not None
        return node

    def node(self, index: int) -> NslpNode:
        node = self.nodes[index]
        assert node is not None
        return node

    def ask(self, request: Request | bytes, *, reliable: bool = True, sid: bytes | None = None) -> None:
        effects = self.sender.ask(
            request, source=SENDER, destination=RECEIVER, reliable=reliable, now=self.now, sid=sid
        )
        self.perform(0, effects)

    def run(self, until: float = 200.0) -> None:
        while True:
            wake = min((node.next_deadline() for node in self.nodes if node), default=until)
            event = self._events[0][0] if self._events else until
            at = min(wake, event)
            if at >= until:
                self.now = until
                return
            self.now = max(self.now, at)
            if event <= self.now and self._events:
                heapq.heappop(self._events)[2]()
            for index, node in enumerate(self.nodes):
                if node and node.next_deadline() <= self.now:
                    self.perform(index, node.tick(self.now))

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), call))

    def perform(self, index: int, effects: Sequence[object]) -> None:
        for effect in effects:
            match effect:
                case SendMessage():
                    self.sent.append((index, effect))
                    self._deliver(index, effect)
                case SetStateLifetime():
                    self.lifetimes.append((index, effect))
                case Answered() | Abandoned():
                    self.done.append((self.now, effect))
                case _:
                    raise AssertionError(effect)

    @property
    def answer(self) -> Answered:
        """The only one."""
        assert len(self.done) == 1, self.done
        assert isinstance(self.done[0][1], Answered), self.done
        return self.done[0][1]

    def _deliver(self, index: int, message: SendMessage) -> None:
        ahead = message.mri.destination == RECEIVER
        step = 1 if ahead == (message.mri.direction == Direction.DOWNSTREAM) else -1
        end = self.length if step > 0 else -1
        target = next((place for place in range(index + step, end, step) if self.nodes[place]), None)
        if target is None:
            self._nobody(index, message)
            return
        copies = self.filtering(index, target, message)
        received = RecvMessage(
            nslp_id=message.nslp_id,
            sid=message.sid,
            mri=message.mri,
            data=message.data,
            attributes=message.attributes,
            sii=SiiHandle(b"peer", self.addresses[index], 270, 1),
            ip_distance=1,
            hops=message.hops - 1,
            interface=1,
            to_flow_endpoint=self.addresses[target] == message.mri.destination,
        )
        for copy in range(copies):
            when = self.now + HOP_S * (1 + copy)
            self.at(when, lambda: self._receive(target, received))

    def _receive(self, index: int, message: RecvMessage) -> None:
        node = self.nodes[index]
        if node is not None:
            self.perform(index, node.received(message, self.now))

    def _nobody(self, index: int, message: SendMessage) -> None:
        if message.mri.direction == Direction.UPSTREAM:
            return
        when = self.now + (7.5 if self.last_by is LastBy.TIMEOUT else HOP_S)

        def tell() -> None:
            node = self.nodes[index]
            assert node is not None
            notification = NetworkNotification(
                nslp_id=message.nslp_id,
                sid=message.sid,
                mri=message.mri,
                kind=NotificationKind.LAST_NODE,
                last_by=self.last_by,
            )
            if message.handle is not None:
                self.report(index, message.handle, SendFailure.NO_NEXT_NODE)
            self.perform(index, node.notified(notification, self.now))

        self.at(when, tell)

    def report(self, index: int, handle: int, failure: SendFailure) -> None:
        status = MessageStatus(nslp_id=32704, handle=handle, attributes=TransferAttributes(), failure=failure)
        self.perform(index, self.node(index).reported(status, self.now))


NONCES = itertools.count(1)


def probe(*items: str, key: SigningKey = ALICE, **changes: object) -> Probe:
    """A signed PROBE of alice's, as it should be."""
    value = Probe(
        items=items or ("status",),
        user="alice",
        nonce=next(NONCES).to_bytes(16, "big"),
        expires=int(UNIX) + 60,
        flow=TO_RECEIVER,
    )
    return signed(msgspec.structs.replace(value, **changes), key)


def setup(key: SigningKey = ALICE, **changes: object) -> Setup:
    """A signed SETUP of alice's."""
    value = Setup(
        target=MODULE,
        ttl_s=3600,
        url="http://10.0.0.1/netmonitor.zip",
        digest=bytes(32),
        user="alice",
        nonce=next(NONCES).to_bytes(16, "big"),
        expires=int(UNIX) + 60,
        flow=TO_RECEIVER,
    )
    return signed(msgspec.structs.replace(value, **changes), key)


def trigger(inner: Setup | Probe, key: SigningKey = ALICE, **changes: object) -> Trigger:
    """A signed TRIGGER of alice's."""
    value = Trigger(inner=inner, user="alice")
    return signed(msgspec.structs.replace(value, **changes), key)

"""Runs the GIST node and the NSLP node of a machine over its sockets: what comes in becomes calls, effects are done.

Between two awaits everything happens at once and in order: a call of the GIST node, what its effects make of the NSLP
node, and what that wants of the GIST node again. Nothing that is sent waits: datagrams that the kernel does not take
are lost, as in the network, and associations queue. What has come together is treated together, without an await, so
that it is never cut in half by a deadline, and answered together: the neighbour wakes up once for all of it.
"""

import logging
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from netserv.errors import LocalProtocolError, NetservError, UnreachableError
from netserv.signaling.gist.addresses import Endpoint, PackedAddress
from netserv.signaling.gist.effects import (
    CloseAssociation,
    Deliver,
    Effect,
    Forward,
    Notify,
    OpenAssociation,
    Report,
    SendAlongFlow,
    SendDatagram,
    SendOnAssociation,
)
from netserv.signaling.gist.node import GistNode
from netserv.signaling.gist.service import SendMessage
from netserv.signaling.nslp import requests
from netserv.signaling.nslp.effects import Abandoned, Answered, NslpEffect, SetStateLifetime
from netserv.signaling.nslp.node import NslpNode
from netserv.signaling.nslp.responses import Response
from netserv.signaling.transport.intercept import Interceptor
from netserv.signaling.transport.tcp import AssociationLimits, Associations
from netserv.signaling.transport.tls import TlsContexts
from netserv.signaling.transport.topology import KernelTopology
from netserv.signaling.transport.udp import UdpPort

log = logging.getLogger(__name__)

ASKING_MAX: Final = 256
"Requests of this machine at a time that wait for their answers; people and scripts have some."
LATE_S: Final = 0.001
"""How late an alarm may be. Under load a deadline is kept behind the next packets, within this time, and to be woken
for it as well would be for nothing."""
FLUSH_S: Final = 1.0
"At the end, for what is to be said on associations."
_LIMITS: Final = AssociationLimits()


class _Asked:
    """A request of this machine that waits for its answer."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.response: Response | None = None
        self.reason = ""


class Driver:
    """One machine's signalling, while `driving` lasts.

    Args:
        gist: the GIST node.
        nslp: its application.
        port: of this node.
        interceptor: None on a host that nothing passes.
        interfaces: indices of those whose packets in transit are treated; none: all.
        nursery: for the associations.
        limits: of them.
        tls: their certificates, if any.
    """

    def __init__(
        self,
        gist: GistNode,
        nslp: NslpNode,
        port: UdpPort,
        interceptor: Interceptor | None,
        *,
        interfaces: frozenset[int],
        nursery: trio.Nursery,
        limits: AssociationLimits,
        tls: TlsContexts | None,
    ) -> None:
        self._interfaces = interfaces
        self._gist, self._nslp, self._port, self._interceptor = gist, nslp, port, interceptor
        self.associations = Associations(nursery, self, limits=limits, tls=tls)
        self.counters: Counter[str] = Counter()
        self._asking: dict[bytes, _Asked] = {}
        self._alarm = trio.CancelScope()
        self._due = self._nslp_due = math.inf
        self._forwards: list[Forward] = []
        self._datagrams: list[SendDatagram | SendAlongFlow] = []
        self._do: Mapping[type[Any], Callable[[Any], object]] = {
            SendDatagram: self._datagrams.append,
            SendAlongFlow: self._datagrams.append,
            Forward: self._forwards.append,
            SendOnAssociation: lambda effect: self.associations.send(effect.association, effect.data),
            OpenAssociation: lambda effect: self.associations.open(effect.association, effect.to, secure=effect.secure),
            CloseAssociation: lambda effect: self.associations.close(effect.association),
        }

    @property
    def asking(self) -> int:
        """Requests of this machine that wait for their answer."""
        return len(self._asking)

    async def ask(
        self,
        text: bytes,
        *,
        source: PackedAddress,
        destination: PackedAddress,
        reliable: bool,
        timeout_s: float,
        sid: bytes | None = None,
    ) -> Response:
        """Send a request along the path to a host, and wait for what the nodes on it say.

        Args:
            text: of the request.
            source: address of this machine.
            destination: of the host.
            reliable: by associations.
            timeout_s: how long to wait.
            sid: session of several requests, 16 random bytes; None: one for this request.

        Raises:
            NetservError: the text is no request, nobody is on the path, or no answer came.
        """
        request = requests.decode(text)
        number = requests.request_id(request, requests.encode(request))
        if number in self._asking:
            raise LocalProtocolError("the same request is under way already; give it another nonce")
        if len(self._asking) >= ASKING_MAX:
            raise LocalProtocolError(f"{ASKING_MAX} requests wait for their answers; try again later")
        asked = self._asking[number] = _Asked()
        try:
            now = trio.current_time()
            wanted = self._nslp.ask(
                request, source=source, destination=destination, reliable=reliable, now=now, sid=sid
            )
            self._act(self._wanted(wanted, now), now)
            with trio.move_on_after(timeout_s):
                await asked.done.wait()
        finally:
            del self._asking[number]
            if not asked.done.is_set():
                now = trio.current_time()
                self._act(self._wanted(self._nslp.withdraw(number), now), now)
        if asked.response is None:
            raise UnreachableError(asked.reason or f"no answer within {timeout_s:g} s")
        return asked.response

    # Associations tell what happens to them.

    def accepted(self, number: int, peer: Endpoint, *, secure: bool, names: tuple[str, ...]) -> None:
        """See `AssociationEvents`; the names were looked at before."""
        del names
        now = trio.current_time()
        self._act(self._gist.association_accepted(number, peer, secure=secure, now=now), now)

    def opened(self, number: int, names: tuple[str, ...]) -> None:
        """See `AssociationEvents`."""
        now = trio.current_time()
        self._act(self._gist.association_opened(number, peer_names=names, now=now), now)

    def received(self, number: int, data: bytes) -> None:
        """See `AssociationEvents`."""
        now = trio.current_time()
        self._act(self._gist.association_data(number, data, now), now)

    def closed(self, number: int, reason: str) -> None:
        """See `AssociationEvents`."""
        log.info("association %d: %s", number, reason)
        now = trio.current_time()
        self._act(self._gist.association_closed(number, reason, now), now)

    # What goes on all the time.

    async def receive(self) -> None:
        """Treat what comes to this node itself."""
        while True:
            await self._port.ready()
            while (packet := self._port.take()) is not None:
                now = trio.current_time()
                self._work(self._gist.caught(packet, now), now)
            self._finish(trio.current_time())

    async def intercept(self, interceptor: Interceptor) -> None:
        """Treat what passes; each packet goes on or is let go."""
        while True:
            await interceptor.ready()
            while (packet := interceptor.take()) is not None:
                now = trio.current_time()
                if self._interfaces and packet.interface not in self._interfaces:
                    interceptor.forward(packet, packet.payload)
                    continue
                self._work(self._gist.caught(packet, now), now)
                kept = True
                for forward in self._forwards:
                    kept = kept and forward.packet is not packet
                    interceptor.forward(forward.packet, forward.payload)
                self._forwards.clear()
                if kept:
                    interceptor.discard(packet)
            self._finish(trio.current_time())

    async def hear_unreachables(self) -> None:
        """Treat ICMP errors about Queries."""
        async for destination, quoted in self._port.unreachables():
            now = trio.current_time()
            self._act(self._gist.unreachable(destination, quoted, now), now)

    async def follow(self, topology: KernelTopology) -> None:
        """Have sessions look for their next node again when the kernel sends them another way."""
        while True:
            destinations = await topology.changed()
            now = trio.current_time()
            self._act(self._gist.routes_changed(destinations, now), now)

    async def keep_time(self) -> None:
        """Wake both nodes when something is due."""
        while True:
            with trio.CancelScope(deadline=self._due + LATE_S) as self._alarm:
                self.wake()
                await trio.sleep_forever()
            self._tick(trio.current_time())

    async def stop(self) -> None:
        """Let peers hear that this node goes."""
        now = trio.current_time()
        self._work(self._gist.stop(now), now)
        self._send()
        with trio.CancelScope(shield=True, deadline=now + FLUSH_S):
            await self.associations.flush()

    def wake(self) -> None:
        """See again when something is due, since a node was changed from outside."""
        self._nslp_due = self._nslp.next_deadline()
        self._set_alarm()

    def _tick(self, now: float) -> None:
        self._work(self._gist.tick(now), now)
        if self._nslp_due <= now:
            self._work(self._wanted(self._nslp.tick(now), now), now)
        self._send()
        self._set_alarm()

    def _finish(self, now: float) -> None:
        """Behind all that came together: send, and do what is due by now."""
        self._send()
        self._set_alarm()
        if self._due <= now:
            self._tick(now)

    def _set_alarm(self) -> None:
        due = min(self._gist.next_deadline(), self._nslp_due)
        if due != self._due:
            self._due = due
            self._alarm.deadline = due + LATE_S

    def _send(self) -> None:
        for message in self._datagrams:
            try:
                if isinstance(message, SendDatagram):
                    self._port.send_datagram(message)
                else:
                    self._port.send_along_flow(message)
            except NetservError as error:
                self._survived("not_sent", error)
        self._datagrams.clear()

    def _act(self, effects: Iterable[Effect], now: float) -> None:
        """Do effects, and all that follows of them."""
        self._work(effects, now)
        self._finish(now)

    def _work(self, effects: Iterable[Effect], now: float) -> None:
        """Do effects, and what the NSLP makes of them, until nothing is left to be done."""
        todo = deque(effects)
        while todo:
            effect = todo.popleft()
            match effect:
                case Deliver(message=message):
                    todo += self._wanted(self._nslp.received(message, now), now)
                case Report(status=status):
                    todo += self._wanted(self._nslp.reported(status, now), now)
                case Notify(notification=notification):
                    todo += self._wanted(self._nslp.notified(notification, now), now)
                case _:
                    try:
                        self._do[type(effect)](effect)
                    except NetservError as error:
                        self._survived("not_sent", error)

    def _wanted(self, effects: Iterable[NslpEffect], now: float) -> list[Effect]:
        """What the NSLP wants after it was called, as what GIST makes of it."""
        self._nslp_due = self._nslp.next_deadline()  # which no other call changes
        made: list[Effect] = []
        for effect in effects:
            match effect:
                case SendMessage():
                    try:
                        made += self._gist.send(effect, now)
                    except NetservError as error:
                        self._survived("not_to_be_sent", error)
                case SetStateLifetime(nslp_id=nslp_id, mri=mri, sid=sid, lifetime_s=lifetime_s):
                    made += self._gist.set_state_lifetime(nslp_id, mri, sid, lifetime_s, now)
                case Answered(nonce=nonce, response=response):
                    self._end(nonce, response, "")
                case Abandoned(nonce=nonce, reason=reason):
                    self._end(nonce, None, reason)
        return made

    def _survived(self, what: str, error: NetservError) -> None:
        """Count and tell what this machine, or a rule, does not let be sent: the rest can be."""
        self.counters[what] += 1
        log.warning("%s", error)

    def _end(self, nonce: bytes, response: Response | None, reason: str) -> None:
        asked = self._asking.get(nonce)
        if asked is None:  # nobody waits any more
            self.counters["late_answers"] += 1
            return
        asked.response, asked.reason = response, reason
        asked.done.set()


@asynccontextmanager
async def driving(
    gist: GistNode,
    nslp: NslpNode,
    port: UdpPort,
    interceptor: Interceptor | None = None,
    *,
    topology: KernelTopology | None = None,
    interfaces: frozenset[int] = frozenset(),
    limits: AssociationLimits = _LIMITS,
    tls: TlsContexts | None = None,
) -> AsyncIterator[Driver]:
    """Run both nodes while the context lasts; its end closes all associations.

    Args:
        gist: the GIST node.
        nslp: its application.
        port: of this node.
        interceptor: None on a host that nothing passes.
        topology: that the GIST node asks; it keeps its answers only while somebody follows the kernel's changes.
        interfaces: indices of those whose packets in transit are treated; none: all.
        limits: of associations.
        tls: their certificates, if any.
    """
    async with trio.open_nursery() as nursery:
        driver = Driver(gist, nslp, port, interceptor, interfaces=interfaces, nursery=nursery, limits=limits, tls=tls)
        nursery.start_soon(driver.receive)
        nursery.start_soon(driver.hear_unreachables)
        nursery.start_soon(driver.keep_time)
        if topology is not None:
            nursery.start_soon(driver.follow, topology)
        if interceptor is not None:
            nursery.start_soon(driver.intercept, interceptor)
        try:
            yield driver
        finally:
            await driver.stop()
            nursery.cancel_scope.cancel()

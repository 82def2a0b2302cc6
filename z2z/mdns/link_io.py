"""One link's multicast DNS over trio: drives one `Responder` and one `Querier` on shared sockets.

    async with open_link("eth0") as link:
        link.register(Registration(id=1, item=item, host_label=b"z2z-198-51-100-7-office", ttl_s=120))
        async with link.browse("_daap._tcp") as services:
            async for event in services:
                ...

The link survives its interface: when that goes down it waits, and when it is back it joins the groups again, probes
and announces what is registered, and asks again for what is browsed. While an interface is down no name counts as
registered, and what was found runs out by its own lifetime.
"""

import logging
import socket
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager
from random import Random, SystemRandom
from typing import Final

import trio

from z2z.errors import LinkError, RemoteProtocolError
from z2z.mdns.budget import BudgetWatch
from z2z.mdns.mailbox import Mailbox, latest, merge_service_events, running
from z2z.mdns.messages import (
    MDNS_PORT,
    Confirmed,
    Conflict,
    LinkStats,
    Lost,
    QuerierEffect,
    QuerierEvent,
    Registered,
    Registration,
    ResponderEffect,
    ResponderEvent,
    SendMulticast,
    SendUnicast,
    ServiceChanged,
    ServiceEvent,
    ServiceFound,
    ServiceLost,
    ServiceRefused,
    StandingBy,
    TypeEvent,
    TypeFound,
    TypeLost,
    Unconfirmed,
    as_multicast,
)
from z2z.mdns.querier import Querier, QuerierConfig
from z2z.mdns.responder import Responder
from z2z.mdns.responder_config import ResponderConfig
from z2z.mdns.sockets import InterfaceState, LinkSockets, interface_state
from z2z.mdns.wire import decode_message, encode_message
from z2z.service_item import ServiceItem

log = logging.getLogger(__name__)

WATCH_S: Final = 0.5
"Seconds between two looks at the interface: a return is noticed before people do."
CONFIRM_PATIENCE_S: Final = 5.0
"Seconds that a confirmation waits for an interface that is down, before it counts as failed."
GOODBYE_S: Final = 1.0
"Seconds for the goodbyes on leaving; caches forget by themselves what is not said in that time."
GOODBYE_PAUSE_S: Final = 0.002
"Between two goodbye messages: receivers with the kernel's usual buffer lose back-to-back bursts."


class MdnsLink:
    """What programs do with one link; made by `open_link`."""

    def __init__(self, interface: str, config: ResponderConfig, *, ipv4: bool, ipv6: bool, rng: Random) -> None:
        self.interface = interface
        self._families = {"ipv4": ipv4, "ipv6": ipv6}
        self._responder = Responder(config, rng)
        self._budget_watch = BudgetWatch(interface, config.packets_per_minute)
        self._querier = Querier(QuerierConfig(), rng)
        self._sockets: LinkSockets | None = None
        self._up = trio.Event()
        self._wake = trio.Event()
        self._packets_in = self._malformed = self._lost_sends = 0
        self._past_sent = self._past_unsent = 0
        self._responder_mail = Mailbox[ResponderEvent](latest)
        self._service_mail: dict[str, list[Mailbox[ServiceEvent]]] = {}
        self._type_mail: list[Mailbox[TypeEvent]] = []
        self._confirming: dict[tuple[str, bytes], _Confirmation] = {}

    @property
    def events(self) -> trio.MemoryReceiveChannel[ResponderEvent]:
        """Events of the registrations: the latest of each, in the order in which they happened."""
        return self._responder_mail.channel

    def register(self, registration: Registration) -> None:
        """Publish a service; `Registered` or `Conflict` follows on `events`. A known id is replaced.

        Raises:
            LocalProtocolError: a value is out of bounds, or there are too many registrations.
        """
        self._perform(self._responder.register(registration, trio.current_time()))

    def update(self, registration_id: Hashable, item: ServiceItem) -> None:
        """Publish other data under the same instance name; an unknown id is left alone (it was lost meanwhile).

        Raises:
            LocalProtocolError: the item has another instance name or type, or no address.
        """
        self._perform(self._responder.update(registration_id, item, trio.current_time()))

    def withdraw(self, registration_id: Hashable) -> None:
        """Take a service back with goodbyes; an unknown id is left alone."""
        self._perform(self._responder.withdraw(registration_id, trio.current_time()))

    @asynccontextmanager
    async def browse(self, service_type: str) -> AsyncIterator[trio.MemoryReceiveChannel[ServiceEvent]]:
        """Yield a channel of what happens to instances of a type; what is known already comes first as found."""
        mailbox = Mailbox[ServiceEvent](merge_service_events)
        readers = self._service_mail.setdefault(service_type, [])
        readers.append(mailbox)
        for item in self._querier.known(service_type):
            mailbox.put(item.instance, ServiceFound(item))
        self._perform(self._querier.browse(service_type, trio.current_time()))
        async with running(mailbox) as channel:
            try:
                yield channel
            finally:
                readers.remove(mailbox)
                if not readers:
                    self._querier.stop_browse(service_type)

    @asynccontextmanager
    async def browse_types(self) -> AsyncIterator[trio.MemoryReceiveChannel[TypeEvent]]:
        """Yield a channel of the service types that the link offers (RFC 6763 section 9)."""
        mailbox = Mailbox[TypeEvent](latest)
        self._type_mail.append(mailbox)
        for service_type in self._querier.known_types():
            mailbox.put(service_type, TypeFound(service_type))
        self._perform(self._querier.browse_types(trio.current_time()))
        async with running(mailbox) as channel:
            try:
                yield channel
            finally:
                self._type_mail.remove(mailbox)
                if not self._type_mail:
                    self._querier.stop_browse_types()

    async def confirm(self, service_type: str, instance: bytes) -> bool:
        """Ask the link now whether an instance is alive; takes up to about 3 s to say no.

        An instance that is not is reported lost, and found again when it answers later. While the interface is down
        the question waits for it, up to `CONFIRM_PATIENCE_S`.
        """
        with trio.move_on_after(CONFIRM_PATIENCE_S):
            await self._up.wait()
        if self._sockets is None:
            self._perform(self._querier.give_up(service_type, instance, trio.current_time()))
            return False
        key = (service_type, instance)
        waiting = self._confirming.get(key)
        if waiting is None:
            waiting = self._confirming[key] = _Confirmation()
            self._perform(self._querier.confirm(service_type, instance, trio.current_time()))
        await waiting.done.wait()
        return waiting.alive

    def stats(self) -> LinkStats:
        """Return the counters."""
        sockets = self._sockets
        return LinkStats(
            packets_in=self._packets_in,
            packets_out=self._past_sent + (sockets.sent if sockets else 0),
            packets_unsent=self._past_unsent + self._lost_sends + (sockets.unsent if sockets else 0),
            malformed=self._malformed,
            budget_drops=self._responder.outbox.drops,
            budget_delays=self._responder.outbox.delays,
            records_cached=self._querier.records_cached,
            records_refused=self._querier.records_refused,
        )

    def open(self) -> None:
        """Open the sockets for the first time; `open_link` does it.

        Raises:
            LinkError: the interface does not exist, is down, or may not be used.
        """
        try:
            opened = self._try_open()
        except OSError as error:
            raise LinkError(f"interface {self.interface!r} cannot be used for multicast: {error.strerror}") from error
        if not opened:
            names = sorted(name for _, name in socket.if_nameindex())
            if self.interface not in names:
                raise LinkError(f"interface {self.interface!r} does not exist; this machine has {', '.join(names)}")
            raise LinkError(
                f"interface {self.interface!r} is down or has no address; try: ip link set {self.interface} up"
            )

    def _try_open(self) -> bool:
        """Open the sockets if the interface can be used now."""
        state = interface_state(self.interface, **self._families)
        if state is None:
            return False
        self._sockets = LinkSockets(self.interface, state)
        self._responder.set_addresses(state.ipv4, state.ipv6)
        self._up.set()
        return True

    def close(self) -> None:
        """Close the sockets; `open_link` does it."""
        if self._sockets is not None:
            self._past_sent += self._sockets.sent
            self._past_unsent += self._sockets.unsent
            self._sockets.close()
            self._sockets = None
            self._up = trio.Event()

    async def deliver(self) -> None:
        """Move events of the registrations to their reader until cancelled; `open_link` runs it."""
        await self._responder_mail.run()

    async def run(self) -> None:
        """Keep the link alive until cancelled: sockets come and go with the interface; `open_link` runs it."""
        while True:
            if self._sockets is not None:
                await self._run_sockets(self._sockets)
                self.close()
            while True:
                try:
                    if self._try_open():
                        break
                except (OSError, LinkError) as error:
                    log.debug("interface %s: %s", self.interface, error)
                with trio.move_on_after(WATCH_S):
                    await self._tick_querier_forever()
            log.warning("interface %s is back: probing and announcing again", self.interface)
            now = trio.current_time()
            self._perform(self._responder.restart(now))
            self._perform(self._querier.restart(now))

    async def _run_sockets(self, sockets: LinkSockets) -> None:
        """Serve the sockets until the interface is down or other than it was."""
        async with trio.open_nursery() as nursery:
            for sock in sockets.sockets:
                nursery.start_soon(self._receive, sockets, sock)
            nursery.start_soon(self._tick_forever)
            state: InterfaceState | None = sockets.state
            while state == sockets.state:
                await trio.sleep(WATCH_S)
                state = interface_state(self.interface, **self._families)
                sockets.look()
            nursery.cancel_scope.cancel()
        what = "is down: waiting for it to come back" if state is None else "has changed"
        log.warning("interface %s %s", self.interface, what)

    async def _tick_querier_forever(self) -> None:
        """While the interface is down: let what was found run out, but let no probe pass for a free name."""
        while True:
            self._perform(self._querier.tick(trio.current_time()))
            await self._sleep_until(self._querier.next_deadline())

    async def _tick_forever(self) -> None:
        while True:
            now = trio.current_time()
            self._perform(self._responder.tick(now))
            self._perform(self._querier.tick(now))
            if said := self._budget_watch.look(self._responder.outbox, now):
                log.warning("%s", said)
            await self._sleep_until(min(self._responder.next_deadline(), self._querier.next_deadline()))

    async def _sleep_until(self, deadline: float) -> None:
        self._wake = trio.Event()
        with trio.move_on_at(deadline):
            await self._wake.wait()
        await trio.lowlevel.checkpoint()  # a deadline in the past must not keep the sockets from their turn

    async def _receive(self, sockets: LinkSockets, sock: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            now = trio.current_time()
            for datagram in sockets.drain(sock):
                self._packets_in += 1
                try:
                    message = decode_message(datagram.data)
                except RemoteProtocolError as error:
                    self._malformed += 1
                    log.debug("dropped a datagram of %s: %s", datagram.source, error)
                    continue
                message = message if sockets.is_on_link(datagram.source) else as_multicast(message)
                self._perform(self._responder.receive(message, datagram.source, datagram.port, now))
                if datagram.port == MDNS_PORT:  # an answer from another port is none (RFC 6762 section 11)
                    self._perform(self._querier.receive(message, now))
            await trio.lowlevel.checkpoint()

    def _perform(self, effects: Iterable[ResponderEffect | QuerierEffect]) -> None:
        for effect in effects:
            match effect:
                case SendMulticast(message=message):
                    for data in encode_message(message):
                        self._send(data)
                case SendUnicast(message=message, to=to, port=port):
                    for data in encode_message(message):
                        self._send(data, to, port)
                case Registered() | StandingBy() | Conflict() | Lost():
                    self._responder_mail.put(effect.id, effect)
                case _:
                    self._tell(effect)
        self._wake.set()

    def _send(self, data: bytes, to: str = "", port: int = 0) -> None:
        if self._sockets is None:
            self._lost_sends += 1
            return
        try:
            if to:
                self._sockets.unicast(data, to, port)
            else:
                self._sockets.multicast(data)
        except OSError as error:  # one of `GONE_ERRORS`: the watch over the interface will see it too
            log.debug("interface %s: %s", self.interface, error)

    def _tell(self, event: QuerierEvent) -> None:
        match event:
            case ServiceFound(item=item) | ServiceChanged(item=item):
                self._tell_readers(item.service_type, item.instance, event)
            case ServiceLost(service_type=service_type, instance=instance):
                self._tell_readers(service_type, instance, event)
            case ServiceRefused(service_type=service_type, instance=instance):
                self._tell_readers(service_type, (instance, "refused"), event)
            case TypeFound(service_type=service_type) | TypeLost(service_type=service_type):
                for mailbox in self._type_mail:
                    mailbox.put(service_type, event)
            case Confirmed(service_type=service_type, instance=instance):
                self._answer((service_type, instance), alive=True)
            case Unconfirmed(service_type=service_type, instance=instance):
                self._answer((service_type, instance), alive=False)

    def _tell_readers(self, service_type: str, key: Hashable, event: ServiceEvent) -> None:
        for mailbox in self._service_mail.get(service_type, ()):
            mailbox.put(key, event)

    def _answer(self, key: tuple[str, bytes], *, alive: bool) -> None:
        waiting = self._confirming.pop(key, None)
        if waiting is not None:
            waiting.alive = alive
            waiting.done.set()

    async def say_goodbye(self) -> None:
        """Send the goodbyes of all registrations, not faster than receivers can take them."""
        with trio.move_on_after(GOODBYE_S, shield=True):
            for effect in self._responder.shutdown(trio.current_time()):
                self._perform([effect])
                await trio.sleep(GOODBYE_PAUSE_S)


class _Confirmation:
    """What callers of `confirm` wait for."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.alive = False


@asynccontextmanager
async def open_link(
    interface: str,
    *,
    ipv4: bool = True,
    ipv6: bool = True,
    rng: Random | None = None,
    config: ResponderConfig | None = None,
) -> AsyncIterator[MdnsLink]:
    """Open multicast DNS on one interface, beside other responders of the machine; `lo` reaches this machine only.

    Leaving the context says goodbye for every registration, within `GOODBYE_S`.

    Args:
        interface: name of the interface.
        ipv4: speak over IPv4 where the interface has an address.
        ipv6: speak over IPv6 where the interface has a link-local address.
        rng: source of the protocol's random delays; by default the system's.
        config: limits of what is said on the link; those of `ResponderConfig` by default.

    Raises:
        LinkError: the interface does not exist, is down, or may not be used.
    """
    link = MdnsLink(interface, config or ResponderConfig(), ipv4=ipv4, ipv6=ipv6, rng=rng or SystemRandom())
    link.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            nursery.start_soon(link.deliver)
            try:
                yield link
            finally:
                nursery.cancel_scope.cancel()
                await link.say_goodbye()
    finally:
        link.close()

"""Drives a protocol core over a link: datagrams into calls, effects into datagrams.

As in `dhtboot.udp` one task per socket takes all that has arrived and sends without a checkpoint in between. What comes
twice, because a host sends by IPv4 and by IPv6, reaches the core once. So does a copy by unicast of what came by
multicast, which is the same datagram: it says by itself that it is meant for all.
"""

import logging
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

import msgspec
import trio

from dhtboot.effects import Send
from dhtboot.errors import DhtbootError
from dhtboot.ids import Address, format_address
from mdht.link_parts import Away, AwayPacket, Core, Datagram, Link, Port
from mdht.subnet.effects import (
    Effect,
    Event,
    LinkModeChanged,
    MemberChanged,
    Merged,
    Multicast,
    Reincarnated,
    Settled,
    Unicast,
)
from mdht.subnet.errors import WireError
from mdht.subnet.face_messages import OverlayDatagram, Probe
from mdht.subnet.messages import Hello, Here, Message, View
from mdht.subnet.proofs import Proofs, Verdict
from mdht.subnet.query import FetchBulk
from mdht.subnet.replay import ReplayWindows, Seen
from mdht.subnet.store_effects import BulkTo
from mdht.subnet.wire import MAGIC, Header, LinkCodec, Opened

log = logging.getLogger(__name__)

SEQ_MAX: Final = 0xFFFF_FFFF
"Datagrams of one incarnation; at 16 a second they last for eight years."
COMPLAINTS_MAX: Final = 512
"Hosts and sources that a log line was written of; somebody who made more of them up would fill the disk."
_ALL_OR_NONE: Final = "neither is a member for the other; start all hosts of the link with --host-keys, or all without"
_COMPLAINTS: Final = {
    Verdict.UNSIGNED: f"host %s at %s does not sign what it says, and this host does: {_ALL_OR_NONE}",
    Verdict.SIGNED: f"host %s at %s signs what it says, and this host does not: {_ALL_OR_NONE}",
    Verdict.FORGED: "something in the name of host %s has come from %s that this host did not sign: it is dropped",
    Verdict.NOT_VERIFIED: "what host %s says is dropped: more signatures come from %s than are verified in a second",
}


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong on purpose, at one receiver, for tests and experiments."""

    multicast_loss: float = 0.0
    "Share of messages by multicast that do not arrive, by whichever family they come."
    ignore_multicast: bool = False
    "As where a switch filters it."
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.multicast_loss <= 1.0:
            raise ValueError("multicast_loss is a share, 0 to 1")


class LinkDriver:
    """Carries messages between a core and its link.

    Args:
        core: the protocol core.
        codec: turns its messages into bytes.
        link: the sockets.
        keyed: whether the codec has keys; then what is old, or was heard before, is refused. Without keys anybody can
            make numbers up, so that only what came twice is dropped: else a made-up number would silence a host.
        keep: writes an incarnation to the disk; called before it is used.
        on_event: gets every effect that is no message.
        away: where the host is known beyond its link.
        on_transfer: gets what is too large for datagrams.
        proofs: judges what hosts sign, whose codec has a signer then; None where they do not sign.
        faults: what goes wrong on purpose.

    Attributes:
        counters: of datagrams received, and of each reason to drop one.
    """

    def __init__(
        self,
        core: Core,
        codec: LinkCodec,
        link: Link,
        *,
        keyed: bool,
        keep: Callable[[int], None],
        on_event: Callable[[Event], None],
        away: Away | None = None,
        on_transfer: Callable[[FetchBulk | BulkTo], None] | None = None,
        proofs: Proofs | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._core = core
        self._codec = codec
        self._link = link
        self._keyed = keyed
        self._keep = keep
        self._on_event = on_event
        self._away = away
        self._on_transfer = on_transfer
        self._proofs = proofs
        self._complained_of: set[str] = set()
        self._faults = faults or Faults()
        self._windows = ReplayWindows()
        self._seq = 0
        self._timer = trio.CancelScope()

    async def run(self, look_s: float) -> None:
        """Carry messages and time until cancelled.

        Args:
            look_s: seconds between two looks at the interfaces.

        Raises:
            LocalProtocolError: an incarnation cannot be kept.
        """
        async with trio.open_nursery() as nursery:
            for port in self._link.ports:
                nursery.start_soon(self._read, port)
            nursery.start_soon(self._keep_time)
            while True:
                await trio.sleep(look_s)
                for port in self._link.refresh(trio.current_time()):
                    nursery.start_soon(self._read, port)

    def perform(self, effects: Iterable[Effect | FetchBulk | BulkTo]) -> None:
        """Carry out what the core wants; call it with whatever a call of the core returned."""
        self._carry_out(list(effects))
        self._set_timer()

    def _carry_out(self, effects: Sequence[Effect | FetchBulk | BulkTo]) -> None:
        events: list[Event] = []
        for effect in effects:
            if isinstance(effect, Reincarnated):
                self._keep(effect.incarnation)  # before any datagram has it
        for effect in effects:
            match effect:
                case Multicast(message=message):
                    self._send(message, None)
                case Unicast(to=to, message=message, to_all=to_all):
                    self._send(message, to, to_all=to_all)
                case Send(to=to, packet=packet):
                    self._send_away(packet, to)
                case LinkModeChanged() | MemberChanged() | Settled() | Merged():
                    events.append(effect)
                case FetchBulk() | BulkTo() if self._on_transfer is not None:
                    self._on_transfer(effect)
                case Reincarnated() | FetchBulk() | BulkTo():
                    pass
        # Whoever is told may call the core, and so this method, again.
        for event in events:
            self._on_event(event)

    def _set_timer(self) -> None:
        # Later as well as sooner: most deadlines are of answers that come in time, and nobody has to wake for those.
        due_at = self._core.next_deadline()
        if due_at != self._timer.deadline:
            self._timer.deadline = due_at

    def totals(self) -> dict[str, int]:
        """All counters together: the driver's, the sockets', the codec's, the core's."""
        found = self.counters + self._link.counters + self._core.counters
        found += Counter() if self._proofs is None else self._proofs.counters
        found["strange"] += self._codec.strange
        return {name: count for name, count in sorted(found.items()) if count}

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._core.next_deadline()) as self._timer:
                await trio.sleep_forever()
            # Readers woken in the same moment come first: an answer that waits in our own socket is not late.
            await trio.lowlevel.checkpoint()
            self.perform(self._core.tick(trio.current_time()))

    async def _read(self, port: Port) -> None:
        while True:
            try:
                batch = await port.receive()
            except trio.ClosedResourceError:
                return
            now = trio.current_time()
            for datagram in batch:
                self._receive(datagram, now)
            self._set_timer()

    def _receive(self, datagram: Datagram, now: float) -> None:
        self.counters["received"] += 1
        if datagram.data[: len(MAGIC)] != MAGIC and self._away is not None and not datagram.multicast:
            self._receive_away(self._away, datagram, now)
            return
        if not datagram.on_link:
            self.counters["off_link"] += 1
            log.debug("dropped a datagram from %s, which is no address of the link", format_address(datagram.source))
            return
        try:
            found = self._codec.open(datagram.data)
        except WireError as error:
            self.counters["refused"] += 1
            log.debug("refused a datagram from %s: %s", format_address(datagram.source), error)
            return
        if found is None:
            return  # the codec counts it
        header = found.header
        if header.hid != self._core.hid and not self._is_news(found, datagram, now):
            return
        reachable = self._reachable(found.message)
        self._carry_out(self._core.receive(header, reachable, datagram.source, now, multicast=header.to_all))

    def _receive_away(self, away: Away, datagram: Datagram, now: float) -> None:
        try:
            packet = away.codec.decode(datagram.data)
        except (WireError, DhtbootError) as error:
            self.counters["refused"] += 1
            log.debug("refused a datagram from %s: %s", format_address(datagram.source), error)
            return
        self.counters["received_away"] += 1
        self._carry_out(away.core.receive_overlay(packet, datagram.source, now))

    def _send_away(self, packet: AwayPacket, to: Address) -> None:
        if self._away is None:
            self.counters["unsendable"] += 1
            return
        try:
            data = self._away.codec.encode(packet)
        except (ValueError, OverflowError, struct.error, DhtbootError) as error:
            self.counters["unsendable"] += 1
            log.warning("did not send a %s: %s", type(packet).__name__, error)
            return
        self.counters["sent_away"] += 1
        # A probe must come from where the receiver has sent nothing.
        self._link.send_away(data, to, apart=isinstance(packet, OverlayDatagram) and isinstance(packet.body, Probe))

    def _reachable(self, message: Message) -> Message:
        """Without addresses that cannot be reached from here: a host may be on other links, or speak IPv6 too."""
        match message:
            case Hello(addresses=addresses) | Here(addresses=addresses):
                return msgspec.structs.replace(message, addresses=self._reached(addresses))
            case View(members=members):
                entries = [msgspec.structs.replace(one, addresses=self._reached(one.addresses)) for one in members]
                return msgspec.structs.replace(message, members=tuple(entries))
            case _:
                return message

    def _reached(self, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        return tuple([address for address in addresses if self._link.reaches(address)])

    def _is_news(self, opened: Opened, datagram: Datagram, now: float) -> bool:
        """Whether a datagram is for the core; that one came by multicast counts though a copy may have come before."""
        header = opened.header
        if datagram.multicast and self._is_lost(header):
            return False
        verdict = self._judge(opened, datagram.source, now)
        if datagram.multicast and self._shows_way(opened, verdict):
            self._core.heard_by_group(header.hid, now)
        if verdict is Verdict.BELIEVED:
            return True
        self.counters[verdict.value] += 1
        return False

    def _shows_way(self, opened: Opened, verdict: Verdict) -> bool:
        """Whether multicast passes from a host, as one of its datagrams has come that way."""
        if self._proofs is None:
            return verdict in {Verdict.BELIEVED, Verdict.DUPLICATE, Verdict.REPLAYED}
        return opened.proof is not None and verdict in {Verdict.BELIEVED, Verdict.DUPLICATE}

    def _judge(self, opened: Opened, source: Address, now: float) -> Verdict:
        """Whether it is new, and where hosts sign, whose it is."""
        header = opened.header
        if self._proofs is not None:
            verdict = self._proofs.judge(opened, source, now)
        elif opened.proof is not None:
            verdict = Verdict.SIGNED
        else:
            seen = self._windows.look(header.hid, header.incarnation, header.seq)
            if seen is Seen.DUPLICATE:
                return Verdict.DUPLICATE
            return Verdict.REPLAYED if seen is Seen.OLD and self._keyed else Verdict.BELIEVED
        listens = isinstance(opened.message, Hello) and not opened.message.addresses  # and is no member of anything
        if verdict in _COMPLAINTS and not listens:
            self._complain(_COMPLAINTS[verdict], header.hid.hex(), source[0])
        return verdict

    def _complain(self, text: str, host: str, source: str) -> None:
        """One line in the log for each host, and for each source."""
        told = self._complained_of
        if host not in told and source not in told and len(told) < COMPLAINTS_MAX:
            told.update((host, source))
            log.warning(text, host, source)

    def _is_lost(self, header: Header) -> bool:
        """Whether a fault takes a multicast, by whichever family it comes."""
        faults, lost = self._faults, self._faults.ignore_multicast
        if faults.multicast_loss > 0:
            chance = Random(f"{faults.seed} {header.hid.hex()} {header.incarnation} {header.seq}")
            lost = lost or chance.random() < faults.multicast_loss
        self.counters["lost_on_purpose"] += lost
        return lost

    def _send(self, message: Message, to: Address | None, *, to_all: bool = False) -> None:
        if isinstance(message, Hello | Here) and message.addresses:
            # The sockets know best: an interface may have got another address since the core was made.
            message = msgspec.structs.replace(message, addresses=self._link.addresses)
        try:
            data = self._codec.encode(self._next_header(to_all=to_all or to is None), message)
        except (ValueError, OverflowError, struct.error) as error:
            self.counters["unsendable"] += 1
            log.warning("did not send a %s: %s", type(message).__name__, error)
            return
        if to is not None:
            self._link.unicast(data, to)
            return
        self._link.multicast(data)
        for member in self._core.copies(trio.current_time()):
            self.counters["copies"] += 1
            self._link.unicast(data, member)

    def _next_header(self, *, to_all: bool) -> Header:
        if self._seq == SEQ_MAX:
            self._keep(self._core.incarnation + 1)
            self._core.incarnation += 1
            self._seq = 0
        self._seq += 1
        core = self._core
        return Header(subnet_tag=core.tag, hid=core.hid, incarnation=core.incarnation, seq=self._seq, to_all=to_all)

"""Catches packets by NFQUEUE, the thesis' way: the kernel queues each one and waits for what is to become of it.

What goes on stays in the kernel's hands, which routes it and takes one from its TTL. The netlink is our own, since the
common library needs a compiler. The queue is bypassed when nobody reads it, and when it is full.
"""

import errno
import logging
import os
import socket
import struct
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from netserv.errors import SystemRefusedError
from netserv.signaling.gist.effects import Caught
from netserv.signaling.transport import ancillary, netlink, packet, rules
from netserv.signaling.transport.inbox import Inbox
from netserv.signaling.transport.installation import in_place
from netserv.signaling.transport.intercept import InterceptConfig

log = logging.getLogger(__name__)

PACKET: Final = 3 << 8
VERDICT: Final = 3 << 8 | 1
CONFIGURE: Final = 3 << 8 | 2
DROP: Final = 0
ACCEPT: Final = 1
COPY_BYTES: Final = 0xFFFF
"Of each packet: all of it."
REST_MAX: Final = 10_000
"Packets accepted at the end: over twice the default length of the queue."
_GENERIC: Final = struct.Struct("!BBH")
"nfgenmsg: family, version, queue number (linux/netfilter/nfnetlink.h)."
_COMMAND: Final = struct.Struct("!BxH")
_PARAMETERS: Final = struct.Struct("!IB")
_NUMBER: Final = struct.Struct("!I")
_VERDICT: Final = struct.Struct("!II")
_PACKET_HEADER: Final = struct.Struct("!IHB")
_BIND: Final = 1
_COPY_PACKET: Final = 2
_FAIL_OPEN: Final = 1
_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NO_ENOBUFS: Final = 5
_STATISTICS: Final = Path("/proc/net/netfilter/nfnetlink_queue")


class QueueTakenError(SystemRefusedError):
    """Another program reads this queue."""


class Queued(NamedTuple):
    """A packet that waits for its verdict."""

    number: int
    interface: int
    data: bytes
    "With its checksum: the kernel makes up for what it leaves to hardware, unless it is asked for whole GSO packets."


def configure(queue: int, *parts: bytes) -> bytes:
    """Attributes for a queue, as a body of `CONFIGURE`."""
    return _GENERIC.pack(socket.AF_UNSPEC, 0, queue) + b"".join(parts)


def bind_command() -> bytes:
    """Make this socket the reader of the queue."""
    return netlink.attribute(1, _COMMAND.pack(_BIND, socket.AF_UNSPEC))


def queue_settings(length: int, *, fail_open: bool = True) -> tuple[bytes, ...]:
    """Have packets copied whole, so many of them wait, and those over that pass by, or are dropped."""
    return (
        netlink.attribute(2, _PARAMETERS.pack(COPY_BYTES, _COPY_PACKET)),
        netlink.attribute(3, _NUMBER.pack(length)),
        netlink.attribute(5, _NUMBER.pack(_FAIL_OPEN if fail_open else 0)),
        netlink.attribute(4, _NUMBER.pack(_FAIL_OPEN)),
    )


def verdict(queue: int, number: int, decision: int, payload: bytes | None = None) -> bytes:
    """The message that decides on a packet, with another packet in its place where there is one."""
    body = _GENERIC.pack(socket.AF_UNSPEC, 0, queue) + netlink.attribute(2, _VERDICT.pack(decision, number))
    if payload is not None:
        body += netlink.attribute(10, payload)
    return netlink.message(VERDICT, netlink.REQUEST, body)


def read_packet(body: bytes) -> Queued:
    """Read a queued packet.

    Raises:
        NetlinkError: it is none.
    """
    found = netlink.attributes(body, _GENERIC.size)
    header = found.get(1, b"")
    if len(header) < _PACKET_HEADER.size:
        raise netlink.NetlinkError("a queued packet without its number")
    number, _, _ = _PACKET_HEADER.unpack_from(header)
    return Queued(number, int.from_bytes(found.get(5, b"")), found.get(10, b""))


class NfqueueInterceptor:
    """An `Interceptor` by NFQUEUE.

    Args:
        config: what to catch.
        versions: IP versions to catch.
    """

    name = "nfqueue"

    def __init__(self, config: InterceptConfig, versions: tuple[int, ...] = (4, 6)) -> None:
        self._counters: Counter[str] = Counter()
        self.families: tuple[int, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self._config, self._versions = config, versions
        self._open_packets: dict[int, tuple[bytes, packet.UdpPacket]] = {}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            opened.enter_context(rules.claim())
            self._socket = open_queue(self._config.queue, self._config.queue_max)
            opened.callback(self._socket.close)
            self._inbox: Inbox[Caught] = Inbox([self._socket.socket], self._read, self._failed)
            opened.callback(self._inbox.close)
            opened.callback(self._pass_on_rest)
            wanted = [rules.nfqueue_rules(each, self._config, pid=os.getpid()) for each in self._versions]
            self.families, self.warnings = await opened.enter_async_context(in_place(wanted, self._config))
            self._open = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    @property
    def counters(self) -> Counter[str]:
        """What happened; `overrun` counts packets that the kernel could not hand over, which pass by unseen."""
        with suppress(OSError, ValueError):
            for line in _STATISTICS.read_text().splitlines():
                number, *fields = line.split()
                if number == str(self._config.queue) and (lost := sum(int(each) for each in fields[4:6])):
                    self._counters["overrun"] = lost
        return self._counters

    async def ready(self) -> None:
        """Wait until there are packets to take; they are to be taken at once, all of them."""
        await self._inbox.ready()

    def take(self) -> Caught | None:
        """One of those that have come; None behind the last."""
        return self._inbox.take()

    def discard(self, packet: Caught) -> None:
        """Let it go no further."""
        if self._open_packets.pop(packet.token, None) is not None:
            self._decide(packet.token, DROP)
            self._counters["discarded"] += 1

    def forward(self, caught: Caught, payload: bytes) -> None:
        """Send it on: IP TTL one less, another payload, everything else as it was."""
        waiting = self._open_packets.pop(caught.token, None)
        if waiting is None:
            self._counters["overlooked"] += 1
            return
        data, parts = waiting
        changed = None
        if payload != parts.payload:
            try:
                changed = packet.with_payload(data, parts, payload)
            except packet.PacketError as error:
                self._decide(caught.token, DROP)
                self._counters["too_large"] += 1
                log.debug("a caught packet was not sent on: %s", error)
                return
        if self._decide(caught.token, ACCEPT, changed):
            self._counters["forwarded"] += 1

    def _read(self, sock: socket.socket) -> Caught | None:
        data, (sender, _) = sock.recvfrom(netlink.READ_BYTES)
        if sender != 0:
            return None
        try:
            for said in netlink.messages(data):  # the kernel sends each packet by itself
                if said.kind == PACKET:
                    return self._take(read_packet(said.body))
                if said.kind == netlink.ERROR and (number := netlink.error_of(said.body)):
                    # A verdict on a packet that is gone: the queue was flushed as an interface went down.
                    self._counters["late"] += 1
                    log.debug("the kernel refused a verdict: %s", os.strerror(number))
        except netlink.NetlinkError as error:
            self._counters["strange"] += 1
            log.warning("the kernel's words about a queued packet cannot be read: %s", error)
        return None

    def _take(self, queued: Queued) -> Caught | None:
        try:
            parts = packet.parse(queued.data)
        except packet.PacketError as error:
            self._let_pass(queued.number, str(error))
            return None
        if not parts.checksum_right:
            self._let_pass(queued.number, "a wrong UDP checksum")
            return None
        if len(self._open_packets) >= self._config.queue_max:  # somebody forgot to decide; the oldest goes on
            oldest = next(iter(self._open_packets))
            del self._open_packets[oldest]
            self._let_pass(oldest, "undecided for long")
        self._open_packets[queued.number] = queued.data, parts
        self._counters["caught"] += 1
        return Caught(
            payload=parts.payload,
            source=parts.source,
            destination=parts.destination,
            in_transit=True,
            ip_ttl=parts.ttl,
            dscp=parts.tos >> 2,
            router_alert=bool(parts.options)
            and packet.has_router_alert(parts.options, version=4 if len(parts.source[0]) == 4 else 6),
            interface=queued.interface,
            token=queued.number,
        )

    def _let_pass(self, number: int, reason: str) -> None:
        self._counters["strange"] += 1
        self._decide(number, ACCEPT)
        log.debug("a queued packet passes by: %s", reason)

    def _decide(self, number: int, decision: int, changed: bytes | None = None) -> bool:
        try:
            self._socket.socket.sendto(verdict(self._config.queue, number, decision, changed), (0, 0))
        except OSError as error:
            self._counters["unsendable"] += 1
            log.debug("a verdict was not taken: %s", error)
            return False
        return True

    def _failed(self, _sock: socket.socket, error: OSError | None) -> None:
        self._counters["errors"] += 1
        log.debug("an error of the queue: %s", error)

    def _pass_on_rest(self) -> None:
        """Accept what still waits, now that nothing new can come."""
        for _ in range(REST_MAX):
            self._inbox.fill()
            if self._inbox.take() is None:
                break
        for number in list(self._open_packets):
            self._decide(number, ACCEPT)
            self._counters["passed_at_end"] += 1
        self._open_packets.clear()


def open_queue(queue: int, length: int, *, fail_open: bool = True) -> netlink.NetlinkSocket:
    """Become the reader of a queue.

    Args:
        queue: its number.
        length: packets that wait in it.
        fail_open: whether those over that pass by; else they are dropped.

    Raises:
        QueueTakenError: another program reads it.
        SystemRefusedError: this process may not, or the kernel has no queues.
    """
    try:
        opened = netlink.NetlinkSocket(_NETLINK_NETFILTER)
    except OSError as error:
        raise SystemRefusedError(f"this kernel has no packet queues (nfnetlink): {error.strerror}") from error
    try:
        opened.ask(CONFIGURE, netlink.ACKNOWLEDGE, configure(queue, bind_command()))
        opened.ask(CONFIGURE, netlink.ACKNOWLEDGE, configure(queue, *queue_settings(length, fail_open=fail_open)))
        ancillary.enlarge(opened.socket)
        # The kernel lets pass what it cannot hand over, so the loss of a message is nothing to be woken for.
        opened.socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
        opened.socket.setblocking(False)
    except OSError as error:
        opened.close()
        if error.errno == errno.EBUSY:
            raise QueueTakenError(f"queue {queue} is read by another program: choose another one") from error
        if error.errno in {errno.EPERM, errno.EACCES}:
            reason = f"queue {queue} is not given: run as root, or with the capability CAP_NET_ADMIN"
        else:
            reason = f"the kernel gives no packet queue (module nfnetlink_queue): {error.strerror}"
        raise SystemRefusedError(reason) from error
    return opened

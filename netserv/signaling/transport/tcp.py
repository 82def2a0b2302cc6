"""Messaging associations on TCP and TLS: listening, connecting, and one bounded queue of bytes towards each peer.

What happens is told by plain calls, from the association's own task and never in the middle of a call to this module.
Nothing here waits for a slow peer: what it does not read is queued, and over the bound its association is closed.
"""

import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import trio

from netserv.signaling.gist.addresses import Endpoint, PackedAddress, address_text, endpoint_text, packed
from netserv.signaling.transport.authorised_peers import EVERYBODY, AuthorisedPeers, allowed
from netserv.signaling.transport.tcp_options import retry_soon
from netserv.signaling.transport.tls import TlsContexts, names_of

log = logging.getLogger(__name__)

CHUNK: Final = 65_536
"Bytes of one read: some hundreds of messages at a time when there are many."
NOT_AUTHORISED: Final = "not an authorised peer"

Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class AssociationLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    associations_max: int = 1_024
    "Both ways together; each has a descriptor and two tasks, some 20 KB. Where they are used up, nobody is let in."
    per_address_max: int = 64
    "Accepted ones of one address, so that one host cannot use up all; hosts behind a NAT share one."
    handshakes_max: int = 256
    "TLS handshakes of others under way; the oldest ends for a new one, as a peer's takes no longer than the network."
    queue_max: int = 4_194_304
    "Bytes that wait for one peer: the 4,096 messages that may be under way on an association, of 1 KiB each."
    queues_max: int = 67_108_864
    "Bytes that wait for all of them."
    connect_s: float = 10.0
    "Until a connection stands, its TLS handshake included: as long as mute hosts are worth waiting for."
    first_data_s: float = 10.0
    "An accepted connection on which nothing comes; the Confirm is sent at once (RFC 5971 section 4.4.1)."
    linger_s: float = 2.0
    "For the rest of what was to be sent on an association that is closed."


class AssociationEvents(Protocol):
    """Who is told; quick, and without waiting."""

    def accepted(self, number: int, peer: Endpoint, *, secure: bool, names: tuple[str, ...]) -> None:
        """A peer has connected; the numbers of these are even."""
        ...

    def opened(self, number: int, names: tuple[str, ...]) -> None:
        """The connection that was asked for stands."""
        ...

    def received(self, number: int, data: bytes) -> None:
        """Bytes of the peer; never none."""
        ...

    def closed(self, number: int, reason: str) -> None:
        """It could not be opened, or has ended otherwise than by `Associations.close`."""
        ...


class _Association:
    """One connection, from the moment that its number is given."""

    __slots__ = (
        "closing", "flushed", "names", "peer", "queue", "reason", "scope", "secure", "spoken", "told", "wake",
    )  # fmt: skip

    def __init__(self, peer: Endpoint, *, secure: bool, told: bool) -> None:
        self.peer, self.secure = peer, secure
        self.told = told
        "Somebody knows of it, and is to be told of its end."
        self.names: tuple[str, ...] = ()
        self.scope = trio.CancelScope()
        self.queue = bytearray()
        self.wake = trio.Event()
        self.flushed = True
        "Nothing waits, and nothing is being sent."
        self.spoken = False
        "Something was sent, whose end is to be seen by the peer."
        self.closing = False
        "By us: nothing more is told of it."
        self.reason = ""

    def end(self, reason: str) -> None:
        """Have its task end it."""
        self.reason = self.reason or reason
        self.scope.cancel()


class Associations:
    """All associations of one node.

    Args:
        nursery: in which their tasks run; the end of it ends them.
        events: who is told.
        limits: of them.
        tls: None where the node has no certificate, and so offers no TLS.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        events: AssociationEvents,
        *,
        limits: AssociationLimits = AssociationLimits(),  # noqa: B008 - a frozen value
        tls: TlsContexts | None = None,
    ) -> None:
        self._nursery, self._events, self._limits, self._tls = nursery, events, limits, tls
        self._peers: AuthorisedPeers = EVERYBODY
        self._all: dict[int, _Association] = {}
        self._accepted: Counter[PackedAddress] = Counter()
        self._next = 2
        self._waiting = 0
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    def accept(self, listeners: Sequence[trio.SocketListener], *, secure: bool) -> None:
        """Accept connections from now on.

        Args:
            listeners: of `open_listeners`.
            secure: TLS.
        """
        handler = partial(self._accept, secure=secure)
        serve = partial(trio.serve_listeners, handler, list(listeners), handler_nursery=self._nursery)
        self._nursery.start_soon(serve)

    def open(self, number: int, to: Endpoint, *, secure: bool, source: PackedAddress | None = None) -> None:
        """Connect; `opened` or `closed` tells how that went.

        Args:
            number: of the association, chosen by the caller, odd.
            to: the peer.
            secure: TLS.
            source: own address; None: the kernel's choice.
        """
        association = self._all[number] = _Association(to, secure=secure, told=True)
        self._nursery.start_soon(self._connect, number, association, source)

    def send(self, number: int, data: bytes) -> None:
        """Queue bytes; those for an association that has ended meanwhile are dropped, as its end is told."""
        association = self._all.get(number)
        if association is None or association.closing:
            self.counters["sent_too_late"] += 1
            return
        limits = self._limits
        if len(association.queue) + len(data) > limits.queue_max or self._waiting + len(data) > limits.queues_max:
            self.counters["queues_full"] += 1
            association.end(f"{endpoint_text(association.peer)} does not read what is sent to it")
            return
        association.queue += data
        association.flushed, association.spoken = False, True
        self._waiting += len(data)
        association.wake.set()

    def close(self, number: int) -> None:
        """Close after what is queued; nothing more is told of it."""
        association = self._all.get(number)
        if association is None or association.closing:
            return
        association.closing = True
        if not association.spoken:  # nor has a stranger who was mute anything to wait for
            association.scope.cancel()
        association.scope.deadline = trio.current_time() + self._limits.linger_s
        association.wake.set()

    def authorise(self, peers: AuthorisedPeers) -> None:
        """Take another list of authorised peers; associations that it forbids end (section 4.4.2)."""
        self._peers = peers
        for association in self._all.values():
            if not allowed(peers, association.peer[0], association.names):
                association.end(NOT_AUTHORISED)

    async def flush(self) -> None:
        """Wait until all that was queued has been given to the kernel, or until what is left cannot be."""
        # Once, at the end of a program: no event for each queue is worth it.
        while any(not each.flushed for each in self._all.values()):  # noqa: ASYNC110
            await trio.sleep(0.01)

    async def _accept(self, stream: trio.SocketStream, *, secure: bool) -> None:
        try:
            peer = _endpoint(stream.socket.getpeername())
            retry_soon(stream.socket)
        except OSError:  # it has left already
            await trio.aclose_forcefully(stream)
            return
        if len(self._all) >= self._limits.associations_max or self._accepted[peer[0]] >= self._limits.per_address_max:
            self.counters["refused_too_many"] += 1
            await trio.aclose_forcefully(stream)
            return
        if secure:
            self._make_room()
        number, self._next = self._next, self._next + 2
        association = self._all[number] = _Association(peer, secure=secure, told=False)
        with self._listed(number, association), self._counted(peer[0]), association.scope:
            ready = await self._secured(stream, association, server=True)
            if ready is None:
                self.counters["refused"] += 1
                log.info("connection from %s refused: %s", endpoint_text(peer), association.reason)
                return
            self.counters["accepted"] += 1
            association.told = True
            self._events.accepted(number, peer, secure=secure, names=association.names)
            await self._serve(number, association, ready)

    def _make_room(self) -> None:
        """End the oldest TLS handshake if there are too many."""
        shaking = [each for each in self._all.values() if each.secure and not each.told]
        if len(shaking) >= self._limits.handshakes_max:
            self.counters["handshakes_displaced"] += 1
            shaking[0].end("others came")

    async def _connect(self, number: int, association: _Association, source: PackedAddress | None) -> None:
        with self._listed(number, association), association.scope:
            if association.closing:
                return
            if len(self._all) > self._limits.associations_max:
                association.end("too many associations")
            stream = await self._connected(association, source)
            ready = None if stream is None else await self._secured(stream, association, server=False)
            if ready is not None:
                self.counters["opened"] += 1
                self._events.opened(number, association.names)
                await self._serve(number, association, ready)

    async def _connected(self, association: _Association, source: PackedAddress | None) -> trio.SocketStream | None:
        address, port = association.peer
        family = socket.AF_INET6 if len(address) == 16 else socket.AF_INET
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        retry_soon(sock)
        try:
            with trio.fail_after(self._limits.connect_s):
                if source is not None:
                    await sock.bind((address_text(source), 0))
                await sock.connect((address_text(address), port))
            return trio.SocketStream(sock)
        except trio.TooSlowError:
            association.reason = f"{endpoint_text(association.peer)} does not answer"
        except OSError as error:
            association.reason = f"{endpoint_text(association.peer)}: {_cause(error)}"
        except BaseException:
            sock.close()
            raise
        sock.close()
        self.counters["connects_failed"] += 1
        return None

    async def _secured(self, stream: trio.SocketStream, association: _Association, *, server: bool) -> Stream | None:
        """Do the TLS handshake where that is wanted, and ask the list of authorised peers; None: it is closed."""
        ready: Stream = stream
        if association.secure:
            made = await self._handshaken(stream, association, server=server)
            if made is None:
                await trio.aclose_forcefully(stream)
                return None
            ready, association.names = made, names_of(made)
        if allowed(self._peers, association.peer[0], association.names):
            return ready
        association.reason = NOT_AUTHORISED
        self.counters["not_authorised"] += 1
        await trio.aclose_forcefully(stream)  # without further exchanges (section 4.4.2)
        return None

    async def _handshaken(
        self, stream: trio.SocketStream, association: _Association, *, server: bool
    ) -> trio.SSLStream[trio.SocketStream] | None:
        if self._tls is None:
            association.reason = "this node has no certificate for TLS"
            return None
        context = self._tls.server if server else self._tls.client
        # A peer's message says where it ends: a connection that ends without `close_notify` loses nothing unseen.
        made = trio.SSLStream(stream, context, server_side=server, https_compatible=True)
        try:
            with trio.fail_after(self._limits.connect_s):
                await made.do_handshake()
            return made
        except trio.TooSlowError:
            association.reason = "no TLS handshake in time"
        except trio.BrokenResourceError as error:
            association.reason = f"TLS handshake: {_cause(error)}"
        self.counters["handshakes_failed"] += 1
        return None

    async def _serve(self, number: int, association: _Association, stream: Stream) -> None:
        """Read and write until it ends."""
        if association.closing:  # while it was being opened
            association.scope.deadline = trio.current_time() + self._limits.linger_s
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, association, stream)
                await self._read(number, association, stream)
                association.scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)

    async def _read(self, number: int, association: _Association, stream: Stream) -> None:
        try:
            with trio.move_on_after(self._limits.first_data_s if number % 2 == 0 else float("inf")) as patience:
                while data := await stream.receive_some(CHUNK):
                    patience.deadline = float("inf")
                    if not association.closing:
                        self._events.received(number, bytes(data))
            association.reason = association.reason or (
                "nothing came on it" if patience.cancelled_caught else "closed by the peer"
            )
        except trio.BrokenResourceError as error:
            association.reason = association.reason or _cause(error)
        except trio.ClosedResourceError:  # by the writer, which has closed it after the last byte
            association.reason = association.reason or "closed"

    async def _write(self, association: _Association, stream: Stream) -> None:
        try:
            while True:
                while association.queue:
                    data, association.queue = association.queue, bytearray()
                    self._waiting -= len(data)
                    await stream.send_all(data)
                association.flushed = True
                if association.closing:
                    await _end(stream)
                    return
                association.wake = trio.Event()
                await association.wake.wait()
        except trio.BrokenResourceError as error:
            association.end(_cause(error))

    @contextmanager
    def _listed(self, number: int, association: _Association) -> Iterator[None]:
        """Take an association out of the table at its end, and tell that end if it was not asked for."""
        done = False
        try:
            yield
            done = True
        finally:
            self._waiting -= len(association.queue)
            association.queue.clear()
            association.flushed = True
            del self._all[number]
            # Nor at the end of the program, whose node has gone before.
            if done and association.told and not association.closing:
                self._events.closed(number, association.reason)

    @contextmanager
    def _counted(self, address: PackedAddress) -> Iterator[None]:
        self._accepted[address] += 1
        try:
            yield
        finally:
            self._accepted[address] -= 1
            if not self._accepted[address]:
                del self._accepted[address]


def _endpoint(name: tuple[Any, ...]) -> Endpoint:
    """Address and port of a socket's name, which has four parts for IPv6."""
    return packed(name[0].partition("%")[0]), name[1]


def _cause(error: BaseException) -> str:
    """What the kernel or the TLS library said."""
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate refused: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return (cause.reason or str(cause)).replace("_", " ").lower()
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)  # without what trio puts before it
    return str(cause) or "broken off"


async def _end(stream: Stream) -> None:
    """Say that nothing follows; the connection itself ends when the peer has read that, or after a while."""
    if isinstance(stream, trio.SSLStream):
        await stream.aclose()
    else:
        await stream.send_eof()

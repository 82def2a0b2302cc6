"""Catches packets by TPROXY: the kernel hands what passes the filter to a local UDP socket, as if it were meant for it.

What goes on leaves by a raw socket under the addresses and ports that it came with. So it passes OUTPUT, not FORWARD:
firewall rules of the machine's FORWARD chain do not see it.
"""

import errno
import logging
import os
import socket
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from types import TracebackType
from typing import Final, NamedTuple, Self

from netserv.errors import SystemRefusedError
from netserv.signaling.gist.addresses import GIST_PORT
from netserv.signaling.gist.effects import Caught
from netserv.signaling.transport import ancillary, packet, rules
from netserv.signaling.transport.inbox import Inbox
from netserv.signaling.transport.installation import in_place
from netserv.signaling.transport.intercept import InterceptConfig
from netserv.signaling.transport.raw import RawSender
from netserv.signaling.transport.udp import DATAGRAM_MAX, UdpPort

log = logging.getLogger(__name__)

KEPT_MAX: Final = 4_096
"Packets with options, ECN or a flow label whose fate is open; the node decides each within the call that gets it."
REST_MAX: Final = 10_000
"Packets sent on at the end, within half a second; the receive buffer holds no more of 512 bytes."


class _Kept(NamedTuple):
    tos: int
    options: bytes
    flow_label: int


class TproxyInterceptor:
    """An `Interceptor` by TPROXY.

    Args:
        config: what to catch.
        port: the GIST port of this node, by which the kernel sees that the node lives.
    """

    name = "tproxy"

    def __init__(self, config: InterceptConfig, port: UdpPort) -> None:
        self.counters: Counter[str] = Counter()
        self.families: tuple[int, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self._config, self._port = config, port
        self._kept: dict[int, _Kept] = {}
        self._last = 0
        self._overruns: dict[int, int] = {}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._port.port != GIST_PORT or not self._port.transparent:
            raise SystemRefusedError(
                f"catching needs the GIST port {GIST_PORT} and root (capabilities CAP_NET_ADMIN and CAP_NET_RAW)"
            )
        if rules.marks_spoil_sources():
            raise SystemRefusedError(
                "it does not work where a sysctl net.ipv4.conf.*.src_valid_mark is 1: set it to 0, or take nfqueue"
            )
        async with AsyncExitStack() as opened:
            opened.enter_context(rules.claim())
            self._raw = RawSender.open()
            opened.callback(self._raw.close)
            sockets = _open(opened, self._port.families)
            self._inbox: Inbox[Caught] = Inbox(list(sockets.values()), self._read, self._failed)
            opened.callback(self._inbox.close)
            opened.callback(self._pass_on_rest)
            wanted = [
                rules.tproxy_rules(version, self._config, sock.getsockname()[1], pid=os.getpid())
                for version, sock in sockets.items()
            ]
            self.families, self.warnings = await opened.enter_async_context(in_place(wanted, self._config))
            self._open = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def ready(self) -> None:
        """Wait until there are packets to take; they are to be taken at once, all of them."""
        await self._inbox.ready()

    def take(self) -> Caught | None:
        """One of those that have come; None behind the last."""
        return self._inbox.take()

    def discard(self, packet: Caught) -> None:
        """Let it go no further."""
        self._kept.pop(packet.token, None)
        self.counters["discarded"] += 1

    def forward(self, caught: Caught, payload: bytes) -> None:
        """Send it on: IP TTL one less, another payload, everything else as it was."""
        kept = self._kept.pop(caught.token, None) if caught.token else None
        if caught.ip_ttl <= 1:
            self.counters["expired"] += 1
            return
        tos, options, label = kept or (caught.dscp << 2, b"", 0)
        try:
            whole = packet.build(
                caught.source,
                caught.destination,
                payload,
                ttl=caught.ip_ttl - 1,
                tos=tos,
                options=options,
                flow_label=label,
            )
        except packet.PacketError as error:
            self.counters["too_large"] += 1
            log.debug("a caught packet was not sent on: %s", error)
            return
        sent = self._raw.send(whole, caught.source[0], caught.destination[0])
        self.counters["forwarded" if sent else "unsendable"] += 1

    def _read(self, sock: socket.socket) -> Caught | None:
        payload, told, _, source = sock.recvmsg(DATAGRAM_MAX, ancillary.ANCILLARY_BYTES)
        beside, family = ancillary.read(told), ancillary.family_of(source)
        if beside.overrun:
            self._overruns[family] = beside.overrun
            self.counters["overrun"] = sum(self._overruns.values())
        if beside.port != GIST_PORT:  # a local program has written to the socket itself
            self.counters["strange"] += 1
            return None
        self.counters["caught"] += 1
        version = 4 if family == socket.AF_INET else 6
        token = 0
        if beside.options or beside.tos & 3 or beside.flow_label:
            token = self._keep(_Kept(beside.tos, beside.options, beside.flow_label))
        return Caught(
            payload=payload,
            source=(ancillary.packed_source(family, source[0]), source[1]),
            destination=(beside.destination, GIST_PORT),
            in_transit=True,
            ip_ttl=beside.ttl,
            dscp=beside.tos >> 2,
            router_alert=bool(beside.options) and packet.has_router_alert(beside.options, version=version),
            interface=beside.interface,
            token=token,
        )

    def _keep(self, kept: _Kept) -> int:
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
            self.counters["overlooked"] += 1
        self._last += 1
        self._kept[self._last] = kept
        return self._last

    def _failed(self, _sock: socket.socket, error: OSError | None) -> None:
        self.counters["errors"] += 1
        log.debug("an error of the socket that catches: %s", error)

    def _pass_on_rest(self) -> None:
        """Send on what the socket still has, now that nothing new can come."""
        for _ in range(REST_MAX):
            if (caught := self._inbox.take()) is None:
                self._inbox.fill()
                if (caught := self._inbox.take()) is None:
                    return
            self.forward(caught, caught.payload)
            self.counters["passed_at_end"] += 1


def _open(opened: AsyncExitStack, versions: tuple[int, ...]) -> dict[int, socket.socket]:
    """Sockets on free ports of the loopback address, where nothing from outside can reach them but by the rules."""
    found: dict[int, socket.socket] = {}
    with ExitStack() as attempt:
        for version in versions:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            sock = attempt.enter_context(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC))
            sock.setblocking(False)
            try:
                (ancillary.ask4 if version == 4 else ancillary.ask6)(sock, original_port=True)
                ancillary.enlarge(sock)
                if not ancillary.make_transparent(sock):
                    raise PermissionError(errno.EPERM, "CAP_NET_ADMIN is missing")
                sock.bind(("127.0.0.1" if version == 4 else "::1", 0))
            except OSError as error:
                raise SystemRefusedError(f"no socket for TPROXY: {error.strerror}; run as root") from error
            found[version] = sock
        opened.push(attempt.pop_all())
    return found

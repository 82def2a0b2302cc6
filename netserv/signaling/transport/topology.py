"""What this machine's kernel says of addresses and routes, kept until it says that something has changed.

The kernel answers a question about a route within the call that asks it, in about 10 us, so there is no waiting.
"""

import logging
import math
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Final, Self, TypeVar

import trio

from netserv.errors import SystemRefusedError
from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.effects import Outgoing
from netserv.signaling.transport import rtnetlink
from netserv.signaling.transport.inbox import wake
from netserv.signaling.transport.netlink import DUMP, READ_BYTES, NetlinkError, NetlinkSocket

log = logging.getLogger(__name__)

KEPT_MAX: Final = 131_072
"""Answers of each kind that are kept, at most 20 MB of them: for every session that a node may have. Where a flood
brings more destinations, all are asked for again."""
LOOK_S: Final = 0.005
"Between two looks whether the kernel has told of a change: a look is a system call, and a message asks five times."
AT_ONCE: Final = 256
"Ways that are asked for again in one turn after a change, in some 3 ms."
SETTLE_S: Final = 0.1
"A route that is replaced is gone for a moment; only then is looked where ways lead now."
TOLD_MAX: Final = 1_000
"Messages read in one turn: a router whose table is being filled tells of thousands a second."
_LOOPBACK4: Final = 127
_UNKNOWN_MTU: Final = 1_280
"Least MTU of IPv6 (RFC 8200 section 5), where an interface is gone before its own can be read."
_T = TypeVar("_T")


class KernelTopology:
    """Answers the GIST node's questions about the network.

    Used in a `with` statement, with a task that awaits `changed` again and again. An answer may be older than the last
    change by `LOOK_S`: then what was kept is dropped, awaited or not.

    Raises:
        SystemRefusedError: the kernel gives no netlink socket.
    """

    def __init__(self) -> None:
        with ExitStack() as opened:
            try:
                self._asking = NetlinkSocket(socket.NETLINK_ROUTE)
                opened.callback(self._asking.close)
                self._listening = NetlinkSocket(socket.NETLINK_ROUTE, rtnetlink.GROUPS)
                opened.callback(self._listening.close)
            except OSError as error:
                raise SystemRefusedError(f"the kernel tells nothing of routes (rtnetlink): {error.strerror}") from error
            self._listening.socket.setblocking(False)
            opened.pop_all()
        self._told = select.poll()
        self._told.register(self._listening.socket, select.POLLIN)
        self._look_at = -math.inf
        self._ways: dict[PackedAddress, Outgoing | None] = {}
        self._distinct: dict[Outgoing, Outgoing] = {}
        "Most destinations have one of a few ways, which they share."
        self._before: dict[PackedAddress, Outgoing | None] = {}
        "Ways as they were when `changed` returned last."
        self._belongs: dict[tuple[PackedAddress, int, int], bool] = {}
        self._mtus: dict[int, int] = {}
        self._own: frozenset[PackedAddress] = frozenset()
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; who awaits `changed` is woken by `trio.ClosedResourceError`."""
        if self._listening.socket.fileno() >= 0:
            wake(self._listening.socket.fileno())
        self._listening.close()
        self._asking.close()

    def outgoing(self, destination: PackedAddress) -> Outgoing | None:
        """The way to a destination; None without a route."""
        self._look()
        return _kept(self._ways, destination, lambda: self._look_way(destination))

    def is_own(self, address: PackedAddress) -> bool:
        """Whether this is an address of this machine."""
        self._look()
        return address in self._own or (len(address) == 4 and address[0] == _LOOPBACK4)

    @property
    def own_addresses(self) -> frozenset[PackedAddress]:
        """All addresses of this machine."""
        self._look()
        return self._own

    def may_come_from(self, source: PackedAddress, prefix: int, interface: int) -> bool:
        """Ingress filter: whether packets of that source range belong on that interface (section 5.8.1.1).

        They do when the routes to the first and to the last address of the range go out there; of a route with several
        ways any is good. A narrower route in between that leads elsewhere is not seen.
        """
        return _kept(self._belongs, (source, prefix, interface), lambda: self._look_belongs(source, prefix, interface))

    async def changed(self) -> frozenset[PackedAddress]:
        """Wait until routes, addresses or links change, or begin at once if they have since the last call.

        A new default route comes with a dozen messages; those that come within a moment are one change.

        Returns:
            Destinations, of those that were asked for lately, to which the way is another one now.
        """
        sock = self._listening.socket
        await trio.lowlevel.wait_readable(sock)
        await trio.sleep(SETTLE_S)
        for _ in range(TOLD_MAX):
            try:
                sock.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError as error:  # ENOBUFS: so many that the kernel has dropped some
                log.debug("changes of routes were lost: %s", error)
        self._forget()
        before, self._before = self._before, {}
        elsewhere = set()
        for number, (destination, way) in enumerate(before.items(), 1):
            if self.outgoing(destination) != way:
                elsewhere.add(destination)
            if number % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return frozenset(elsewhere)

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        # Nothing is read here, so that the change is still there for who awaits it.
        if self._told.poll(0):
            self._forget()

    def _forget(self) -> None:
        for destination, way in self._ways.items():
            if destination in self._before or len(self._before) < KEPT_MAX:
                self._before.setdefault(destination, way)
        self._ways.clear()
        self._distinct.clear()
        self._belongs.clear()
        self._mtus.clear()
        try:
            said = self._asking.ask(rtnetlink.GET_ADDRESS, DUMP, rtnetlink.addresses_request())
            found = [rtnetlink.read_address(each.body)[0] for each in said if each.kind == rtnetlink.NEW_ADDRESS]
        except (OSError, NetlinkError) as error:
            log.warning("own addresses cannot be read, the known ones stay: %s", error)
            return
        self._own = frozenset(found)

    def _route(self, destination: PackedAddress, *, whole_route: bool = False) -> rtnetlink.Route | None:
        try:
            said = self._asking.ask(
                rtnetlink.GET_ROUTE, 0, rtnetlink.route_request(destination, whole_route=whole_route)
            )
            return next((rtnetlink.read_route(each.body) for each in said if each.kind == rtnetlink.NEW_ROUTE), None)
        except (OSError, NetlinkError) as error:  # mostly ENETUNREACH: there is no way
            log.debug("no route: %s", error)
            return None

    def _look_way(self, destination: PackedAddress) -> Outgoing | None:
        route = self._route(destination)
        if route is None or not route.interfaces or route.kind not in {rtnetlink.UNICAST, rtnetlink.LOCAL}:
            return None
        interface = route.interfaces[0]
        address = route.source or (destination if route.kind == rtnetlink.LOCAL else None)
        if address is None:
            return None
        mtu = route.mtu or self._mtu(interface)
        way = Outgoing(interface=interface, address=address, mtu=mtu, next_hop=route.gateway)
        return _kept(self._distinct, way, lambda: way)

    def _mtu(self, interface: int) -> int:
        if interface not in self._mtus:
            mtu = _UNKNOWN_MTU
            with suppress(OSError, NetlinkError):
                for said in self._asking.ask(rtnetlink.GET_LINK, 0, rtnetlink.link_request(interface)):
                    mtu = rtnetlink.read_mtu(said.body)
            self._mtus[interface] = mtu
        return self._mtus[interface]

    def _look_belongs(self, source: PackedAddress, prefix: int, interface: int) -> bool:
        bits = len(source) * 8
        if not 0 <= prefix <= bits:
            return False
        rest = (1 << bits - prefix) - 1
        first = int.from_bytes(source) & ~rest
        edges = {first.to_bytes(len(source)), (first | rest).to_bytes(len(source))}
        if prefix < bits - 1:  # a link's own range has its network and broadcast address at the edges
            edges = {(first + 1).to_bytes(len(source)), ((first | rest) - 1).to_bytes(len(source))}
        routes = [self._route(edge, whole_route=True) for edge in edges]
        return all(
            route is not None and route.kind == rtnetlink.UNICAST and interface in route.interfaces for route in routes
        )


_K = TypeVar("_K")


def _kept(known: dict[_K, _T], key: _K, look: Callable[[], _T]) -> _T:
    try:
        return known[key]
    except KeyError:
        if len(known) >= KEPT_MAX:
            known.clear()  # the first ones alone would cost a search among those that went before
        found = known[key] = look()
        return found

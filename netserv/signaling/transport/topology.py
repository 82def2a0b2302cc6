"""What this machine's kernel says of addresses and routes, kept until it says that something has changed.

The kernel answers a question about a route within the call that asks it, in about 10 us, so there is no waiting.
"""

import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self, TypeVar

import trio

from netserv.errors import SystemRefusedError
from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.effects import Outgoing
from netserv.signaling.transport import rtnetlink
from netserv.signaling.transport.netlink import DUMP, READ_BYTES, NetlinkError, NetlinkSocket

log = logging.getLogger(__name__)

KEPT_MAX: Final = 4_096
"Answers of each kind that are kept; of more flows than that the kernel is asked again."
_LOOPBACK4: Final = 127
_UNKNOWN_MTU: Final = 1_280
"Least MTU of IPv6 (RFC 8200 section 5), where an interface is gone before its own can be read."
_T = TypeVar("_T")


class KernelTopology:
    """Answers the GIST node's questions about the network; made by `KernelTopology.open`."""

    def __init__(self, asking: NetlinkSocket, listening: NetlinkSocket) -> None:
        self._asking, self._listening = asking, listening
        self._ways: dict[PackedAddress, Outgoing | None] = {}
        self._belongs: dict[tuple[PackedAddress, int, int], bool] = {}
        self._mtus: dict[int, int] = {}
        self._own: frozenset[PackedAddress] = frozenset()
        self._changes, self._seen = 0, 0
        self._changed = trio.Event()
        self._forget()

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Begin to listen to the kernel.

        Raises:
            SystemRefusedError: it gives no netlink socket.
        """
        try:
            asking = NetlinkSocket(socket.NETLINK_ROUTE)
        except OSError as error:
            raise SystemRefusedError(f"the kernel tells nothing of routes (rtnetlink): {error}") from error
        with asking.socket:
            try:
                listening = NetlinkSocket(socket.NETLINK_ROUTE, rtnetlink.GROUPS)
            except OSError as error:
                raise SystemRefusedError(f"the kernel does not tell of changed routes (rtnetlink): {error}") from error
            with listening.socket:
                listening.socket.setblocking(False)
                topology = cls(asking, listening)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(topology._listen)
                    yield topology
                    nursery.cancel_scope.cancel()

    def outgoing(self, destination: PackedAddress) -> Outgoing | None:
        """The way to a destination; None without a route."""
        return _kept(self._ways, destination, lambda: self._look_way(destination))

    def is_own(self, address: PackedAddress) -> bool:
        """Whether this is an address of this machine."""
        return address in self._own or (len(address) == 4 and address[0] == _LOOPBACK4)

    @property
    def own_addresses(self) -> frozenset[PackedAddress]:
        """All addresses of this machine."""
        return self._own

    def may_come_from(self, source: PackedAddress, prefix: int, interface: int) -> bool:
        """Ingress filter: whether packets of that source range belong on that interface (section 5.8.1.1).

        They do when the routes to the first and to the last address of the range go out there; of a route with several
        ways any is good. A narrower route in between that leads elsewhere is not seen.
        """
        return _kept(self._belongs, (source, prefix, interface), lambda: self._look_belongs(source, prefix, interface))

    async def changed(self) -> None:
        """Return once routes, addresses or links have changed since the last call returned, or do."""
        while self._seen == self._changes:
            await self._changed.wait()
        self._seen = self._changes

    async def _listen(self) -> None:
        sock = self._listening.socket
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                while True:  # a new default route comes with a dozen messages; they are one change
                    sock.recv(READ_BYTES)
            except BlockingIOError:
                pass
            except OSError as error:  # ENOBUFS: so many changes that the kernel has dropped some, which is a change too
                log.debug("changes of routes were lost: %s", error)
            self._forget()
            self._changes += 1
            self._changed.set()
            self._changed = trio.Event()

    def _forget(self) -> None:
        self._ways.clear()
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
        return Outgoing(interface=interface, address=address, mtu=mtu, next_hop=route.gateway)

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
            del known[next(iter(known))]
        found = known[key] = look()
        return found

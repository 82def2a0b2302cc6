"""Outgoing connections of containers: the node connects, to allowed addresses only, and hands the socket over.

A name is looked up once, and the connection goes to the very address that was checked. The node itself, its loopback
and link-local addresses (where cloud metadata lie) are in no prefix, unless the operator has named one on purpose.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

import trio

from netserv.container.box import Box
from netserv.container.messages import Connect, Connected
from netserv.errors import NetservError, UnreachableError
from netserv.forwarding.filters import Prefix

LOOKUP_S: Final = 5.0
CONNECT_S: Final = 10.0
ADDRESSES_MAX: Final = 4
"Tried for one name."
HOST_MAX: Final = 253
CONNECTS_MAX: Final = 64
"Of one container at a time."
_WHY_MAX: Final = 500
_LOOKUPS: Final = 8
"At a time, of all containers: each takes a thread."

_SPECIAL: Final[tuple[Prefix, ...]] = tuple(
    map(
        ip_network,
        (
            # This host, loopback, link-local, multicast, reserved and broadcast (RFC 6890).
            *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
            # The same of IPv6, and addresses that hold one of IPv4: compatible, NAT64, 6to4.
            *("::/96", "fe80::/10", "ff00::/8", "64:ff9b::/96", "2002::/16"),
        ),
    )
)
"Only a prefix that lies within one of these allows addresses of it."

Address: TypeAlias = IPv4Address | IPv6Address
_limiter: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("lookups of containers")


def allowed(address: Address, prefixes: Sequence[Prefix], *, own: bool) -> bool:
    """Whether a container may connect to an address.

    Args:
        address: that the connection would go to.
        prefixes: of the account.
        own: whether it is one of this machine.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    special = [network for network in _SPECIAL if network.version == address.version and address in network]
    for prefix in prefixes:
        if address.version != prefix.version or address not in prefix:
            continue
        if own and prefix.prefixlen < prefix.max_prefixlen:
            continue
        if all(_within(prefix, network) for network in special):
            return True
    return False


def _within(prefix: Prefix, network: Prefix) -> bool:
    if isinstance(prefix, IPv4Network):
        return isinstance(network, IPv4Network) and prefix.subnet_of(network)
    return isinstance(network, IPv6Network) and prefix.subnet_of(network)


class Connects:
    """Connections of one container that are under way."""

    def __init__(self) -> None:
        self._count = 0

    def ask(self, nursery: trio.Nursery, box: Box, wish: Connect, prefixes: Sequence[Prefix]) -> None:
        """Connect for a container, which gets its socket or the reason."""
        self._count += 1
        nursery.start_soon(self._answer, box, wish, prefixes, self._count <= CONNECTS_MAX)

    async def _answer(self, box: Box, wish: Connect, prefixes: Sequence[Prefix], room: bool) -> None:
        try:
            if not room:
                too_many = f"more than {CONNECTS_MAX} connections at a time; try again later"
                await box.say(Connected(wish.number, too_many))
                return
            with await connect(wish.host, wish.port, prefixes) as sock, suppress(NetservError):
                await box.say(Connected(wish.number), [sock.fileno()])
        except UnreachableError as error:
            with suppress(NetservError):
                await box.say(Connected(wish.number, str(error)[:_WHY_MAX]))
        finally:
            self._count -= 1


async def connect(host: str, port: int, prefixes: Sequence[Prefix]) -> socket.socket:
    """A connected TCP socket.

    Raises:
        UnreachableError: not allowed, or nobody there.
    """
    if not 1 <= port <= 65_535 or not 0 < len(host) <= HOST_MAX or not host.isprintable():
        raise UnreachableError(f"{host[:80]!r} port {port} is no place to connect to")
    if not prefixes:
        raise UnreachableError("this publisher may connect nowhere; the operator says where")
    last = "it has no address"
    for address in (await _addresses(host))[:ADDRESSES_MAX]:
        if not allowed(address, prefixes, own=is_own(address)):
            last = f"{address} is not in the prefixes that this publisher may connect to"
            continue
        try:
            return await _connected(address, port)
        except OSError as error:
            last = str(error)
    raise UnreachableError(last)


async def _connected(address: Address, port: int) -> socket.socket:
    with trio.socket.socket(_family(address), socket.SOCK_STREAM) as sock:
        with trio.move_on_after(CONNECT_S) as scope:
            await sock.connect((str(address), port))
        if scope.cancelled_caught:
            raise TimeoutError(f"{address} port {port} has not answered in {CONNECT_S:g} s")
        return socket.socket(fileno=sock.detach())


async def _addresses(host: str) -> list[Address]:
    with suppress(ValueError):
        return [ip_address(host)]
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_LOOKUPS)
        _limiter.set(limiter)
    found = None
    with trio.move_on_after(LOOKUP_S):
        try:
            found = await trio.to_thread.run_sync(_look_up, host, abandon_on_cancel=True, limiter=limiter)
        except (OSError, UnicodeError) as error:
            raise UnreachableError(f"{host} has no address: {error}") from error
    if found is None:
        raise UnreachableError(f"{host} was not found within {LOOKUP_S:g} s")
    return found


def _look_up(host: str) -> list[Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def is_own(address: Address) -> bool:
    """Whether an address is one of this machine's: only such a one can be bound to."""
    if address.is_unspecified or address.is_multicast:
        return False  # can be bound to by anybody
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6

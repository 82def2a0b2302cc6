"""The bootstrap server as a core without I/O (thesis section 2.3).

It keeps the list of nodes that have joined and gives one of them, at random, to each node that asks. The thesis'
list never shrinks and its nodes never lie; here an entry lives on a lease that reports renew, and nobody enters an
address at which it does not receive.
"""

import math
from collections import Counter, OrderedDict
from ipaddress import IPv6Address, ip_address
from random import Random
from typing import Final

import msgspec

from dhtboot.bootstrap_config import BootstrapConfig
from dhtboot.bootstrap_messages import (
    AddressChallenge,
    BootstrapMessage,
    BootstrapPacket,
    ContactReply,
    ContactRequest,
    JoinAccepted,
    JoinReport,
    LeaveReport,
    TryLater,
)
from dhtboot.cookies import CookieJar
from dhtboot.core import Core
from dhtboot.effects import Effect, Send
from dhtboot.ids import ID_BYTES, Address, NodeRef, id_from
from dhtboot.limits import TokenBuckets

FOUNDING_RETRY_S: Final = 1.0
"While the first node begins, others ask again after so long: it takes one round trip, not the whole time it may take."
_SITE_PREFIX_BITS: Final = 64
"One IPv6 site has at least so much of an address (RFC 4291 section 2.5.4): its addresses count as one source."


class BootstrapStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows and has done."""

    nodes: int
    "Nodes on the list."
    uptime_s: float
    contacts_given: int
    first_nodes: int
    "Askers that were told to begin the overlay."
    reports: int
    challenged: int
    "Packets that had to prove their address first."
    rate_limited: int
    refused: int
    "Reports beyond the limit of their source or of the table."
    expired: int
    left: int
    ignored: int
    "Packets that no node would send."


class _Pool:
    """Entries among which one is drawn, in constant time."""

    __slots__ = ("_at", "addresses")

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self._at: dict[Address, int] = {}

    def add(self, address: Address) -> None:
        self._at[address] = len(self.addresses)
        self.addresses.append(address)

    def remove(self, address: Address) -> None:
        at = self._at.pop(address)
        last = self.addresses.pop()
        if last != address:
            self.addresses[at] = last
            self._at[last] = at

    def draw(self, rng: Random, but: Address) -> Address | None:
        """A random entry other than `but`."""
        at = self._at.get(but)
        count = len(self.addresses) - (at is not None)
        if not count:
            return None
        drawn = rng.randrange(count)
        # The last entry stands in for the one left out: still each of the others with the same probability.
        return self.addresses[-1] if drawn == at else self.addresses[drawn]


class BootstrapServer(Core):
    """Knows who has joined.

    Args:
        config: settings.
        rng: source of all chance, unpredictable on a real network.
        now: time of creation.
    """

    def __init__(self, config: BootstrapConfig, rng: Random, now: float) -> None:
        self.counters: Counter[str] = Counter()
        self._config = config
        self._rng = rng
        self._started_at = now
        self._cookies = CookieJar(rng, rotation_s=config.cookie_rotation_s, now=now)
        self._limiter = TokenBuckets(rate_per_s=config.requests_per_s, burst=config.requests_burst)
        # Node and end of its lease, the soonest to end first; a plain dict is slow at its front after many removals.
        self._nodes: OrderedDict[Address, tuple[NodeRef, float]] = OrderedDict()
        self._per_source: Counter[str] = Counter()
        self._pools: dict[tuple[bool, bool], _Pool] = {
            (loopback, ipv6): _Pool() for loopback in (False, True) for ipv6 in (False, True)
        }
        self._founder: Address | None = None
        self._founding_until = -math.inf

    def __len__(self) -> int:
        return len(self._nodes)

    # ---- driver's side -------------------------------------------------------------------------------------------

    def receive(self, packet: BootstrapPacket, source: Address, now: float) -> list[Effect]:
        """Act on one packet from the network."""
        if len(packet.sender) != ID_BYTES:  # also keeps every request larger than a third of its answer
            self.counters["ignored"] += 1
            return []
        answer = self._answer(packet, source, now)
        if answer is None:
            return []
        return [Send(source, BootstrapPacket(b"", packet.request_id, answer))]

    def tick(self, now: float) -> list[Effect]:
        """Forget those whose lease has ended."""
        while self._nodes:
            address, (_node, until) = next(iter(self._nodes.items()))
            if until > now:
                break
            self._forget(address)
            self.counters["expired"] += 1
        return []

    def next_deadline(self) -> float:
        """When to call `tick` next."""
        for _node, until in self._nodes.values():
            return until
        return math.inf

    def status(self, now: float) -> BootstrapStatus:
        """What the server knows and has done."""
        counted = {
            name: self.counters[name] for name in BootstrapStatus.__struct_fields__ if name not in ("nodes", "uptime_s")
        }
        return BootstrapStatus(nodes=len(self._nodes), uptime_s=round(now - self._started_at, 3), **counted)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _answer(self, packet: BootstrapPacket, source: Address, now: float) -> BootstrapMessage | None:
        origin = source_of(source)
        if not isinstance(packet.message, ContactRequest | JoinReport | LeaveReport):
            self.counters["ignored"] += 1
            return None
        wait_s = self._limiter.take(origin, now)
        if wait_s:
            self.counters["rate_limited"] += 1
            return TryLater(wait_s)
        verified = self._cookies.check(packet.cookie, source, now)
        match packet.message:
            case ContactRequest():
                return self._on_contact_request(source, now, verified=verified)
            case JoinReport() if verified:
                return self._on_join_report(NodeRef(id_from(packet.sender), source), origin, now)
            case LeaveReport():
                if verified and source in self._nodes:
                    self._forget(source)
                    self.counters["left"] += 1
                return None
            case _:
                return self._challenge(source, now)

    def _challenge(self, source: Address, now: float) -> AddressChallenge:
        self.counters["challenged"] += 1
        return AddressChallenge(self._cookies.make(source, now))

    def _on_contact_request(self, source: Address, now: float, *, verified: bool) -> BootstrapMessage:
        contact = self._draw(source)
        if contact is not None:
            self.counters["contacts_given"] += 1
            return ContactReply(contact, self._cookies.make(source, now))
        # Only one node may begin the overlay, else there are two for ever; and it must be a real one.
        if now < self._founding_until and source != self._founder:
            return TryLater(min(FOUNDING_RETRY_S, self._founding_until - now))
        if not verified:
            return self._challenge(source, now)
        self._founder = source
        self._founding_until = now + self._config.founding_s
        self.counters["first_nodes"] += 1
        return ContactReply(None, self._cookies.make(source, now))

    def _draw(self, asker: Address) -> NodeRef | None:
        """A random contact that the asker can probably reach."""
        loopback, ipv6 = _pool_of(asker)
        # What is on this host's loopback is of no use elsewhere; another family may do for a host that has both.
        choices = [(loopback, ipv6), (loopback, not ipv6)]
        if loopback:
            choices += [(False, ipv6), (False, not ipv6)]
        for choice in choices:
            address = self._pools[choice].draw(self._rng, asker)
            if address is not None:
                return self._nodes[address][0]
        return None

    def _on_join_report(self, node: NodeRef, origin: str, now: float) -> BootstrapMessage:
        known = self._nodes.pop(node.address, None)
        if known is None:
            full = len(self._nodes) >= self._config.nodes_max
            if full or self._per_source[origin] >= self._config.nodes_per_source_max:
                self.counters["refused"] += 1
                return TryLater(self._config.lease_s)
            self._per_source[origin] += 1
            self._pools[_pool_of(node.address)].add(node.address)
        self._nodes[node.address] = (node, now + self._config.lease_s)  # a new lease ends last: to the end
        self._founding_until = -math.inf
        self.counters["reports"] += 1
        return JoinAccepted(self._config.lease_s)

    def _forget(self, address: Address) -> None:
        del self._nodes[address]
        self._pools[_pool_of(address)].remove(address)
        origin = source_of(address)
        self._per_source[origin] -= 1
        if not self._per_source[origin]:
            del self._per_source[origin]


def source_of(address: Address) -> str:
    """Whom a limit counts: the host, or the site of an IPv6 address."""
    host = address[0]
    if ":" not in host:
        return host
    prefix = int(IPv6Address(host)) >> (128 - _SITE_PREFIX_BITS)
    return f"{prefix:016x}/{_SITE_PREFIX_BITS}"


def _pool_of(address: Address) -> tuple[bool, bool]:
    host = ip_address(address[0])
    return host.is_loopback, host.version == 6

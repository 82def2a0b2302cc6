"""The broker's engine in C, where it was built: `_packetpath.c` in the words of `engine.Engine`."""

import socket
from ipaddress import ip_network
from typing import Any, Final

from netserv.forwarding.base import COUNTERS
from netserv.forwarding.filters import PROTOCOLS, Prefix
from netserv.forwarding.matching import Rule

try:
    from netserv.forwarding import _packetpath
except ImportError:  # installed without a compiler
    BUILT = False
else:
    BUILT = True
_ANYWHERE: Final = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class CompiledEngine:
    """An `Engine` by the compiled part.

    Args:
        deadline_s: longest time that a module has.
        coalesce_s: longest time that packets wait for others before a busy container is woken.
        raw: descriptors of the raw sockets of IPv4 and IPv6; -1 where there is none.
        sequence: where sequence numbers of rings begin.
        queue_max: packets that wait in a queue.
    """

    def __init__(
        self, deadline_s: float, coalesce_s: float, raw: tuple[int, int], *, sequence: int = 0, queue_max: int = 4_096
    ) -> None:
        self.core: Any = _packetpath.Engine(deadline_s, coalesce_s, sequence, *raw)
        self._queue_max = queue_max

    def add_ring(self, ring: int, memory: int, wake_box: int, wake_broker: int) -> None:
        """Use a ring; the descriptors are the engine's from now on."""
        self.core.add_ring(ring, memory, wake_box, wake_broker)

    def remove_ring(self, ring: int) -> None:
        """Forget a ring; packets in it go by the policy of their filter."""
        self.core.remove_ring(ring)

    def add_filter(self, rule: Rule, ring: int, later: tuple[int, ...]) -> None:
        """Know a filter, or know it anew."""
        wanted = rule.wanted
        source = wanted.source or _ANYWHERE[wanted.destination.version]
        self.core.add_filter(
            rule.number,
            ring,
            PROTOCOLS[wanted.proto],
            wanted.reverse,
            rule.closed,
            wanted.ports,
            _pair(wanted.destination),
            _pair(source),
            tuple((each.offset, each.data) for each in wanted.prematch),
            tuple(map(_pair, rule.allowed)),
            later,
        )

    def remove_filter(self, number: int) -> None:
        """Forget a filter; packets of it that still wait go on."""
        self.core.remove_filter(number)

    def add_queue(self, number: int, queue: int, sock: socket.socket) -> None:
        """Read the queue of a filter."""
        self.core.add_queue(number, queue, sock.detach(), self._queue_max)

    def remove_queue(self, number: int) -> None:
        """Read what is in the queue of a filter, and close it; without its filter, which goes first, all goes on."""
        self.core.remove_queue(number)

    def run(self, control: int, patience_s: float) -> None:
        """Move packets until a descriptor is readable, or the time is up; it never is where that is negative."""
        self.core.run(control, patience_s)

    def counters(self, number: int) -> dict[str, int]:
        """Of a filter."""
        return dict(zip(COUNTERS, self.core.counters(number), strict=True))

    def ring_counters(self, ring: int) -> dict[str, int]:
        """Of a ring."""
        return dict(zip(("foreign", "rubbish", "late", "lent"), self.core.ring_counters(ring), strict=True))

    def close(self) -> None:
        """Let go on what waits, and close everything."""
        self.core.close()


def _pair(prefix: Prefix) -> tuple[bytes, int]:
    return prefix.network_address.packed, prefix.prefixlen

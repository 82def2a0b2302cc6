"""Packets of one module to its functions, by protocol, port and first bytes (thesis 5.3: the packet dispatcher block).

The node's own dispatcher gives a module the packets of its filter; this one is for modules that do several things with
them:

    packets = PacketDispatcher()

    class Guard(Activator):
        def start(self, context): ...
        process = staticmethod(packets.process)

    @packets.on(proto=UDP, port=5060, prefix=b"NOTIFY ")
    def keep_alive(packet): return DROP
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from netserv.errors import LocalProtocolError
from netserv.modules.api import ACCEPT, Answer
from netserv.modules.packets import TCP, UDP, Packet

__all__ = ["TCP", "UDP", "PacketDispatcher"]

RULES_MAX: Final = 256
"Each may be looked at for each packet."

Function: TypeAlias = Callable[[Packet], Answer]


class PacketDispatcher:
    """Rules, the first of which that fits decides.

    Args:
        default: what becomes of packets that none fits.
    """

    def __init__(self, default: Answer = ACCEPT) -> None:
        self._default = default
        self._by_port: dict[int | None, list[tuple[int | None, bytes, Function]]] = {}
        self._count = 0

    def on(
        self, *, proto: int | None = None, port: int | None = None, prefix: bytes = b""
    ) -> Callable[[Function], Function]:
        """Say who treats packets. Rules with a port go before those without one, else in their order.

        Args:
            proto: `UDP`, `TCP` or another number of IP.
            port: destination.
            prefix: of the payload.

        Raises:
            LocalProtocolError: too many rules.
        """

        def add(function: Function) -> Function:
            if self._count >= RULES_MAX:
                raise LocalProtocolError(f"a dispatcher has at most {RULES_MAX} rules")
            self._count += 1
            self._by_port.setdefault(port, []).append((proto, prefix, function))
            return function

        return add

    def process(self, packet: Packet) -> Answer:
        """Treat a packet."""
        for rules in (self._by_port.get(packet.dport), self._by_port.get(None)):
            for proto, prefix, function in rules or ():
                if (proto is None or proto == packet.proto) and (not prefix or packet.payload[: len(prefix)] == prefix):
                    return function(packet)
        return self._default

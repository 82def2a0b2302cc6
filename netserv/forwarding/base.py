"""The seam between a node and how it has packets treated by modules.

A plane is an async context manager: inside it filters can be installed, and after it nothing of it is left in the
kernel.
"""

from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias

import msgspec

from netserv.forwarding.filters import PacketFilter, Prefix
from netserv.forwarding.ring import Ring
from netserv.modules.manifest import FailurePolicy

DEADLINE_S: Final = 0.005
"Longest time that a module has for a packet: 50 times the 92 us that the thesis' container added (section 6.3)."
COALESCE_S: Final = 0.0002
"Longest time that packets wait for others before a busy container is woken."
FILTERS_MAX: Final = 4_096
"Of one node: 40 publishers with 100 filters each; one NFQUEUE each in the netfilter plane."
PORTS_MAX: Final = 64
"Of one filter; iptables takes 15 in a rule."
PREMATCHES_MAX: Final = 4
"Of one filter: each costs every packet of it some nanoseconds in the kernel."
PREMATCH_OFFSET_MAX: Final = 255
FLOWS_MAX: Final = 65_536
"Accepted for good or counted; of more the longest unused are forgotten, and their packets go to the module again."

PLANES: Final = ("xdp", "netfilter")
"In the order of `auto`."
XDP_STACK: Final = "xdp+stack"
"The plane `xdp`, but what modules let pass is given back to the kernel's stack."
PLANE_NAMES: Final = (*PLANES, XDP_STACK)

Counters: TypeAlias = dict[str, int]
COUNTERS: Final = (
    "packets",
    "bytes",
    "accepted",
    "dropped",
    "changed",
    "injected",
    "late",
    "refused",
    "full",
    "absent",
    "rubbish",
    "passed",
    "cached",
)
"""Of each filter. What came: `packets`, `bytes`.
What the module said in time: `accepted`, `dropped`, `changed`, `injected`. What went by its failure policy: `late`
(deadline), `full` (no room in the ring, or a packet over its slots), `absent` (no container), `rubbish` (an answer that
is none), and of those in `changed` and `injected` `refused` (egress check). `passed`: packets in the queue of the
filter that go to no module: fragments, IP options, others than those of the prematch. `cached`: accepted with a word
about the whole flow earlier."""


class PlaneConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a plane."""

    deadline_s: float = DEADLINE_S
    coalesce_s: float = COALESCE_S
    queue_base: int = 27_000
    "netfilter: the first NFQUEUE number; those that another program reads are left out."
    queue_max: int = 4_096
    "netfilter: packets that wait in the kernel for the broker, for each filter."
    interfaces: tuple[str, ...] = ()
    "xdp: those to watch; none: all Ethernet interfaces that are there."
    flows_max: int = FLOWS_MAX
    "xdp: flows that the kernel knows; for tests."
    compiled: bool = True
    "Whether the broker may use its compiled part; for tests."


class RingCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a container does with its ring."""

    foreign: int = 0
    "Answers about packets that it does not hold."
    rubbish: int = 0
    late: int = 0
    lent: int = 0
    "Slots in its hands now."


class ForwardingPlane(Protocol):
    """Hands packets to modules, and does what they say."""

    name: str
    "`netfilter`, `xdp` or `xdp+stack`."
    warnings: tuple[str, ...]
    "What is not as it should be, for the administrator."

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            SystemRefusedError: this machine does not give what is needed.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove everything; what waits for a verdict goes its way."""
        ...

    async def install(
        self, wanted: PacketFilter, ring: Ring | None, policy: FailurePolicy, allowed: tuple[Prefix, ...]
    ) -> int:
        """Hand packets to a container from now on; returns the number of the filter, which is never used again.

        Args:
            wanted: which packets.
            ring: of the container; None where there is none for now.
            policy: what becomes of packets that it does not treat.
            allowed: prefixes of its publisher, for what it sends.

        Raises:
            LocalProtocolError: the filter is out of bounds.
            SystemRefusedError: the kernel does not take it; nothing is left in place.
        """
        ...

    async def attach(self, number: int, ring: Ring | None) -> None:
        """Have packets of a filter go to another ring, after its container was started anew; None: there is none now.

        Raises:
            LocalProtocolError: there is no such filter.
        """
        ...

    async def remove(self, number: int) -> None:
        """Take a filter away; packets of it that wait go their way.

        Raises:
            LocalProtocolError: there is no such filter.
        """
        ...

    async def counters(self) -> dict[int, Counters]:
        """Of each filter, by its number: `COUNTERS`."""
        ...

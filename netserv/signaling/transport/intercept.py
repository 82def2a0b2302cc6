"""The seam between a node and how it catches GIST packets that pass it on their way to somebody else."""

from collections import Counter
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.config import NSLP_NETSERV
from netserv.signaling.gist.effects import Caught

NSLPS_MAX: Final = 10
"Values that one `u32` match of iptables compares with; a node hosts one application, or a few."
RATE_MAX: Final = 10_000
"A second, which is the most that the match `limit` of iptables knows."
_OWN_TABLES: Final = frozenset({253, 254, 255})


class InterceptConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is caught, and which numbers of the machine it takes."""

    nslp_ids: tuple[int, ...] = (NSLP_NETSERV,)
    "Applications hosted here; packets of others pass by in the kernel."
    mark: int = 0x4E04BDA5
    "tproxy: the mark of caught packets; the magic number of GIST, which nobody else takes by chance."
    table: int = 270
    "tproxy: the routing table, and the preference of the rule, that bring them to this machine."
    queue: int = 270
    "nfqueue: the number of the queue."
    queue_max: int = 4_096
    "nfqueue: packets that wait for their verdict; of 512 bytes each they are 2 MB. More pass by unseen."
    newcomers_per_s: int = 1_500
    "Packets of any source that the kernel lets through; 0: all. A core treats some 5,000 Queries a second."
    known_per_s: int = 4_500
    "More of sources that have sent before in the last seconds."

    def __post_init__(self) -> None:
        if not 0 < len(self.nslp_ids) <= NSLPS_MAX:
            raise LocalProtocolError(f"a node catches for 1 to {NSLPS_MAX} NSLPIDs, not {len(self.nslp_ids)}")
        if any(not 0 <= nslp_id <= 0xFFFF for nslp_id in self.nslp_ids):
            raise LocalProtocolError("an NSLPID has 16 bits")
        if not 0 < self.mark <= 0xFFFFFFFF or not 0 <= self.queue <= 0xFFFF:
            raise LocalProtocolError("a mark has 32 bits and is not 0, the number of a queue has 16")
        if not 0 < self.table < 32_766 or self.table in _OWN_TABLES:
            raise LocalProtocolError("a routing table of ours is 1 to 32,765, without 253 to 255, which Linux uses")
        if not 0 <= self.newcomers_per_s <= RATE_MAX or not 0 < self.known_per_s <= RATE_MAX:
            raise LocalProtocolError(f"the kernel lets through 1 to {RATE_MAX} packets a second")
        if not 0 < self.queue_max <= 65_536:
            raise LocalProtocolError("1 to 65,536 packets wait for their verdict")


class Interceptor(Protocol):
    """Catches packets in transit. Each one caught is to be given back, by `forward` or `discard`, in any order.

    An async context manager: rules are in place inside it, and gone after it.
    """

    name: str
    "`tproxy` or `nfqueue`."
    families: tuple[int, ...]
    "IP versions that are caught."
    warnings: tuple[str, ...]
    "What is not as it should be, for the administrator."

    @property
    def counters(self) -> Counter[str]:
        """What happened, by name: `caught`, `forwarded`, `discarded`, and what went wrong."""
        ...

    async def __aenter__(self) -> Self:
        """Begin to catch.

        Raises:
            SystemRefusedError: this machine does not give what is needed.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove every rule; what was caught and not looked at yet goes on its way."""
        ...

    async def ready(self) -> None:
        """Wait until there are packets to take; they are to be taken at once, all of them."""
        ...

    def take(self) -> Caught | None:
        """One of those that have come; None behind the last."""
        ...

    def forward(self, caught: Caught, payload: bytes) -> None:
        """Send it on: IP TTL one less, another payload, everything else as it was."""
        ...

    def discard(self, packet: Caught) -> None:
        """Let it go no further."""
        ...

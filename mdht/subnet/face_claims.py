"""Claims to a node's identifier by another founding of it (mDHT design, section 1).

When all hosts of a subnet are gone, the next one that comes founds it anew, under the same identifier. Others still
know hosts of the former founding; it must be seen first that these are gone, else anybody could take over a live node.
"""

import math
from typing import Final

import msgspec

from dhtboot.ids import Address
from mdht.subnet.face_messages import OverlayDatagram
from mdht.subnet.messages import NodeEntry

CLAIMS_MAX: Final = 64
"Under way at once; of more, others are left out, and come again."


class Claim(msgspec.Struct, frozen=True):
    """One of them."""

    entry: NodeEntry
    "The node as it is now, if the claim is right."
    expires_at: float
    "When the hosts of the former founding have been silent for long enough."
    datagram: OverlayDatagram | None = None
    "What the claimant has said, to be heard then."
    source: Address = ("", 0)


class Claims:
    """Those under way, by the node's pseudo-address.

    Args:
        wait_s: hosts of the former founding have so long to show that they are there.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._claims: dict[Address, Claim] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def note(
        self,
        node: Address,
        entry: NodeEntry,
        now: float,
        datagram: OverlayDatagram | None = None,
        source: Address = ("", 0),
    ) -> bool:
        """Somebody claims a node, or is said to; True when its former hosts are to be asked."""
        known = self._claims.get(node)
        if known is None and len(self._claims) >= CLAIMS_MAX:
            return False
        if known is None:
            self._claims[node] = Claim(entry, now + self._wait_s, datagram, source)
        elif datagram is not None:
            self._claims[node] = Claim(entry, known.expires_at, datagram, source)
        return known is None

    def refute(self, node: Address) -> Claim | None:
        """A host of the former founding lives; the claim that was wrong, if there was one."""
        return self._claims.pop(node, None)

    def expired(self, now: float) -> list[tuple[Address, Claim]]:
        """Claims that nobody has refuted."""
        found = [(node, claim) for node, claim in self._claims.items() if claim.expires_at <= now]
        for node, _ in found:
            del self._claims[node]
        return found

    def next_deadline(self) -> float:
        """When to look at `expired`; `math.inf` for never."""
        return min(claim.expires_at for claim in self._claims.values()) if self._claims else math.inf

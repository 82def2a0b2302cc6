"""How a lookup of Chord ended."""

from collections.abc import Callable
from typing import Final

import msgspec

from dhtboot.ids import NodeRef


class Outcome(msgspec.Struct, frozen=True):
    """How a lookup ended."""

    closest: tuple[NodeRef, ...]
    "The responsible node and its successors; empty when it failed, or when `mine` and the successors are unknown."
    mine: bool
    "The asker itself is responsible; `closest` are its successors."
    failed: bool
    hops: int
    "Steps from the asker to the responsible node: 0 when it is the asker."


FAILED: Final = Outcome((), mine=False, failed=True, hops=0)

OnOutcome = Callable[[Outcome, float], None]

"""A host on one of the links of `mdht.experiments.internet`: what it keeps, and what is counted of it."""

import math
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.host import SubnetHost
from mdht.subnet.identity import Subnet

NEVER: Final = 1 << 62


class SimHost:
    """One host at its place.

    Attributes:
        number: by which its name and its address are made.
        link: where it is.
        core: None once it has crashed, or has left for good.
        incarnation: number of its start.
        kept: the subnet that it is in, or was in the last time, and since when.
        born_at: when it was started.
        ready_at: when it could first answer for its subnet, infinite as long as it cannot.
        ready: whether it answers for its subnet now.
        sent_here: messages to the link.
        sent_away: messages to other subnets, and to the bootstrap server.
    """

    def __init__(self, number: int, link: int, address: Address, now: float) -> None:
        self.number = number
        self.link = link
        self.address = address
        self.core: SubnetHost | None = None
        self.incarnation = 1
        self.kept: tuple[Subnet, float] | None = None
        self.ended_at = math.inf
        self.born_at = now
        self.ready_at = math.inf
        self.ready = False
        self.sent_here = self.sent_away = 0
        self.seq = 0
        self.wakes_at = NEVER


def structural_changes(host: SimHost) -> int:
    """Found by one host itself."""
    return 0 if host.core is None or host.core.part is None else host.core.part.step.state.changes.made

"""Addresses where hosts of this link may be who are no members: those are said hello to by unicast (section 12)."""

import math
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from dhtboot.ids import Address

PEERS_MAX: Final = 64
"As many as get copies of what is for all; of more hearsay the oldest is forgotten, and more configuration refused."
HELLOS_MAX: Final = 6
"To a peer of hearsay that does not answer: three when this host starts, and for a while after that."


class Peers:
    """Those that one host knows.

    Args:
        interval_s: between two hellos to one that is no member.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._lasting: dict[Address, None] = {}
        self._hearsay: OrderedDict[Address, int] = OrderedDict()
        self._due_at = math.inf

    def add(self, address: Address, now: float, *, lasting: bool = False) -> None:
        """Take one in, and say hello to it at once.

        Args:
            address: on the link.
            now: the time.
            lasting: whether it is asked for ever, since a user has named it.
        """
        if address in self._lasting or address in self._hearsay:
            return
        if lasting:
            if len(self._lasting) >= PEERS_MAX:
                return
            self._lasting[address] = None
        else:
            self._hearsay[address] = 0
            if len(self._hearsay) > PEERS_MAX:
                self._hearsay.popitem(last=False)
        self._due_at = now

    def strangers(self, members: Collection[Address], now: float) -> list[Address]:
        """Those who are to get a hello now, all that are no members; the next ones are due an interval later."""
        for address in [*self._hearsay]:
            self._hearsay[address] += 1
            if address in members or self._hearsay[address] > HELLOS_MAX:
                del self._hearsay[address]
        lasting = [address for address in self._lasting if address not in members]
        self._due_at = now + self._interval_s if self._lasting or self._hearsay else math.inf
        return [*lasting, *self._hearsay]

    def next_deadline(self) -> float:
        """When somebody is due; `math.inf` for never."""
        return self._due_at

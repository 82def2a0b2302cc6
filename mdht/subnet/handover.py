"""How a host that leaves gives away what it holds (mDHT design, sections 6 and 9)."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from mdht.subnet.carrying_out import CarryingOut
from mdht.subnet.commons import Commons
from mdht.subnet.putting import Putting
from mdht.subnet.slices import Slices
from mdht.subnet.store_effects import HandedOver
from mdht.subnet.transfers import Urgency

TRIES: Final = 2
"Heirs of one key that may fail: there are ten seconds for all."


class HandOver:
    """One host, when it leaves.

    Args:
        commons: who gets what, who is there, what this host holds.
        carrying: sends it.
        slices: judges many keys.
        putting: puts under way, which end before.

    Attributes:
        leaving: whether this host takes nothing new any more.
    """

    def __init__(self, commons: Commons, carrying: CarryingOut, slices: Slices, putting: Putting) -> None:
        self.leaving = False
        self._commons, self._policy, self._stock = commons, commons.policy, commons.stock
        self._config, self._counters, self._out = commons.config, commons.counters, commons.out
        self._carrying, self._slices, self._putting = carrying, slices, putting
        self._tried: Counter[bytes] = Counter()
        self._failed = False
        self._end_at = math.inf

    def begin(self, now: float) -> None:
        """Give all away; `HandedOver` follows."""
        self.leaving = True
        self._end_at = now + self._config.hand_over_s
        others = [hid for hid in self._commons.ready() if hid != self._commons.me]
        if not others:
            self._failed = len(self._stock) > 0
        elif not self._slices.add(lambda: self._stock.keys, self._judge, now, urgent=True):
            self._failed = True

    def on_settled(self, key: bytes, now: float, *, well: bool) -> None:
        """A transfer has ended: one that failed is made to whoever takes the place now."""
        if self._end_at == math.inf or well:
            return
        self._tried[key] += 1
        if self._tried[key] > TRIES or not self._slices.add(lambda: [key], self._judge, now, urgent=True):
            self._failed = True

    def tick(self, now: float) -> None:
        """Is all done, or the time over?"""
        if self._end_at == math.inf:
            return
        done = not len(self._slices) and not len(self._carrying.copying) and not len(self._putting)
        if done or now >= self._end_at:
            self._counters["hand_overs_cut_off"] += not done
            self._end_at = math.inf
            self._putting.give_up()
            self._out.append(HandedOver(complete=done and not self._failed))

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; the end of a transfer may come before."""
        return self._end_at

    def _judge(self, keys: Sequence[bytes], now: float) -> None:
        held = [key for key in keys if key in self._stock.keys]
        actions = self._policy.on_leave(self._commons.me, self._commons.scene(now, held))
        self._carrying.perform(actions, now, Urgency.HAND_OVER)

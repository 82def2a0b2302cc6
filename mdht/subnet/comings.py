"""Siblings that come and go, as far as the records are concerned (mDHT design, section 9)."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from mdht.subnet.anti_entropy import AntiEntropy
from mdht.subnet.asking import Asking
from mdht.subnet.bounded import remember
from mdht.subnet.carrying_out import CarryingOut
from mdht.subnet.commons import Commons
from mdht.subnet.messages import Bye, State
from mdht.subnet.newcomer import Newcomer
from mdht.subnet.policies import Action, Scene, Single
from mdht.subnet.slices import Slices

WHOLE_S: Final = 4.0
"After the last host has come back from a split: by then what lay where it does not belong has been handed on."
JOINING_MAX: Final = 1_024
"Hosts that come, as many as a subnet has members."
_ByPolicy = Callable[[bytes, Scene], list[Action]]
"""`on_join`, `on_leave` or `on_dead` of a policy."""


class Comings:
    """What one host does about them.

    Args:
        commons: what belongs where, who is there, what this host holds.
        carrying: what the policy asks for is done there.
        asking: gives up questions to those who are gone.
        newcomer: asks those who come while it lists.
        anti_entropy: compares with those who come.
        slices: judges many keys.
    """

    def __init__(
        self,
        commons: Commons,
        carrying: CarryingOut,
        asking: Asking,
        newcomer: Newcomer,
        anti_entropy: AntiEntropy,
        slices: Slices,
    ) -> None:
        self._commons, self._policy, self._stock = commons, commons.policy, commons.stock
        self._carrying, self._asking, self._newcomer = carrying, asking, newcomer
        self._anti_entropy, self._slices = anti_entropy, slices
        self._here: set[bytes] = set()
        "Siblings that are READY or were so, and are not known to be gone."
        self._going: dict[bytes, float] = {}
        "Siblings that have left, until it is known whether they have handed over."
        self._joining: OrderedDict[bytes, None] = OrderedDict()
        "Siblings that ask others for what belongs to them before they are READY."
        self._whole_at = math.inf
        self._swept_epoch = -1
        self._sweep_at = 0.0

    def on_member(self, hid: bytes, state: State, now: float) -> None:
        """A member, this host perhaps, has become something else."""
        if hid == self._commons.me:
            if state is State.READY:
                self._anti_entropy.start(now)
            return
        match state:
            case State.READY:
                self._came(hid, now)
            case State.LEFT if hid in self._here:
                self._going[hid] = now
            case State.DEAD | State.LEFT | State.JOINING:
                # One that joins anew has lost what it had.
                if state is State.JOINING:
                    remember(self._joining, hid, None, JOINING_MAX)
                self._gone(hid, self._policy.on_dead, now)
            case State.LEAVING | State.SUSPECT:
                pass

    def on_bye(self, hid: bytes, bye: Bye, now: float) -> None:
        """One that has left says whether it has handed over; else it counts as dead."""
        if hid in self._going:
            self._gone(hid, self._policy.on_leave if bye.handed_over else self._policy.on_dead, now)

    def tick(self, now: float) -> None:
        """Act on the time."""
        for hid in [hid for hid, at in self._going.items() if at < now]:
            self._gone(hid, self._policy.on_dead, now)
        if now >= self._whole_at:
            self._whole_at = math.inf
            for hid in self._commons.ready():
                if hid != self._commons.me:
                    self._anti_entropy.soon(hid, now)
        if self._unswept and now >= self._sweep_at:
            # After the members have changed, look once whether all that is here belongs here.
            self._sweep_at = now + self._commons.config.compare_s
            self._swept_epoch = self._commons.membership.view.epoch
            self._slices.add(lambda: self._stock.keys, self._carrying.look, now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        going = math.nextafter(min(self._going.values()), math.inf) if self._going else math.inf
        return min(going, self._sweep_at if self._unswept else math.inf, self._whole_at)

    # ---- inside ------------------------------------------------------------------------------------------------------

    @property
    def _unswept(self) -> bool:
        return self._commons.membership.view.epoch != self._swept_epoch and self._commons.state is State.READY

    def _came(self, hid: bytes, now: float) -> None:
        self._here.add(hid)
        self._going.pop(hid, None)
        joins = hid in self._joining
        self._joining.pop(hid, None)
        if not self._newcomer.came(hid, now):
            self._anti_entropy.soon(hid, now)
            if not joins and self._commons.state is State.READY:
                # The link was split. What was put on one side is handed to one of those that rank for it on the other,
                # by hosts that drop it then; the others must hear of it from that one.
                self._whole_at = now + WHOLE_S
        if self._commons.state is State.READY:
            self._tell(hid, self._policy.on_join, now, urgent=False)

    def _gone(self, hid: bytes, tell: _ByPolicy, now: float) -> None:
        self._going.pop(hid, None)
        self._carrying.gone(hid, now)
        self._asking.cancel(hid)
        self._anti_entropy.gone(hid)
        if hid in self._here:
            self._here.discard(hid)
            self._commons.counters["hosts_dead"] += tell == self._policy.on_dead
            self._tell(hid, tell, now, urgent=True)

    def _tell(self, hid: bytes, tell: _ByPolicy, now: float, *, urgent: bool) -> None:
        """Tell the policy, by slices of the keys held."""
        if isinstance(self._policy, Single):  # looks at its notes, whatever keys it is shown, so these must be all
            self._carrying.perform(tell(hid, self._commons.scene(now)), now)
        elif not self._slices.add(lambda: self._stock.keys, partial(self._judge, hid, tell), now, urgent=urgent):
            self._commons.counters["events_lost"] += 1

    def _judge(self, hid: bytes, tell: _ByPolicy, keys: Sequence[bytes], now: float) -> None:
        if tell == self._policy.on_join and hid not in self._commons.ready():
            return  # it is gone again
        held = {key for key in keys if key in self._stock.keys}
        self._carrying.perform(tell(hid, self._commons.scene(now, held)), now)

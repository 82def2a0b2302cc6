"""What a replication policy asks for, and how it is done: copies first, then what is said and dropped because of them.

Announcements and drops of a key wait until no copy of it is under way from this host, and are left out where one has
failed: better one copy too many than one too few (mDHT design, section 9).
"""

import heapq
import itertools
import math
from collections.abc import Callable, Iterable

from mdht.records import Slot
from mdht.subnet.commons import Commons
from mdht.subnet.copying import Copying, OnStored
from mdht.subnet.hints import Hints
from mdht.subnet.messages import State
from mdht.subnet.notices import Notices
from mdht.subnet.policies import Action, Announce, CopyTo, DropAfterAck, KeyStats, Lost, PullFrom
from mdht.subnet.pulling import OnPulled, Pulling
from mdht.subnet.store_effects import KeyLost
from mdht.subnet.transfers import Transfer, Urgency


class _Plan:
    """What is to be done when no copy of a key is under way any more."""

    __slots__ = ("acked", "drop_for", "failed", "said")

    def __init__(self) -> None:
        self.drop_for: bytes | None = None
        self.acked: dict[Slot, int] = {}
        self.said: KeyStats | None = None
        self.failed = False


class CarryingOut:
    """One host's.

    Args:
        commons: what belongs where, who is there, what this host holds.
        hints: who else may hold a key.
        on_stored: a sibling holds a record.
        on_pulled: a key has come, or cannot be had.
        on_settled: a transfer has ended, and whether well; what waited for the last one of its key is done by then.

    Attributes:
        copying: transfers to siblings.
        pulling: what is fetched from them.
        notices: what is said to all.
    """

    def __init__(
        self,
        commons: Commons,
        hints: Hints,
        on_stored: OnStored,
        on_pulled: OnPulled,
        on_settled: Callable[[Transfer, bool, float], None],
    ) -> None:
        self._commons, self._stock, self._config = commons, commons.stock, commons.config
        self._counters, self._out = commons.counters, commons.out
        self._hints, self._on_settled = hints, on_settled
        self.copying = Copying(commons, on_stored, self._on_end)
        self.pulling = Pulling(commons, on_pulled)
        self.notices = Notices(commons)
        self._plans: dict[bytes, _Plan] = {}
        self._unsaid: dict[bytes, KeyStats] = {}
        self._strays: set[bytes] = set()
        self._stray_due: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()

    # ---- what it asks for --------------------------------------------------------------------------------------------

    def perform(
        self, actions: Iterable[Action], now: float, urgency: Urgency = Urgency.REPAIR, slot: Slot | None = None
    ) -> None:
        """Do all of this; of a record that was put, `slot`, others are sent it alone."""
        actions = list(actions)
        receivers = [action.hid for action in actions if isinstance(action, CopyTo)]
        if slot is not None and len(receivers) > 1 and {*receivers, self._commons.me} >= set(self._commons.ready()):
            key = next(action.key for action in actions if isinstance(action, CopyTo))
            self.copying.copy_to_all(key, slot, receivers, now)
            actions = [action for action in actions if not isinstance(action, CopyTo)]
        unmade = set()
        for action in actions:
            match action:
                case CopyTo(key=key, hid=hid):
                    if not self.copying.copy(key, hid, urgency, now, slot):
                        unmade.add(key)
                case PullFrom(key=key, hid=hid):
                    self.pull(key, hid, (), now)
                case DropAfterAck(key=key, hid=hid):
                    self._drop_after(key, hid, urgency, now)
                case Announce(key=key, stats=stats) if key in unmade:
                    self._say_later(key, stats, now)
                case Announce(key=key, stats=stats):
                    self._announce(key, stats, now)
                case Lost(key=key):
                    self._counters["keys_lost"] += 1
                    self._out.append(KeyLost(key))

    def pull(self, key: bytes, source: bytes, others: Iterable[bytes], now: float) -> None:
        """Fetch a key from a host, else from those, else from whoever should or may have it."""
        known = [*others, *self._hints.holders(key, now), *self._commons.targets(key)]
        self.pulling.pull(key, source, [hid for hid in known if hid != self._commons.me], now)

    def _announce(self, key: bytes, stats: KeyStats, now: float) -> None:
        if set(self.copying.pending(key)):
            self._plans.setdefault(key, _Plan()).said = stats
        else:
            self.notices.say(key, stats, now)

    def _drop_after(self, key: bytes, hid: bytes, urgency: Urgency, now: float) -> None:
        plan = self._plans.setdefault(key, _Plan())
        plan.drop_for = hid
        if not self.copying.copy(key, hid, urgency, now) and not set(self.copying.pending(key)):
            self._plans.pop(key, None)
            self.look_later(key, now)

    def _on_end(self, transfer: Transfer, well: bool, now: float) -> None:
        key = transfer.key
        plan = self._plans.get(key)
        if plan is not None:
            plan.failed = plan.failed or not well
            if well and plan.drop_for == transfer.hid:
                plan.acked = transfer.acked
        settled = not set(self.copying.pending(key))
        if plan is not None and settled:
            del self._plans[key]
            self._conclude(key, plan, now)
        self._on_settled(transfer, well, now)

    def _conclude(self, key: bytes, plan: _Plan, now: float) -> None:
        if plan.said is not None and plan.failed:
            self._say_later(key, plan.said, now)
        elif plan.said is not None:
            self.notices.say(key, plan.said, now)
        if plan.drop_for is None or key not in self._stock.keys:
            return
        if plan.failed or not plan.acked:
            self.look_later(key, now)
        elif any(plan.acked.get(slot, -1) < seq for slot, seq in self._stock.slots(key).items()):
            self._drop_after(key, plan.drop_for, Urgency.STRAY, now)  # more has come meanwhile
        elif self._is_stray(key) and plan.drop_for in self._commons.targets(key):
            self._stock.drop(key)
            self._counters["keys_dropped"] += 1
        else:
            self.look_later(key, now)

    def _say_later(self, key: bytes, stats: KeyStats, now: float) -> None:
        """A copy could not be made: as long as this is so, it is not said where the copies are."""
        self._counters["not_announced"] += 1
        if len(self._unsaid) < self._config.notes_max:
            self._unsaid[key] = stats
            self.look_later(key, now)

    # ---- what may not belong here ------------------------------------------------------------------------------------

    def look_later(self, key: bytes, now: float) -> None:
        """It may not belong here: look again after a while."""
        if key in self._strays:
            return
        if len(self._strays) >= self._config.strays_max:
            self._counters["strays_forgotten"] += 1  # until the next comparison
            return
        self._strays.add(key)
        heapq.heappush(self._stray_due, (now + self._config.stray_s, next(self._order), key))

    def look(self, keys: Iterable[bytes], now: float) -> None:
        """Send away what does not belong here, and say what could not be said."""
        for key in keys:
            if set(self.copying.pending(key)):
                self.look_later(key, now)
                continue
            unsaid = self._unsaid.pop(key, None)
            targets = self._commons.targets(key)
            stats = self._commons.policy.stats(key)
            same = unsaid is not None and stats is not None and stats.holders[:1] == unsaid.holders[:1]
            if unsaid is not None and same and key in self._stock.keys:
                again = [CopyTo(key, hid) for hid in targets if hid != self._commons.me]
                self.perform([*again, Announce(key, unsaid)], now)
            elif self._is_stray(key):
                self._counters["strays"] += 1
                copies = [CopyTo(key, hid) for hid in targets[1:]]
                self.perform([*copies, DropAfterAck(key, targets[0])], now, Urgency.STRAY)

    def _is_stray(self, key: bytes) -> bool:
        if self._commons.state is not State.READY or key not in self._stock.keys:
            return False
        targets = self._commons.targets(key)
        return bool(targets) and self._commons.me not in targets

    # ---- time --------------------------------------------------------------------------------------------------------

    def gone(self, hid: bytes, now: float) -> None:
        """A host is not there any more."""
        self.copying.cancel(hid, now)
        self.pulling.cancel(hid, now)

    def tick(self, now: float) -> None:
        """Act on the time."""
        self.copying.tick(now)
        self.pulling.tick(now)
        self.notices.tick(now)
        while self._stray_due and self._stray_due[0][0] <= now:
            key = heapq.heappop(self._stray_due)[2]
            self._strays.discard(key)
            if self.copying.full:
                self.look_later(key, now)
            else:
                self.look([key], now)

    def next_deadline(self) -> float:
        """When to call `tick`; there may be nothing to do then."""
        strays = self._stray_due[0][0] if self._stray_due else math.inf
        return min(self.copying.next_deadline(), self.pulling.next_deadline(), self.notices.next_deadline(), strays)

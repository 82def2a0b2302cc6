"""How a newcomer comes to have what belongs to it, before it is READY (mDHT design, sections 6 and 9)."""

import math
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final

from mdht.subnet.asking import Asking
from mdht.subnet.carrying_out import CarryingOut
from mdht.subnet.commons import Commons
from mdht.subnet.listing import learnt
from mdht.subnet.messages import HOSTS_MAX
from mdht.subnet.policies import Full, PullFrom
from mdht.subnet.slices import Slices
from mdht.subnet.store_effects import Synced
from mdht.subnet.sync_messages import LAST_BUCKET, Differ, KeyList, ListKeys
from mdht.subnet.view import rank

LOOK_S: Final = 0.02
"Between two looks whether all has come."


class Stage(Enum):
    """What a newcomer is doing."""

    IDLE = "idle"
    LISTING = "listing"
    "It asks what there is."
    PULLING = "pulling"
    "It fetches what belongs here."


class Newcomer:
    """One host, when it comes.

    Args:
        commons: what belongs here, and who is there.
        carrying: fetches it.
        asking: asks siblings.
        slices: judges many keys.

    Attributes:
        stage: what it is doing.
    """

    def __init__(self, commons: Commons, carrying: CarryingOut, asking: Asking, slices: Slices) -> None:
        self.stage = Stage.IDLE
        self._commons, self._policy, self._config = commons, commons.policy, commons.config
        self._counters, self._out = commons.counters, commons.out
        self._carrying, self._asking, self._slices = carrying, asking, slices
        self._sources: deque[bytes] = deque()
        self._listing = 0
        self._holders: dict[bytes, list[bytes]] = {}
        self._missing = False
        self._failed_before = 0
        self._end_at = math.inf
        self._look_at = math.inf
        self._number = 0

    def begin(self, now: float) -> None:
        """Ask what there is; `Synced` follows, at once where nobody is READY."""
        siblings = [hid for hid in self._commons.ready() if hid != self._commons.me]
        self._number += 1
        self._missing, self._listing = False, 0
        self._holders = {}
        self._failed_before = self._counters["pulls_failed"] + self._counters["not_pulled"]
        if not siblings:
            self._finish(partial=False)
            return
        self.stage = Stage.LISTING
        self._end_at = now + self._config.sync_s
        self._sources = deque(rank(self._commons.me, siblings))
        self._next_source(now)

    def came(self, hid: bytes, now: float) -> bool:
        """A sibling is found to be READY: it is asked, too; False if nobody is asked any more."""
        if self.stage is not Stage.LISTING:
            return False
        self._sources.append(hid)
        self._next_source(now)
        return True

    def stop(self) -> None:
        """It is not wanted any more."""
        self.stage, self._end_at, self._look_at = Stage.IDLE, math.inf, math.inf
        self._number += 1
        self._holders = {}

    def tick(self, now: float) -> None:
        """Act on the time."""
        if now >= self._end_at:
            self._counters["synced_late"] += 1
            self._finish(partial=True)
        elif now >= self._look_at:
            self._look(now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return min(self._end_at, self._look_at)

    # ---- asking ------------------------------------------------------------------------------------------------------

    def _next_source(self, now: float) -> None:
        """One sibling where everybody holds everything, else all of them, some at a time."""
        at_once = 1 if isinstance(self._policy, Full) else self._config.sync_at_once
        while self._sources and self._listing < at_once:
            self._listing += 1
            self._ask(self._sources.popleft(), 0, b"", now)
        if not self._listing:
            self.stage = Stage.PULLING
            number = self._number
            self._slices.add(lambda: self._holders, lambda keys, at: self._judge(number, keys, at), now, urgent=True)
            self._look_at = now

    def _ask(self, hid: bytes, first: int, after: bytes, now: float) -> None:
        number = self._number

        def answered(answer: Differ | KeyList | None, now: float) -> None:
            if number != self._number or self.stage is not Stage.LISTING:
                return
            if isinstance(answer, KeyList):
                self._note(hid, answer, now)
                if answer.more and (answer.first, answer.after) > (first, after):
                    self._ask(hid, answer.first, answer.after, now)
                    return
            self._listing -= 1
            if isinstance(answer, KeyList) and isinstance(self._policy, Full):
                self._sources.clear()
            # One that went meanwhile has given away what it had, or the others know what it held.
            self._missing = self._missing or (answer is None and hid in self._commons.ready())
            self._next_source(now)

        self._asking.ask(
            hid,
            lambda qid: ListKeys(qid=qid, common=False, first=first, last=LAST_BUCKET, after=after),
            answered,
            now,
        )

    def _note(self, hid: bytes, page: KeyList, now: float) -> None:
        scene = self._commons.scene(now)
        for entry in page.entries:
            stats = learnt(entry)
            if stats is not None:
                self._policy.learn(entry.key, stats, scene)
            holders = self._holders.get(entry.key)
            if holders is None:
                if len(self._holders) >= self._config.sync_keys_max:
                    self._missing = True
                    continue
                holders = self._holders[entry.key] = []
            if len(holders) < HOSTS_MAX:
                holders.append(hid)

    # ---- fetching ----------------------------------------------------------------------------------------------------

    def _judge(self, number: int, keys: Sequence[bytes], now: float) -> None:
        if number != self._number:
            return
        actions = self._policy.on_join(self._commons.me, self._commons.scene(now, keys))
        for action in actions:
            if isinstance(action, PullFrom):
                holders = self._holders.get(action.key, [])
                source = action.hid if action.hid in holders or not holders else holders[0]
                self._carrying.pull(action.key, source, [*holders, action.hid], now)

    def _look(self, now: float) -> None:
        if len(self._slices) or len(self._carrying.pulling):
            self._look_at = now + LOOK_S
            return
        failed = self._counters["pulls_failed"] + self._counters["not_pulled"] > self._failed_before
        self._finish(partial=self._missing or failed)

    def _finish(self, *, partial: bool) -> None:
        self.stop()
        self._out.append(Synced(partial))

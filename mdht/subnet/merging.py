"""Two subnets that have met late on one link become one: which gives way, and when each of its hosts goes (section 11).

Hosts go one by one, each by its own decision and with the records that it holds, and adopt the other subnet as a joiner
does. What both sides go by is what all hosts of the link hear: the numbers of members in the heartbeats of both. Each
host that goes makes the side that it leaves smaller and the other one larger, so that of two sides which have taken
each other for the larger one that goes first decides.
"""

import math
from collections import deque
from collections.abc import Mapping
from enum import Enum
from random import Random
from typing import Final

import msgspec

from mdht.subnet.conflict import Standing, loses, may_merge
from mdht.subnet.identity import Subnet
from mdht.subnet.membership import Membership
from mdht.subnet.merging_config import MergingConfig
from mdht.subnet.messages import Here, State

SIZES_MAX: Final = 64
"Numbers of members that are remembered of one subnet; each is smaller than the one before it."
GONE_MAX: Final = 16
"Subnets that have given way of which that is not said again."


class Stage(Enum):
    """Where this host stands."""

    APART = "apart"
    "No other subnet is heard."
    MET = "met"
    "One is heard, and this one does not give way to it, or cannot tell yet."
    LOSING = "losing"
    "As it looks this one will give way."
    GOING = "going"
    "It does; this host waits until it is its turn to go."


class Input(Enum):
    """What can be seen at a look."""

    OTHER = "other"
    NOBODY = "nobody"
    "No other one is heard any more."
    AHEAD = "ahead"
    "This subnet gives way to none."
    BEHIND = "behind"
    SURE = "sure"
    "The other one has been heard, and this one behind, for long enough."
    TURN = "turn"


class Action(Enum):
    """What is done about it."""

    REST = "rest"
    WATCH = "watch"
    TAKE_PLACE = "take place"
    GO = "go"


TRANSITIONS: Final[Mapping[tuple[Stage, Input], tuple[Stage, Action]]] = {
    (Stage.APART, Input.OTHER): (Stage.MET, Action.REST),
    (Stage.MET, Input.NOBODY): (Stage.APART, Action.REST),
    (Stage.MET, Input.BEHIND): (Stage.LOSING, Action.WATCH),
    (Stage.LOSING, Input.NOBODY): (Stage.APART, Action.REST),
    (Stage.LOSING, Input.AHEAD): (Stage.MET, Action.REST),
    (Stage.LOSING, Input.SURE): (Stage.GOING, Action.TAKE_PLACE),
    # Hosts of the other one have come over first, or it is gone.
    (Stage.GOING, Input.NOBODY): (Stage.APART, Action.REST),
    (Stage.GOING, Input.AHEAD): (Stage.MET, Action.REST),
    (Stage.GOING, Input.TURN): (Stage.APART, Action.GO),
}
"A pair that is not listed changes nothing."


class Winner(msgspec.Struct, frozen=True):
    """It is this host's turn to go: to this subnet."""

    subnet: Subnet
    founded_at: float


class Gone(msgspec.Struct, frozen=True):
    """Another subnet has given way to this one."""

    tag: bytes


class _Sizes:
    """The largest number of members that was told within a time."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._told: deque[tuple[float, int]] = deque(maxlen=SIZES_MAX)

    def hear(self, size: int, now: float) -> None:
        while self._told and self._told[-1][1] <= size:
            self._told.pop()
        self._told.append((now, size))

    def largest(self, now: float) -> int:
        while self._told and self._told[0][0] < now - self._within_s:
            self._told.popleft()
        return self._told[0][1] if self._told else 0


class _Other:
    """Another subnet."""

    def __init__(self, within_s: float, now: float) -> None:
        self.heard_since = self.heard_at = now
        self.subnet: Subnet | None = None
        "Unknown until one of its hosts introduces it, which is when they hear this side too."
        self.founded_at = 0.0
        self.sizes = _Sizes(within_s)
        self.hids: set[bytes] = set()
        self.has_come = False
        "Whether one of them is in this subnet now."


class Merging:
    """One host's part.

    Args:
        membership: who is in its subnet.
        overlay: name of the overlay.
        config: times and limits.
        rng: all chance.

    Attributes:
        stage: where it stands.
    """

    def __init__(self, membership: Membership, overlay: str, config: MergingConfig, rng: Random) -> None:
        self.stage = Stage.APART
        self._membership = membership
        self._overlay = overlay
        self._config = config
        self._rng = rng
        self._others: dict[bytes, _Other] = {}
        self._own = _Sizes(config.told_s)
        self._behind_since = self._turn_at = self._look_at = math.inf
        self._last_turn_at = math.inf
        self._known_gone: deque[bytes] = deque(maxlen=GONE_MAX)

    # ---- what is heard -------------------------------------------------------------------------------------------

    def hear(self, tag: bytes, hid: bytes, here: Here, mine: Subnet, now: float) -> None:
        """A ready host of this link tells all how many members it sees.

        Args:
            tag: of its subnet.
            hid: its name.
            here: what it says.
            mine: the subnet of this host.
            now: the time.
        """
        if tag == mine.tag:
            self._own.hear(here.size, now)
            for one in self._others.values():
                one.has_come = one.has_come or hid in one.hids
            return
        other = self._others.get(tag)
        if other is None:
            if len(self._others) >= self._config.others_max:
                return
            other = self._others[tag] = _Other(self._config.told_s, now)
            self._look_at = min(self._look_at, now + self._config.look_s)
        elif now - other.heard_at > self._config.fresh_s:
            other.heard_since = now
        other.heard_at = now
        other.sizes.hear(here.size, now)
        if len(other.hids) < self._config.hosts_max:
            other.hids.add(hid)
        if here.identity is not None:
            other.subnet, other.founded_at = Subnet(here.identity, tag, here.policy or ""), now - (here.founded_s or 0)

    def lacks(self, tag: bytes) -> bool:
        """Whether a subnet that is heard has not introduced itself yet."""
        other = self._others.get(tag)
        return other is not None and other.subnet is None

    def moves(self, former: Subnet | None) -> None:
        """This host goes to another subnet, where all that it knows of others begins anew."""
        self.stage = Stage.APART
        self._others.clear()
        self._own = _Sizes(self._config.told_s)
        self._look_at = math.inf
        if former is not None:
            self._known_gone.append(former.tag)

    # ---- time ----------------------------------------------------------------------------------------------------

    def look(self, mine: Subnet, founded_at: float, now: float) -> list[Winner | Gone]:
        """Act on the time; what has come of it.

        Args:
            mine: the subnet of this host.
            founded_at: when it was founded.
            now: the time.
        """
        if now < self._look_at:
            return []
        self._own.hear(len(self._membership.view.live) + 1, now)
        gone = self._forget(now)
        self._look_at = now + self._config.look_s if self._others else math.inf
        self._step(Input.OTHER if self._others else Input.NOBODY, now)
        winner = self._winner(mine, founded_at, now)
        if winner is None or winner.subnet is None:
            self._step(Input.AHEAD, now)
            return [*gone]
        self._step(Input.BEHIND, now)
        heard = now - winner.heard_since >= self._config.heard_s
        if heard and now - self._behind_since >= self._config.steady_s:
            self._step(Input.SURE, now)
        if self._is_turn(now) and self._step(Input.TURN, now) is Action.GO:
            return [*gone, Winner(winner.subnet, winner.founded_at)]
        return [*gone]

    def next_deadline(self) -> float:
        """When to call `look`; `math.inf` for never."""
        return self._look_at

    # ---- inside --------------------------------------------------------------------------------------------------

    def _step(self, what: Input, now: float) -> Action | None:
        found = TRANSITIONS.get((self.stage, what))
        if found is None:
            return None
        self.stage, action = found
        match action:
            case Action.WATCH:
                self._behind_since = now
            case Action.TAKE_PLACE:
                self._turn_at = now + self._config.spread_s * self._rng.random()
                self._last_turn_at = now + self._config.last_s
            case Action.REST | Action.GO:
                self._behind_since = self._turn_at = self._last_turn_at = math.inf
        return action

    def _forget(self, now: float) -> list[Gone]:
        """Who is heard no more is gone; if its hosts are here now, it has given way."""
        silent = [tag for tag, other in self._others.items() if now - other.heard_at > self._config.fresh_s]
        gone = [tag for tag in silent if self._others.pop(tag).has_come and tag not in self._known_gone]
        self._known_gone.extend(gone)
        return [Gone(tag) for tag in gone]

    def _winner(self, mine: Subnet, founded_at: float, now: float) -> "_Other | None":
        """Of those to which this subnet gives way the one to which all of them do."""
        best: _Other | None = None
        standing = self._standing(mine, founded_at, self._own, now)
        for other in self._others.values():
            if other.subnet is None or not may_merge(mine, other.subnet):
                continue
            its = self._standing(other.subnet, other.founded_at, other.sizes, now)
            if loses(standing, its):
                best, standing = other, its
        return best

    def _standing(self, subnet: Subnet, founded_at: float, sizes: _Sizes, now: float) -> Standing:
        node_id = subnet.identity.node_id(self._overlay)
        return Standing(members=sizes.largest(now), age_s=now - founded_at, node_id=node_id, tag=subnet.tag)

    def _is_turn(self, now: float) -> bool:
        """The first of the ready hosts goes last: so one of them knows that nobody stays who answers for the node.

        One that joins or leaves has other things to end first.
        """
        if self._membership.state is not State.READY:
            return False
        ready, view = self._membership.ready_hids(), self._membership.view
        if ready[:1] != [self._membership.hid]:
            return now >= self._turn_at
        return now >= self._last_turn_at or (now >= self._turn_at and not view.live)

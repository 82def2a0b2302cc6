"""As few copies as the lookups of a key need [T]: they grow with its popularity, and shrink again.

The first holder of a key decides for all and says so by NOTE. It counts the lookups that it notices, which leaves out
those that other holders answer to themselves; these cost nobody anything, and no copy is made for them.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from mdht.subnet.messages import HOSTS_MAX
from mdht.subnet.policies.base import REPLICAS_MAX, Action, Announce, CopyTo, KeyStats, Scene, noted
from mdht.subnet.policies.ranked import Ranked

HALF_LIFE_S: Final = 60.0
WINDOW_S: Final = 10.0
WINDOWS: Final = 2
"In a row with a wish for more, before there is one more."
LOWER_S: Final = 60.0
"Between one copy less and the next."
CALM: Final = 0.5
"Below this share of the rate that gives a key its first additional copy, that copy goes, too."
POPULAR_MAX: Final = 4096
"Keys whose lookups are counted."
RATE_MIN: Final = 0.001
RATE_MAX: Final = 1000.0
"Lookups a second."


class Rate:
    """Events a second, each counting half as much after every half-life."""

    __slots__ = ("_at", "_value")

    def __init__(self, now: float) -> None:
        self._at = now
        self._value = 0.0

    def count(self, now: float) -> None:
        """One more."""
        self._value = self.at(now) + math.log(2.0) / HALF_LIFE_S
        self._at = now

    def at(self, now: float) -> float:
        """The rate at a time that is not before the last event."""
        return self._value * math.exp2((self._at - now) / HALF_LIFE_S)


class _Popular:
    """What is counted of a key."""

    __slots__ = ("changed_at", "fetcher", "rate", "windows")

    def __init__(self, changed_at: float, now: float) -> None:
        self.rate = Rate(now)
        self.windows = 0
        "In a row in which more was wanted than there is."
        self.fetcher: bytes | None = None
        "Who got the value last, in this window."
        self.changed_at = changed_at


class Adaptive(Ranked):
    """One host's part.

    The first `replicas_min` holders are those that rank first, so that anybody can tell one; then come the hosts that
    NOTE names, which are those that have fetched the key; then others by rank.

    Args:
        replicas_min: copies of a key that nobody looks up.
        rate: lookups a second that give a key its first additional copy; three times that the second, and so on.
    """

    def __init__(self, replicas_min: int = 1, rate: float = 0.5) -> None:
        if not 1 <= replicas_min <= REPLICAS_MAX:
            raise ValueError(f"1 to {REPLICAS_MAX} replicas, not {replicas_min}")
        if not RATE_MIN <= rate <= RATE_MAX:
            raise ValueError(f"{RATE_MIN} to {RATE_MAX} lookups a second, not {rate}")
        super().__init__()
        self._min = replicas_min
        self._rate = rate
        self._popular: OrderedDict[bytes, _Popular] = OrderedDict()
        self._window_at = math.inf

    def __str__(self) -> str:
        return f"adaptive:{self._min}:{self._rate}"

    def _pick(self, order: Sequence[bytes], receiver: bytes | None, stats: KeyStats | None) -> list[bytes]:  # noqa: ARG002  interface
        if stats is None:
            return list(order[: self._min])
        named = [hid for hid in stats.holders[self._min :] if hid in order]
        return list(dict.fromkeys([*order[: self._min], *named, *order]))[: stats.wanted]

    def wanted(self, rate: float, members: int) -> int:
        """How many copies a key should have that is looked up so often a second."""
        return max(self._min, min(self._min + int(math.log2(1.0 + rate / self._rate)), members, REPLICAS_MAX))

    def learn(self, key: bytes, stats: KeyStats, scene: Scene) -> None:
        """How many copies there are, and who has them; every holder watches the key, as the first one may go."""
        if stats.wanted <= self._min:
            self._notes.drop(key)
        else:
            self._notes.put(key, stats)
        if stats.wanted > self._min and len(self._popular) < POPULAR_MAX:  # else from its next lookup on
            self._popular.setdefault(key, _Popular(scene.now, scene.now))
            self._watch(scene.now)
        if key in self._popular:
            self._popular[key].changed_at = scene.now

    def on_lookup(self, key: bytes, fetcher: bytes | None, scene: Scene) -> list[Action]:
        """Count it, if this host holds the key: only holders may have to decide, and made-up keys cost nothing."""
        if key not in scene.keys:
            return []
        popular = self._popular.setdefault(key, _Popular(-math.inf, scene.now))
        self._popular.move_to_end(key)
        popular.rate.count(scene.now)
        popular.fetcher = popular.fetcher if fetcher is None else fetcher
        self._watch(scene.now)
        return self._forget_one(scene) if len(self._popular) > POPULAR_MAX else []

    def tick(self, scene: Scene) -> list[Action]:
        """At the end of each window one copy more or less, where the lookups want that."""
        actions = super().tick(scene)
        if scene.now < self._window_at:
            return actions
        self._window_at = math.inf
        for key, popular in list(self._popular.items()):
            actions += self._judge(key, popular, scene)
            popular.fetcher = None
            if self._notes.get(key) is None and popular.rate.at(scene.now) < CALM * CALM * self._rate:
                del self._popular[key]
        self._watch(scene.now)
        return actions

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        return min(super().next_deadline(), self._window_at)

    def _watch(self, now: float) -> None:
        if self._popular and self._window_at == math.inf:
            self._window_at = now + WINDOW_S

    def _judge(self, key: bytes, popular: _Popular, scene: Scene) -> list[Action]:
        stats = self._notes.get(key)
        have = self._min if stats is None else stats.wanted
        rate = popular.rate.at(scene.now)
        wanted = self.wanted(rate, len(scene.ready))
        popular.windows = popular.windows + 1 if wanted > have else 0
        holders = self.targets(key, scene.ready, None, stats)
        if holders[:1] != [scene.me] or key not in scene.keys:
            return []
        if popular.windows >= WINDOWS:
            return self._raise(key, popular, holders, scene)
        # By `wanted < have - 1` alone, which keeps a rate near a step from going up and down, the last one never went.
        calm = wanted < have - 1 or (have > self._min and rate < CALM * self._rate)
        if calm and scene.now >= popular.changed_at + LOWER_S:
            return [self._set(key, popular, have - 1, holders, scene.now)]
        return []

    def _raise(self, key: bytes, popular: _Popular, holders: list[bytes], scene: Scene) -> list[Action]:
        fetcher = popular.fetcher
        if fetcher is not None and fetcher in scene.ready and fetcher not in holders and len(holders) < HOSTS_MAX:
            return [self._set(key, popular, len(holders) + 1, [*holders, fetcher], scene.now)]
        have = KeyStats(len(holders) + 1, tuple(holders))
        more = self.targets(key, scene.ready, None, have)
        copies = [CopyTo(key, hid) for hid in more if hid not in holders]
        return [*copies, self._set(key, popular, have.wanted, more, scene.now)]

    def _set(self, key: bytes, popular: _Popular, wanted: int, holders: list[bytes], now: float) -> Announce:
        note = noted(key, wanted, holders[:wanted])
        if wanted > self._min:
            self._notes.put(key, note.stats)
        else:
            self._notes.drop(key)
        popular.changed_at = now
        return note

    def _forget_one(self, scene: Scene) -> list[Action]:
        """Too many keys are popular: the one that was looked up longest ago goes back to its least copies."""
        key, popular = self._popular.popitem(last=False)
        stats = self._notes.get(key)
        holders = self.targets(key, scene.ready, None, stats)
        if stats is None or holders[:1] != [scene.me]:
            return []
        return [self._set(key, popular, self._min, holders, scene.now)]

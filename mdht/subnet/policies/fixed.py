"""A fixed number of copies [T], at the members that rank first, or at the receiver and those."""

from collections.abc import Sequence
from enum import Enum

from mdht.subnet.policies.base import REPLICAS_MAX, Action, KeyStats, Scene, noted
from mdht.subnet.policies.ranked import Ranked
from mdht.subnet.view import rank


class Placement(Enum):
    """Where the copies are."""

    HRW = "hrw"
    "All by rank: whoever looks for a key knows where it is without asking."
    RECEIVER = "receiver"
    "One at the host that received the first record of the key, the others by rank; NOTE tells which host that is."


class Fixed(Ranked):
    """One host's part.

    Args:
        replicas: wanted copies; with fewer members each has one.
        placement: where.
    """

    def __init__(self, replicas: int, placement: Placement = Placement.HRW) -> None:
        if not 1 <= replicas <= REPLICAS_MAX:
            raise ValueError(f"1 to {REPLICAS_MAX} replicas, not {replicas}")
        super().__init__()
        self._replicas = replicas
        self._placement = placement

    def __str__(self) -> str:
        name = f"fixed:{self._replicas}"
        return name if self._placement is Placement.HRW else f"{name}:{self._placement.value}"

    def _pick(self, order: Sequence[bytes], receiver: bytes | None, stats: KeyStats | None) -> list[bytes]:
        if self._placement is Placement.HRW:
            return list(order[: self._replicas])
        first = stats.holders[0] if stats is not None and stats.holders else receiver
        return sorted(order, key=lambda hid: hid != first)[: self._replicas]  # a stable sort: only `first` moves

    def learn(self, key: bytes, stats: KeyStats, scene: Scene) -> None:
        """Of two receivers that both are there the one of higher rank counts, so that all come to the same one."""
        if self._placement is Placement.HRW or not stats.holders:
            return
        known = self._notes.get(key)
        known_there = known is not None and known.holders[0] in scene.ready
        if known is None or not known_there or rank(key, [known.holders[0], stats.holders[0]])[0] == stats.holders[0]:
            self._notes.put(key, KeyStats(self._replicas, stats.holders[:1]))

    def on_note(self, key: bytes, stats: KeyStats, scene: Scene) -> list[Action]:
        """As by rank; a receiver that counts more than the one named says so, as that one may not have heard of it."""
        actions = super().on_note(key, stats, scene)
        known = self._notes.get(key)
        if known is not None and known.holders[0] == scene.me and stats.holders[:1] != known.holders:
            targets = self.targets(key, scene.ready, None, known)
            actions.append(noted(key, self._replicas, targets))
        return actions

    def on_store(self, key: bytes, scene: Scene) -> list[Action]:
        """Copies to whom they belong; the receiver of a key of which it knows nothing says that it is that."""
        actions = super().on_store(key, scene)
        if self._placement is Placement.RECEIVER and self._notes.get(key) is None:
            targets = self.targets(key, scene.ready, scene.me)
            self._notes.put(key, KeyStats(self._replicas, (scene.me,)))
            actions.append(noted(key, self._replicas, targets))
        return actions

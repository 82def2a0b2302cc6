"""One copy, at the host that received the first record of the key [T]."""

import math
from collections.abc import Sequence

from mdht.subnet.policies.base import Action, CopyTo, DropAfterAck, KeyStats, Lost, Notes, Scene, noted
from mdht.subnet.view import rank


class Single:
    """One host's part. An owner that crashes takes its keys with it; one that leaves hands them over."""

    def __init__(self) -> None:
        self._notes = Notes()

    def __str__(self) -> str:
        return "single"

    def targets(
        self, key: bytes, ready: Sequence[bytes], receiver: bytes | None = None, stats: KeyStats | None = None
    ) -> list[bytes]:
        """The owner. Where the noted one is gone it is whoever it would have handed the key to."""
        owner = stats.holders[0] if stats is not None and stats.holders else receiver
        return [owner] if owner is not None and owner in ready else rank(key, list(ready))[:1]

    def stats(self, key: bytes) -> KeyStats | None:
        """The owner, where it is known."""
        return self._notes.get(key)

    def learn(self, key: bytes, stats: KeyStats, scene: Scene) -> None:
        """Of two owners that both are there the one of higher rank counts, so that all come to the same one."""
        known = self._notes.get(key)
        if stats.holders and (known is None or _prevails(key, stats.holders[0], known.holders[0], scene.ready)):
            self._notes.put(key, KeyStats(1, stats.holders[:1]))

    def on_note(self, key: bytes, stats: KeyStats, scene: Scene) -> list[Action]:
        """Two hosts that did not know of each other may both own the key: the one of lower rank gives it up."""
        if key not in scene.keys or not stats.holders or stats.holders[0] == scene.me:
            self.learn(key, stats, scene)
            return []
        other = stats.holders[0]
        if other not in scene.ready or (scene.me in scene.ready and rank(key, [scene.me, other])[0] == scene.me):
            return self._claim(key, scene.me)
        self._notes.put(key, KeyStats(1, (other,)))
        return [DropAfterAck(key, other)]

    def on_store(self, key: bytes, scene: Scene) -> list[Action]:
        """The first record of a key makes this host its owner; later ones go to whoever that is."""
        known = self._notes.get(key)
        owner = next(iter(self.targets(key, scene.ready, scene.me, known)), scene.me)
        if owner != scene.me:
            return [DropAfterAck(key, owner)]
        return [] if known is not None and known.holders[0] == owner else self._claim(key, owner)

    def on_lookup(self, key: bytes, fetcher: bytes | None, scene: Scene) -> list[Action]:  # noqa: ARG002  interface
        """Nothing."""
        return []

    def on_join(self, hid: bytes, scene: Scene) -> list[Action]:  # noqa: ARG002  interface
        """Nothing: owners stay."""
        return []

    def on_leave(self, hid: bytes, scene: Scene) -> list[Action]:
        """The owner hands each key to the first of the others by rank, and says so; they can tell, too."""
        rest = [other for other in scene.ready if other != hid]
        if not rest:
            return []
        if hid != scene.me:
            for key in self._notes.first_held_by(hid):  # its NOTE was missed, or came before it was known to leave
                self._notes.put(key, KeyStats(1, (rank(key, rest)[0],)))
            return []
        actions: list[Action] = []
        for key in scene.keys:
            heir = rank(key, rest)[0]
            actions += [CopyTo(key, heir), *self._claim(key, heir)]
        return actions

    def on_dead(self, hid: bytes, scene: Scene) -> list[Action]:
        """What it owned is lost, unless this host was just about to give it up; one host reports it."""
        rest = [other for other in scene.ready if other != hid]
        actions: list[Action] = []
        for key in self._notes.first_held_by(hid):
            self._notes.drop(key)
            if key in scene.keys:
                actions += self._claim(key, scene.me)
            elif rank(key, rest)[:1] == [scene.me]:
                actions.append(Lost(key))
        return actions

    def tick(self, scene: Scene) -> list[Action]:  # noqa: ARG002  interface
        """Nothing."""
        return []

    def next_deadline(self) -> float:
        """Never."""
        return math.inf

    def _claim(self, key: bytes, owner: bytes) -> list[Action]:
        note = noted(key, 1, [owner])
        self._notes.put(key, note.stats)
        return [note]


def _prevails(key: bytes, hid: bytes, other: bytes, ready: Sequence[bytes]) -> bool:
    return other not in ready or rank(key, [hid, other])[0] == hid

"""What the policies have in common whose holders are told by rank: who copies, pulls and drops when hosts change."""

import abc
from collections.abc import Sequence

from mdht.subnet.policies.base import Action, CopyTo, DropAfterAck, KeyStats, Notes, PullFrom, Scene
from mdht.subnet.policies.repairs import Repairs
from mdht.subnet.view import rank


class Ranked(abc.ABC):
    """One host's part, as far as it does not depend on which holders a policy picks."""

    def __init__(self) -> None:
        self._notes = Notes()
        self._repairs = Repairs()

    @abc.abstractmethod
    def _pick(self, order: Sequence[bytes], receiver: bytes | None, stats: KeyStats | None) -> list[bytes]:
        """Who should hold a key, given all READY members by their rank for it."""

    @abc.abstractmethod
    def learn(self, key: bytes, stats: KeyStats, scene: Scene) -> None:
        """A sibling has told what it knows of a key."""

    def targets(
        self, key: bytes, ready: Sequence[bytes], receiver: bytes | None = None, stats: KeyStats | None = None
    ) -> list[bytes]:
        """Who should hold a key, the first to act first."""
        return self._pick(rank(key, list(ready)), receiver, stats)

    def stats(self, key: bytes) -> KeyStats | None:
        """What this host knows of a key beyond its rank."""
        return self._notes.get(key)

    def on_note(self, key: bytes, stats: KeyStats, scene: Scene) -> list[Action]:
        """Fetch the key if it belongs here from now on, drop it if not any more."""
        order = rank(key, list(scene.ready))
        before = self._pick(order, None, self._notes.get(key))
        self.learn(key, stats, scene)
        self._repairs.done(key, stats.holders)
        after = self._pick(order, None, self._notes.get(key))
        others = [hid for hid in after if hid != scene.me]
        if scene.me in after and key not in scene.keys and others:
            return [PullFrom(key, next((hid for hid in others if hid in before), others[0]))]
        # A newcomer that is not READY yet keeps what it has pulled.
        if scene.me in scene.ready and scene.me not in after and key in scene.keys and others:
            return [DropAfterAck(key, others[0])]
        return []

    def on_store(self, key: bytes, scene: Scene) -> list[Action]:
        """Copies to whom they belong."""
        targets = self.targets(key, scene.ready, scene.me, self._notes.get(key))
        actions: list[Action] = [CopyTo(key, hid) for hid in targets if hid != scene.me]
        if targets and scene.me not in targets:
            actions.append(DropAfterAck(key, targets[0]))
        return actions

    def on_lookup(self, key: bytes, fetcher: bytes | None, scene: Scene) -> list[Action]:  # noqa: ARG002  interface
        """Nothing."""
        return []

    def on_join(self, hid: bytes, scene: Scene) -> list[Action]:
        """The newcomer pulls what it ranks for, from the holder that it displaces; that one drops its own after it."""
        actions: list[Action] = []
        for key in scene.keys:
            before, after = self._around(key, hid, scene.ready)
            if hid not in after:
                continue
            if hid == scene.me:
                sources = [other for other in before if other not in after] + before
                actions += [PullFrom(key, source) for source in sources[:1]]
            elif scene.me not in after:
                actions.append(DropAfterAck(key, hid))
        return actions

    def on_leave(self, hid: bytes, scene: Scene) -> list[Action]:
        """The leaver sends each key to whoever takes its place."""
        if hid != scene.me:
            return []
        actions: list[Action] = []
        for key in scene.keys:
            after, before = self._around(key, hid, scene.ready)
            # Without a place of its own it holds what others should: the first of them makes sure that it is held.
            heirs = [other for other in after if other not in before] if hid in before else after[:1]
            actions += [CopyTo(key, heir) for heir in heirs]
        return actions

    def on_dead(self, hid: bytes, scene: Scene) -> list[Action]:
        """The highest surviving holder copies to whoever takes the place, the next ones if it does not."""
        actions: list[Action] = []
        for key in scene.keys:
            after, before = self._around(key, hid, scene.ready)
            self._repairs.done(key, (hid, scene.me))
            lacking = list(self._repairs.lacking(key))
            survivors = [other for other in before if other != hid and other not in lacking]
            turn = survivors.index(scene.me) if scene.me in survivors else len(survivors)
            entrants = [other for other in after if other not in before and other != scene.me]
            if turn == 0:
                self._repairs.done(key, lacking)
                actions += [CopyTo(key, other) for other in [*lacking, *entrants] if other in after]
            else:
                self._repairs.plan(key, entrants, turn, scene.now)
        return actions

    def tick(self, scene: Scene) -> list[Action]:
        """Take over from survivors whose turn to copy has passed."""
        return [
            CopyTo(key, hid)
            for key, hid in self._repairs.due(scene.now)
            if key in scene.keys and hid in self.targets(key, scene.ready, None, self._notes.get(key))
        ]

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        return self._repairs.next_deadline()

    def _around(self, key: bytes, hid: bytes, ready: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Who should hold the key without a host, and with it."""
        order = rank(key, [*(other for other in ready if other != hid), hid])
        stats = self._notes.get(key)
        without = self._pick([other for other in order if other != hid], None, stats)
        return without, self._pick(order, None, stats)

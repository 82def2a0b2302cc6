"""A copy at every member [T]: no lookup ever leaves the host, and whoever goes has nothing to hand over."""

import math
from collections.abc import Sequence

from mdht.subnet.policies.base import Action, CopyTo, KeyStats, PullFrom, Scene
from mdht.subnet.view import rank


class Full:
    """One host's part."""

    def __str__(self) -> str:
        return "full"

    def targets(
        self,
        key: bytes,
        ready: Sequence[bytes],
        receiver: bytes | None = None,  # noqa: ARG002  interface
        stats: KeyStats | None = None,  # noqa: ARG002  interface
    ) -> list[bytes]:
        """All, by rank."""
        return rank(key, list(ready))

    def stats(self, key: bytes) -> KeyStats | None:  # noqa: ARG002  interface
        """Nothing."""
        return None

    def learn(self, key: bytes, stats: KeyStats, scene: Scene) -> None:
        """There is nothing to learn."""

    def on_note(self, key: bytes, stats: KeyStats, scene: Scene) -> list[Action]:
        """Somebody has a key that is too large to be put to all: it is fetched there, if it is not held yet."""
        source = next((hid for hid in stats.holders if hid != scene.me), None)
        return [PullFrom(key, source)] if source is not None and key not in scene.keys else []

    def on_store(self, key: bytes, scene: Scene) -> list[Action]:
        """To all others, which a driver does with one multicast and their acknowledgements."""
        return [CopyTo(key, hid) for hid in rank(key, list(scene.ready)) if hid != scene.me]

    def on_lookup(self, key: bytes, fetcher: bytes | None, scene: Scene) -> list[Action]:  # noqa: ARG002  interface
        """Nothing."""
        return []

    def on_join(self, hid: bytes, scene: Scene) -> list[Action]:
        """The newcomer copies everything from one sibling, whom the newcomer's own random name picks."""
        siblings = rank(hid, [other for other in scene.ready if other != hid])
        return [PullFrom(key, siblings[0]) for key in scene.keys] if hid == scene.me and siblings else []

    def on_leave(self, hid: bytes, scene: Scene) -> list[Action]:  # noqa: ARG002  interface
        """Nothing: the others hold it all."""
        return []

    def on_dead(self, hid: bytes, scene: Scene) -> list[Action]:  # noqa: ARG002  interface
        """Nothing: the others hold it all."""
        return []

    def tick(self, scene: Scene) -> list[Action]:  # noqa: ARG002  interface
        """Nothing."""
        return []

    def next_deadline(self) -> float:
        """Never."""
        return math.inf

"""Copies that a death has made necessary: the first survivor makes them, the others each wait for their turn."""

import math
from collections.abc import Collection, Sequence
from typing import Final

TURN_S: Final = 2.0
"The second survivor takes over after that, the third after twice that, and so on."
TURNS_MAX: Final = 4
"Survivors that get a turn: all of them up to five replicas."
REPAIRS_MAX: Final = 100_000
"As many as a host's table has records; what is beyond, comparing the digests brings."


class Repairs:
    """Those that one host may have to make."""

    def __init__(self, most: int = REPAIRS_MAX) -> None:
        self._most = most
        self._size = 0
        self._since: dict[bytes, dict[bytes, float]] = {}
        self._turns: dict[bytes, int] = {}
        self._next = math.inf

    def __len__(self) -> int:
        return self._size

    def lacking(self, key: bytes) -> Collection[bytes]:
        """Hosts that should hold the key and may not yet."""
        return self._since.get(key, {}).keys()

    def plan(self, key: bytes, entrants: Sequence[bytes], turn: int, now: float) -> None:
        """Hosts should hold a key from now on, and this one's turn has changed for all that lack it."""
        since = self._since.get(key, {})
        for hid in entrants:
            if hid not in since and turn < TURNS_MAX and self._size < self._most:
                since[hid] = now
                self._size += 1
        if since:
            self._since[key], self._turns[key] = since, turn
            self._next = min(self._next, min(since.values()) + turn * TURN_S)

    def done(self, key: bytes, hids: Collection[bytes]) -> None:
        """These hosts hold the key, or are gone."""
        since = self._since.get(key, {})
        for hid in [hid for hid in since if hid in hids]:
            del since[hid]
            self._size -= 1
        if not since:
            self._since.pop(key, None)
            self._turns.pop(key, None)

    def due(self, now: float) -> list[tuple[bytes, bytes]]:
        """Keys and hosts whose turn has come; they are forgotten."""
        if now < self._next:
            return []
        found: list[tuple[bytes, bytes]] = []
        self._next = math.inf
        for key, since in list(self._since.items()):
            wait_s = self._turns[key] * TURN_S
            come = [hid for hid, at in since.items() if at + wait_s <= now]
            found += [(key, hid) for hid in come]
            self.done(key, come)
            self._next = min(self._next, min((at + wait_s for at in since.values()), default=math.inf))
        return found

    def next_deadline(self) -> float:
        """When to call `due`; there may be nothing then."""
        return self._next if self._since else math.inf

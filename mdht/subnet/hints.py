"""What a host has overheard: who holds a key, and which keys others ask for."""

from collections import OrderedDict
from typing import Final

from mdht.subnet.bounded import remember
from mdht.subnet.messages import HOSTS_MAX

QUESTIONS_MAX: Final = 256
"Questions remembered; the limit of the link lets fewer through within the time they count."


class Hints:
    """Holders of keys, as they said themselves or as a policy announced.

    Args:
        ttl_s: a hint is believed for so long.
        most: keys; beyond it the one unused for longest is forgotten.
    """

    def __init__(self, *, ttl_s: float, most: int) -> None:
        self._ttl_s = ttl_s
        self._most = most
        self._known: OrderedDict[bytes, tuple[float, tuple[bytes, ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, key: bytes, holders: tuple[bytes, ...], now: float) -> None:
        """These hold the key now, whoever held it before; none of them: nobody does."""
        self._known.pop(key, None)
        if holders:
            self._known[key] = (now + self._ttl_s, holders[:HOSTS_MAX])
            if len(self._known) > self._most:
                self._known.popitem(last=False)

    def holders(self, key: bytes, now: float) -> tuple[bytes, ...]:
        """Who probably holds a key."""
        expires_at, holders = self._known.get(key, (now, ()))
        if expires_at <= now:
            self._known.pop(key, None)
            return ()
        self._known.move_to_end(key)
        return holders

    def forget(self, key: bytes, holder: bytes) -> None:
        """This one has nothing, or does not answer."""
        expires_at, holders = self._known.get(key, (0.0, ()))
        left = tuple([hid for hid in holders if hid != holder])
        if left:
            self._known[key] = (expires_at, left)
        else:
            self._known.pop(key, None)


class Questions:
    """Keys that others have asked all siblings for, a short time ago."""

    def __init__(self) -> None:
        self._asked_at: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asked_at)

    def heard(self, key: bytes, now: float) -> None:
        """Somebody has asked."""
        remember(self._asked_at, key, now, QUESTIONS_MAX)

    def asked_at(self, key: bytes, since: float) -> float | None:
        """When somebody last asked for a key; None when that was before `since`."""
        at = self._asked_at.get(key)
        return None if at is None or at < since else at

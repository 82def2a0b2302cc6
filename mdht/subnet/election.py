"""Who of several hosts that start on an empty link founds its subnet (mDHT design, section 6)."""

from typing import Final

from mdht.subnet.identity import NO_TAG

EXCLUDED_MAX: Final = 64
"Founders given up in a row; with as many dead ones 5 s each are five minutes, and then all are asked again."


class Election:
    """One host's view of it: whom it has heard, and who comes first.

    Who remembers a subnet of this link comes before who does not, so that its identity comes back; of equals the
    smaller name. A host shows by the tag in its datagrams that it remembers one.

    Args:
        hid: own name.
        fresh_s: who was not heard for longer does not count.
        most: hosts that are remembered.
    """

    def __init__(self, hid: bytes, *, remembers: bool, fresh_s: float, most: int) -> None:
        self._me = (not remembers, hid)
        self._fresh_s = fresh_s
        self._most = most
        self._heard: dict[bytes, tuple[float, bool]] = {}
        self._excluded: set[bytes] = set()

    def heard(self, hid: bytes, tag: bytes, now: float) -> None:
        """A cold host has shown itself."""
        self._heard.pop(hid, None)
        self._heard[hid] = (now, tag != NO_TAG)
        if len(self._heard) > self._most:
            del self._heard[next(iter(self._heard))]

    def exclude(self, hid: bytes) -> None:
        """It was elected, and has not founded."""
        if len(self._excluded) >= EXCLUDED_MAX:
            self._excluded.clear()
        self._excluded.add(hid)

    def is_excluded(self, hid: bytes) -> bool:
        """Whether it has been given up."""
        return hid in self._excluded

    def first(self, now: float) -> bytes | None:
        """Who is to found; None for this host itself."""
        others = [
            (not remembers, hid)
            for hid, (at, remembers) in self._heard.items()
            if now - at <= self._fresh_s and hid not in self._excluded
        ]
        best = min([self._me, *others])
        return None if best == self._me else best[1]

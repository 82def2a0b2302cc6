"""Whom a search asks by PING: the nearest, but not all that one liar makes up.

Whoever shares a spot, a network or a writer with others that have not answered so far waits: a thousand records with a
false place at the asker's door cost a few datagrams, and nodes behind them are asked at once.
"""

import math
from collections import Counter
from typing import Final

import msgspec

from netserv_discovery.candidates import Candidate
from netserv_discovery.location import Location
from netserv_discovery.ranking import expected_s, network_of

NETWORK_PINGS_MIN: Final = 16
"To one network, and twice the limit of the search: who puts a victim's address in records has little sent there."


class PingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of what one search asks."""

    pings_max: int = 256
    "Of one search."
    at_once: int = 64


class PingBudget:
    """Counts what one search has asked.

    Args:
        limit: nodes that are looked for.
        spare: nodes asked beyond that at once.
        here: where the asker is, if that is known.
        config: settings.
    """

    def __init__(self, limit: int, spare: int, here: Location | None, config: PingConfig) -> None:
        self._config, self._here = config, here
        self._network_max = max(NETWORK_PINGS_MIN, 2 * limit)
        self._strikes_max: float = max(2, (limit + spare) // 2)
        self._networks: Counter[str] = Counter()
        self._strikes: Counter[str | bytes] = Counter()
        "Spots, networks and writers: PINGs without an answer so far."
        self._asked: dict[bytes, tuple[float, list[str | bytes]]] = {}
        "Until when those are expected to answer that have not, and what they share."
        self.spent = 0

    def take(self, one: Candidate, now: float) -> bool:
        """Whether a node may be asked, which it is then."""
        network, groups = network_of(one.record), self._groups(one)
        if (
            self.spent >= self._config.pings_max
            or len(self._asked) >= self._config.at_once
            or self._networks[network] >= self._network_max
            or any(self._strikes[group] >= self._strikes_max for group in groups)
        ):
            return False
        self.spent += 1
        self._networks[network] += 1
        self._strikes.update(groups)
        self._asked[one.record.public_key] = (now + expected_s(one.record, self._here), groups)
        return True

    def ended(self, public_key: bytes, *, answered: bool) -> None:
        """It is known what came of one."""
        _, groups = self._asked.pop(public_key, (0.0, []))
        if answered:
            self._strikes.subtract(groups)

    def hopeful(self, public_key: bytes, now: float) -> bool:
        """Whether a node that is asked may well answer still; else it is as if it did not, until it does."""
        return public_key in self._asked and now < self._asked[public_key][0]

    def hope_ends_at(self, now: float) -> float:
        """When the next one loses hope; `math.inf` for never."""
        return min((until for until, _ in self._asked.values() if until > now), default=math.inf)

    def forgive(self) -> bool:
        """Let those be asked whose likes have not answered; whether that is new."""
        new = not math.isinf(self._strikes_max)
        self._strikes_max = math.inf
        return new

    def _groups(self, one: Candidate) -> list[str | bytes]:
        """What one liar's nodes have in common. Anybody can put a record again: the best of its writers counts."""
        groups: list[str | bytes] = [f"at {one.record.location}", f"in {network_of(one.record)}"]
        writer = min(one.writers, key=lambda each: (self._strikes[each], each), default=None)
        return groups if writer is None else [*groups, writer]

"""Members that are looked after without a cause: one at random among many, one at random of the dead (section 3)."""

import math
from random import Random

from mdht.subnet.checks import Checks
from mdht.subnet.effects import Unicast
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Ping, State
from mdht.subnet.view import View


class Patrol:
    """One host's part.

    Args:
        view: the others.
        checks: looks for a member.
        config: times.
        rng: chooses members.
    """

    def __init__(self, view: View, checks: Checks, config: MembershipConfig, rng: Random) -> None:
        self._view = view
        self._checks = checks
        self._config = config
        self._rng = rng
        self._probe_at = self._revisit_at = math.inf

    def start(self, now: float) -> None:
        """Begin."""
        self._probe_at = now + self._config.probe_s
        self._revisit_at = now + self._config.revisit_s

    def tick(self, now: float) -> list[Unicast]:
        """What is due."""
        if now >= self._probe_at:
            self._probe(now)
        return self._revisit(now) if now >= self._revisit_at else []

    def next_deadline(self) -> float:
        """When to call `tick`."""
        return min(self._probe_at, self._revisit_at)

    def _probe(self, now: float) -> None:
        """Among many members heartbeats are rare: each pings one at random, so that a crash is noticed as soon."""
        self._probe_at = now + self._config.probe_s
        live = [member for member in self._view.live if member.state is not State.SUSPECT]
        if len(live) >= self._config.probe_above:
            self._checks.start(self._rng.choice(live))

    def _revisit(self, now: float) -> list[Unicast]:
        """A dead one that answers lives behind a link that has healed."""
        self._revisit_at = now + self._config.revisit_s
        dead = [member for member in self._view if member.state is State.DEAD and member.addresses]
        return [Unicast(self._rng.choice(dead).addresses[0], Ping(nonce=self._checks.nonce()))] if dead else []

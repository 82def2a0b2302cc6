"""Which members have been silent for too long, and whether this host looks for them (mDHT design, section 3)."""

import math
from random import Random
from typing import Final

from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import State
from mdht.subnet.view import Member, View, rank

HEARTBEAT_JITTER: Final = 0.1
PATIENCE_WHEN_LATE: Final = 2.0
"A host that was itself too slow to listen waits so many times as long [Lifeguard]."


class Silence:
    """One host's patience with the others.

    Args:
        hid: own name.
        view: the others.
        config: times and limits.
    """

    def __init__(self, hid: bytes, view: View, config: MembershipConfig) -> None:
        self._hid = hid
        self._view = view
        self._config = config
        self._look_at = math.inf
        self._patient_until = -math.inf
        self._met_at = -math.inf

    def met(self, now: float) -> float:
        """Another host of the link has spoken, or this one has come; returns when to send a heartbeat at the latest."""
        was_alone = now - self._met_at > self._config.company_s
        self._met_at = now
        return now + self.period_s() if was_alone else math.inf

    def pause_s(self, now: float, rng: Random) -> float:
        """Until the next heartbeat. Whom nobody has heard for a minute there is nobody to miss; newcomers ask."""
        is_alone = not self._view.live and now - self._met_at > self._config.company_s
        period_s = self._config.heartbeat_max_s if is_alone else self.period_s()
        return period_s * (1.0 + HEARTBEAT_JITTER * (2.0 * rng.random() - 1.0))

    def period_s(self) -> float:
        """Of this host's heartbeats."""
        return self._config.heartbeat_s(len(self._view.live) + 1)

    def limit_s(self) -> float:
        """Who is silent for longer is looked for."""
        return self._config.silence_heartbeats * self.period_s()

    def refute_s(self, now: float) -> float:
        """How long an accused member may take to say that it lives."""
        return self._config.refute_s * self._patience(now)

    def is_patient(self, now: float) -> bool:
        """Whether this host has lately been too slow to listen, so that silence says nothing."""
        return now < self._patient_until

    def came_in(self, now: float) -> None:
        """A member has come in, and may fall silent."""
        self._look_at = min(self._look_at, now + self.limit_s())

    def was_late(self, due_at: float, now: float) -> None:
        """This host should have acted at a time; if that is long ago it has not listened either."""
        if now - due_at > self.period_s() and due_at > -math.inf:
            self._patient_until = now + PATIENCE_WHEN_LATE * self.limit_s()

    def look(self, now: float) -> list[Member]:
        """Whom to look for now: of each silent one the first by rank do so at once, others if those find nothing."""
        limit_s = self.limit_s()
        turn_s = (2.0 * self._config.check_interval_s) + self._config.refute_s
        self._look_at = now + limit_s
        live = self._view.live
        silent = []
        for member in live:
            if member.state is State.SUSPECT:
                continue
            due_at = member.heard_at + limit_s * self._patience(now)
            if due_at <= now:
                others = [other.hid for other in live if other.hid != member.hid]
                due_at += rank(member.hid, [*others, self._hid]).index(self._hid) // self._config.checkers * turn_s
            if due_at <= now:
                silent.append(member)
            else:
                self._look_at = min(self._look_at, due_at)
        return silent

    def next_deadline(self) -> float:
        """When to call `look`."""
        return self._look_at

    def _patience(self, now: float) -> float:
        return PATIENCE_WHEN_LATE if self.is_patient(now) else 1.0

"""Who has accused whom, and what follows (mDHT design, sections 3 and 14).

Where hosts do not sign, one accusation is enough: whoever does not refute it is dead. Where they do, no single host may
end another one. Its accusation is a reason for the others to look for themselves, and a member is dead only when two
have found it so, or when this host has and nobody else is there who could.
"""

import math
from enum import Enum
from typing import Final

from mdht.subnet.checks import Checks
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import State
from mdht.subnet.view import Member, View, rank

ACCUSERS: Final = 2
"That make a member dead; of a host that sees for itself one less, where nobody else could (mDHT design, section 14)."
_ME: Final = ""
"The place of this host, which is no member of its own view."


class Verdict(Enum):
    """What an accusation has led to."""

    WAIT = "wait"
    LOOK = "look"
    "This host must see for itself."
    DEAD = "dead"


def verdict(*, accusers: int, hosts: int, mine: bool, late: bool) -> Verdict:
    """What follows from the accusations of a member that had its time to refute them.

    Args:
        accusers: hosts that did not find it, this one perhaps among them.
        hosts: that can look for it: this one, and all live members that are not accused themselves.
        mine: whether this host did not find it.
        late: whether others have had much more time than it takes to look.
    """
    if accusers >= ACCUSERS or (mine and (hosts < ACCUSERS or late)):
        return Verdict.DEAD
    return Verdict.WAIT if mine else Verdict.LOOK


def place(host: Member) -> str:
    """The machine of a member: whoever gives himself two names there is one host all the same."""
    return host.addresses[0][0] if host.addresses else host.hid.hex()


def able(view: View, member: Member) -> set[str]:
    """Machines of others that can look for a member: those of all live ones that are not accused themselves."""
    return {place(one) for one in view.live if one is not member and one.state is not State.SUSPECT}


class _Case:
    __slots__ = ("accusers", "due_at", "late_at", "look_at", "mine")

    def __init__(self, due_at: float, late_at: float) -> None:
        self.accusers: set[str] = set()
        self.mine = False
        self.due_at = self.look_at = due_at
        self.late_at = late_at


class Accusations:
    """Those that one host knows of.

    Args:
        hid: own name.
        view: the others.
        checks: looks for members.
        config: times.
        proven: whether hosts sign, so that two accusers are needed.
    """

    def __init__(self, hid: bytes, view: View, checks: Checks, config: MembershipConfig, *, proven: bool) -> None:
        self._hid = hid
        self._view = view
        self._checks = checks
        self._config = config
        self._proven = proven
        self._cases: dict[bytes, _Case] = {}

    def add(self, member: Member, accuser: Member | None, refute_s: float, now: float) -> bool:
        """A member is accused; False where this host does not suspect it because of that.

        Args:
            member: who is accused.
            accuser: by whom; None for this host.
            refute_s: how long it may take to refute that.
            now: the time.
        """
        case = self._cases.get(member.hid)
        if case is None:
            case = self._cases[member.hid] = _Case(now + refute_s, now + max(refute_s, self._config.alone_s))
        case.accusers.add(_ME if accuser is None else place(accuser))
        case.mine = case.mine or accuser is None
        if not self._proven:
            return True
        if case.mine or len(case.accusers) >= ACCUSERS:
            case.look_at = min(case.look_at, max(now, case.due_at))
            return True
        if self._is_next(member, accuser):
            self._checks.start(member)
        return False

    def drop(self, hid: bytes) -> None:
        """It lives, or is gone for another reason."""
        self._cases.pop(hid, None)

    def clear(self) -> None:
        """All members are others."""
        self._cases.clear()

    def due(self, now: float) -> list[Member]:
        """Who is dead; for some others this host begins to look itself, at the next tick."""
        dead = []
        for hid in [hid for hid, case in self._cases.items() if case.look_at <= now]:
            case, member = self._cases[hid], self._view.get(hid)
            if member is None:
                del self._cases[hid]
                continue
            match self._verdict(case, member, now):
                case Verdict.DEAD:
                    del self._cases[hid]
                    dead.append(member)
                    continue
                case Verdict.LOOK:
                    self._checks.start(member)
                case Verdict.WAIT:
                    self._checks.accuse(member, now)  # whoever has not found it either says so, perhaps again
            case.look_at = now + self._config.check_interval_s
        return dead

    def next_deadline(self) -> float:
        """When to call `due`; `math.inf` for never."""
        return min([case.look_at for case in self._cases.values()], default=math.inf)

    def _verdict(self, case: _Case, member: Member, now: float) -> Verdict:
        if not self._proven:
            return Verdict.DEAD
        return verdict(
            accusers=len(case.accusers), hosts=len(self._able(member)), mine=case.mine, late=now >= case.late_at
        )

    def _able(self, member: Member) -> set[str]:
        """Machines that can look for a member."""
        return {_ME, *able(self._view, member)}

    def _is_next(self, member: Member, accuser: Member | None) -> bool:
        """Whether this host is among the first that see whether the accuser is right; others have their turn later."""
        others = [one.hid for one in self._view.live if one is not member and one is not accuser]
        return self._hid in rank(member.hid, [*others, self._hid])[: self._config.checkers]

"""Looking for silent members: ping twice, once more through a third, then accuse (mDHT design, section 3)."""

import math
from collections.abc import Callable
from random import Random
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.effects import Effect, Multicast, Unicast
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Ping, PingRequest, Pong, Suspect
from mdht.subnet.view import Member

NONCE_BYTES: Final = 8
PINGS: Final = 2
RELAYS_MAX: Final = 256
"Pings sent for others that are remembered."


def accusation(member: Member, now: float) -> Suspect:
    """What is said of a member that was not found."""
    silent_ds = int(10.0 * (now - member.heard_at))
    return Suspect(target=member.hid, incarnation=member.incarnation, silent_ds=silent_ds)


class _Check:
    __slots__ = ("member", "next_at", "nonce", "pings")

    def __init__(self, member: Member, nonce: bytes) -> None:
        self.member = member
        self.nonce = nonce
        self.pings = 0
        self.next_at = -math.inf


class Checks:
    """The checks under way at one host, and those that it does for others.

    Args:
        config: times.
        rng: draws nonces, which nobody who does not receive them can guess.
        relay: names a third member that is asked to ping somebody, if there is one.
    """

    def __init__(self, config: MembershipConfig, rng: Random, relay: Callable[[Member], Member | None]) -> None:
        self._config = config
        self._rng = rng
        self._relay = relay
        self._checks: dict[bytes, _Check] = {}
        self._for_others: dict[bytes, Address] = {}
        self.effects: list[Effect] = []

    def start(self, member: Member) -> None:
        """Begin to look for a member, at the next tick; nothing when that is under way."""
        if member.hid not in self._checks and member.addresses:
            self._checks[member.hid] = _Check(member, self.nonce())

    def end(self, hid: bytes) -> None:
        """A sign of life has come, or the member is gone for another reason."""
        self._checks.pop(hid, None)

    def clear(self) -> None:
        """All members are others."""
        self._checks.clear()

    def asks(self, hid: bytes, nonce: bytes) -> bool:
        """Whether a member is being pinged with this nonce."""
        check = self._checks.get(hid)
        return check is not None and check.nonce == nonce

    def on_pong(self, nonce: bytes) -> Member | None:
        """The member that answers with this nonce, perhaps through a third; None when nobody was asked with it."""
        for check in self._checks.values():
            if check.nonce == nonce:
                self.end(check.member.hid)
                return check.member
        asker = self._for_others.pop(nonce, None)
        if asker is not None:
            self.effects.append(Unicast(asker, Pong(nonce=nonce)))
        return None

    def ping_for(self, asker: Address, target: Member, nonce: bytes) -> None:
        """Ping a member for somebody else, and hand the answer on."""
        if len(self._for_others) >= RELAYS_MAX:
            del self._for_others[next(iter(self._for_others))]
        self._for_others[nonce] = asker
        self.effects.append(Unicast(target.addresses[0], Ping(nonce=nonce)))

    def tick(self, now: float) -> list[Member]:
        """Send what is due; the members that must be accused now."""
        accused = []
        for check in [check for check in self._checks.values() if check.next_at <= now]:
            if check.pings == PINGS:
                self.end(check.member.hid)
                accused.append(check.member)
                self.accuse(check.member, now)
            else:
                self._ping(check, now)
        return accused

    def accuse(self, member: Member, now: float) -> None:
        """Tell all that a member was not found."""
        said = accusation(member, now)
        self.effects.append(Multicast(said))
        # To the accused itself too, as multicasts get lost: it must have its chance to refute.
        self.effects.append(Unicast(member.addresses[0], said))

    def _ping(self, check: _Check, now: float) -> None:
        addresses = check.member.addresses
        self.effects.append(Unicast(addresses[check.pings % len(addresses)], Ping(nonce=check.nonce)))
        check.pings += 1
        check.next_at = now + self._config.check_interval_s
        third = self._relay(check.member) if check.pings == PINGS else None
        if third is not None:
            self.effects.append(Unicast(third.addresses[0], PingRequest(nonce=check.nonce, target=check.member.hid)))

    def next_deadline(self) -> float:
        """When to call `tick`."""
        return min((check.next_at for check in self._checks.values()), default=math.inf)

    def nonce(self) -> bytes:
        """Eight random bytes."""
        return self._rng.randbytes(NONCE_BYTES)

"""What one host says of others: it makes nobody a member and nobody dead, it only says whom to ask (section 3)."""

from collections.abc import Callable
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.checks import Checks
from mdht.subnet.effects import Unicast
from mdht.subnet.messages import MemberEntry, Ping, PingRequest, State
from mdht.subnet.messages import View as ViewMessage
from mdht.subnet.view import Member, View

DIFFERENCES: Final = 2
"Heartbeats in a row with another view, after which views are compared."
CLAIMED: Final = frozenset({State.JOINING, State.READY, State.LEAVING})
"States that a host may say of itself."
Meet = Callable[[bytes, int, tuple[Address, ...], State, float], None]
"Name, incarnation, addresses and state of a stranger, and the time."


class Hearsay:
    """One host's ear for it.

    Args:
        hid: own name.
        view: the others.
        checks: looks for members.
        meet: pings a stranger at a time.
        present: tells a member that this host is there.
    """

    def __init__(
        self, hid: bytes, view: View, checks: Checks, meet: Meet, present: Callable[[Address], Unicast]
    ) -> None:
        self._hid = hid
        self._view = view
        self._checks = checks
        self._meet = meet
        self._present = present

    def receive(self, message: PingRequest | ViewMessage, source: Address, now: float) -> list[Unicast]:
        """A sibling does not reach a member, or tells its view and perhaps wants this one."""
        if isinstance(message, PingRequest):
            wanted = self._view.get(message.target)
            if wanted is not None and wanted.addresses:
                self._checks.ping_for(source, wanted, message.nonce)
            return []
        pings = [ping for entry in message.members for ping in self._on_entry(entry, now)]
        return pings + (self._view.told_to(source, now) if message.answer else [])

    def compare(self, member: Member, theirs: bytes, mine: bytes, now: float) -> list[Unicast]:
        """After two heartbeats in a row with another view: tell ours, and ask for the other one.

        It may be that the member does not know this host, as it does not hear it: then it would not listen either.
        """
        member.differs = 0 if theirs == mine else member.differs + 1
        if member.differs < DIFFERENCES or not member.addresses:
            return []
        member.differs = 0
        to = member.addresses[0]
        return [self._present(to), *self._view.told_to(to, now, answer=True)]

    def _on_entry(self, entry: MemberEntry, now: float) -> list[Unicast]:
        known = self._view.get(entry.hid)
        lives = entry.state in CLAIMED
        if entry.hid == self._hid or (known is not None and entry.incarnation < known.incarnation):
            return []
        if known is None:
            self._meet(entry.hid, entry.incarnation, entry.addresses, entry.state, now)
        elif known.live and not lives:
            self._checks.start(known)
        elif lives and not known.live and entry.addresses:
            return [Unicast(entry.addresses[0], Ping(nonce=self._checks.nonce()))]
        return []

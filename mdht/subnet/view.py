"""Who is in the subnet: a table of members, and the table of steps by which they change (mDHT design, section 3)."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.effects import Unicast
from mdht.subnet.epochs import believable, checked, next_epoch
from mdht.subnet.messages import HASH_BYTES, MemberEntry, State
from mdht.subnet.messages import View as ViewMessage

LIVE: Final = frozenset({State.JOINING, State.READY, State.LEAVING, State.SUSPECT})
"States of a member that counts: suspicion alone takes nobody out."


ENTRIES_MAX: Final = 12
"Members in one datagram; with four addresses of IPv6 each they fill it."


class Input(Enum):
    """What can be learnt of a member."""

    JOINS = "joins"
    "It says itself that it joins; so do the next two say of themselves."
    IS_READY = "is ready"
    LEAVES = "leaves"
    GOODBYE = "goodbye"
    SIGN_OF_LIFE = "sign of life"
    "A packet from itself that does not say what it is."
    ACCUSED = "accused"
    "Somebody could not reach it."
    UNREFUTED = "unrefuted"


BEFORE: Final = None
"The state before the suspicion."

TRANSITIONS: Final[Mapping[tuple[State, Input], State | None]] = {
    (State.JOINING, Input.IS_READY): State.READY,
    (State.JOINING, Input.LEAVES): State.LEAVING,
    (State.JOINING, Input.GOODBYE): State.LEFT,
    (State.JOINING, Input.ACCUSED): State.SUSPECT,
    (State.READY, Input.JOINS): State.JOINING,
    (State.READY, Input.LEAVES): State.LEAVING,
    (State.READY, Input.GOODBYE): State.LEFT,
    (State.READY, Input.ACCUSED): State.SUSPECT,
    (State.LEAVING, Input.JOINS): State.JOINING,
    (State.LEAVING, Input.IS_READY): State.READY,
    (State.LEAVING, Input.GOODBYE): State.LEFT,
    (State.LEAVING, Input.ACCUSED): State.SUSPECT,
    (State.SUSPECT, Input.JOINS): State.JOINING,
    (State.SUSPECT, Input.IS_READY): State.READY,
    (State.SUSPECT, Input.LEAVES): State.LEAVING,
    (State.SUSPECT, Input.GOODBYE): State.LEFT,
    (State.SUSPECT, Input.SIGN_OF_LIFE): BEFORE,
    (State.SUSPECT, Input.UNREFUTED): State.DEAD,
    # A link has healed, or the host was merely asleep.
    (State.DEAD, Input.JOINS): State.JOINING,
    (State.DEAD, Input.IS_READY): State.READY,
    (State.DEAD, Input.LEAVES): State.LEAVING,
    (State.DEAD, Input.SIGN_OF_LIFE): BEFORE,
    (State.DEAD, Input.GOODBYE): State.LEFT,
    (State.LEFT, Input.JOINS): State.JOINING,
    (State.LEFT, Input.IS_READY): State.READY,
}
"A pair that is not listed changes nothing."

NEW_START_ONLY: Final = frozenset(
    {
        (State.READY, Input.JOINS),
        (State.LEAVING, Input.JOINS),
        (State.LEAVING, Input.IS_READY),
        (State.LEFT, Input.JOINS),
        (State.LEFT, Input.IS_READY),
    }
)
"Steps for which the member must have started anew: a heartbeat that was overtaken by its goodbye undoes nothing."


class Member:
    """One host of the subnet, as another one sees it. Times are of the caller's clock, in seconds."""

    __slots__ = (
        "addresses",
        "before",
        "changed_at",
        "differs",
        "heard_at",
        "hid",
        "incarnation",
        "mapped",
        "multicast_at",
        "state",
        "unlisted",
    )

    def __init__(self, hid: bytes, incarnation: int, addresses: tuple[Address, ...], state: State, now: float) -> None:
        self.hid = hid
        self.incarnation = incarnation
        self.addresses = addresses
        self.state = state
        self.before = state
        "What it was when it was accused."
        self.heard_at = now
        "Of the last packet from itself."
        self.multicast_at = -math.inf
        "Of the last one that came by multicast."
        self.changed_at = now
        self.mapped: Address | None = None
        "Where hosts of other subnets reach it, if that is no address of the link."
        self.unlisted: bool | None = None
        "They do not reach it unasked; None as long as it has not said."
        self.differs = 0
        "Heartbeats in a row in which its view was another one than ours."

    @property
    def live(self) -> bool:
        """Whether it counts as a member."""
        return self.state in LIVE


class View:
    """All members known, the gone ones until their tombstone falls.

    Args:
        epoch: to count from: what a host knew before it was started again. A node whose epoch fell would be taken for
            an older one of itself by all other nodes.
    """

    __slots__ = ("_epoch", "_members")

    def __init__(self, epoch: int = 0) -> None:
        self._members: dict[bytes, Member] = {}
        self._epoch = checked(epoch)

    @property
    def epoch(self) -> int:
        """Grows with each change of a state or of the members; siblings share it, and it never falls.

        One that is taken in from a sibling may be ahead of the change behind it. The change then counts one more, so
        that of two sets of hosts that this subnet tells the one of the larger epoch always knows more.
        """
        return self._epoch

    def changed(self) -> None:
        """Something has changed that other nodes are told: count it."""
        self._epoch = next_epoch(self._epoch)

    def hear_epoch(self, heard: int) -> bool:
        """Take in a sibling's epoch; False for one beyond belief."""
        if not believable(self._epoch, heard):
            return False
        self._epoch = max(self._epoch, heard)
        return True

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def get(self, hid: bytes) -> Member | None:
        """The member of that name."""
        return self._members.get(hid)

    @property
    def live(self) -> list[Member]:
        """Members that count, in the order of their names, which all siblings share."""
        return sorted((member for member in self if member.live), key=lambda member: member.hid)

    @property
    def ready(self) -> list[bytes]:
        """Names of those that answer for the subnet and can be reached."""
        return [member.hid for member in self.live if member.state is State.READY and member.addresses]

    def heard_since(self, since: float) -> int:
        """Live members that were heard by multicast since then."""
        return sum(member.live and member.multicast_at >= since for member in self)

    def add(self, member: Member) -> None:
        """Take in a new one."""
        self._members[member.hid] = member
        self.changed()

    def remove(self, member: Member) -> None:
        """Forget one, as if it never had been here."""
        self._members.pop(member.hid, None)

    def clear(self) -> None:
        """Forget all."""
        self._members.clear()
        self.changed()

    def note_outside(self, member: Member, mapped: Address | None, *, unlisted: bool) -> None:
        """A member tells whether hosts of other subnets reach it, and where."""
        if (mapped, unlisted) != (member.mapped, member.unlisted):
            member.mapped, member.unlisted = mapped, unlisted
            self.changed()

    def step(self, member: Member, what: Input, incarnation: int, now: float) -> bool:
        """Take the step that the table has for what was learnt; True when the state has changed.

        Args:
            member: whom it is about.
            what: what was learnt.
            incarnation: of the member, in what was learnt; older news than what is known changes nothing.
            now: the time.
        """
        if incarnation < member.incarnation:
            return False
        newer = incarnation > member.incarnation
        member.incarnation = incarnation
        step = (member.state, what)
        if step not in TRANSITIONS or (step in NEW_START_ONLY and not newer):
            return False
        to = TRANSITIONS[step]
        if what is Input.ACCUSED:
            member.before = member.state
        member.state = member.before if to is None else to
        member.changed_at = now
        self.changed()
        return True

    def forget(self, *, left_before: float, dead_before: float) -> None:
        """Drop those who left, and those who died, before a time."""
        oldest = {State.LEFT: left_before, State.DEAD: dead_before}
        gone = [member.hid for member in self if not member.live and member.changed_at < oldest[member.state]]
        for hid in gone:
            del self._members[hid]

    def hash(self, me: bytes, incarnation: int) -> bytes:
        """What siblings compare: equal for equal live members, whatever each thinks of them.

        Args:
            me: name of the host whose view this is, which is not in it.
            incarnation: its own.
        """
        digest = hashlib.sha1(usedforsecurity=False)
        for hid, number in sorted([(me, incarnation), *[(m.hid, m.incarnation) for m in self if m.live]]):
            digest.update(hid + number.to_bytes(4, "big"))
        return digest.digest()[:HASH_BYTES]

    def told_to(self, to: Address, now: float, *, answer: bool = False) -> list[Unicast]:
        """All of it, for another sibling; the last part asks for the sibling's own if an answer is wanted."""
        entries = tuple([_entry(member, now) for member in self])
        parts = [entries[at : at + ENTRIES_MAX] for at in range(0, len(entries), ENTRIES_MAX)] or [()]
        return [
            Unicast(to, ViewMessage(epoch=self.epoch, members=part, answer=answer and part is parts[-1]))
            for part in parts
        ]


def _entry(member: Member, now: float) -> MemberEntry:
    return MemberEntry(
        hid=member.hid,
        incarnation=member.incarnation,
        state=member.state,
        addresses=member.addresses,
        age_s=int(now - member.heard_at),
    )


def rank(subject: bytes, hids: list[bytes]) -> list[bytes]:
    """Names by highest random weight for a subject: all siblings come to one order, another one for each subject."""
    return sorted(hids, key=lambda hid: hashlib.sha1(subject + hid, usedforsecurity=False).digest(), reverse=True)

"""Which of two stays: of two rings, of two subnets on one link, of two subnets of one identity (sections 1 and 6)."""

from enum import Enum
from typing import Final

import msgspec

from mdht.subnet.identity import Kind, Subnet, gives_way

MERGE_RTT_S: Final = 0.005
"Hosts that reach each other faster are in one place."
DOUBLE_S: Final = 30
"Foundings younger than this that meet on one link were one by intention; older ones have records to be moved."
AGES_ALIKE_S: Final = 10.0
"""Of two subnets that differ by less neither is the younger: those of one moment are common, after a power cut say, and
each host knows the age to a second or so only."""


class Shared(Enum):
    """What two sides know of each other's pre-shared key."""

    NONE = "none"
    "No key is set, here or there."
    SAME = "same"
    DIFFERENT = "different"


class Meeting(msgspec.Struct, frozen=True, kw_only=True):
    """What hosts of two subnets have found when they pinged each other."""

    all_reach_all: bool
    rtt_s: float
    "The longest round trip."
    key: Shared


class Outcome(Enum):
    """What becomes of a subnet that has met another one of its own identifier."""

    ONE_NODE = "one node"
    "Both are one, over unicast: not built, so that `face_rivals` never asks for it."
    STAY = "stay"
    "The other one takes another identifier."
    SALT = "salt"
    "This one does: `Subnet.salted` is founded, which joins again."


class Claim(msgspec.Struct, frozen=True):
    """A founding, as it was told."""

    age_s: int
    "Whole seconds, as both sides have told each other in one exchange: of other numbers both might give way."
    tag: bytes


def settle_conflict(mine: Claim, other: Claim, meeting: Meeting, *, unicast_merge: bool) -> Outcome:
    """What this subnet does about another founding of its identity.

    Args:
        mine: of this subnet.
        other: of the other one.
        meeting: how their hosts reach each other.
        unicast_merge: whether two may become one without a key that both have.

    Raises:
        ValueError: both are of one tag, that is, no two foundings.
    """
    if mine.tag == other.tag:
        raise ValueError("one founding is no conflict")
    trusted = meeting.key is Shared.SAME or (meeting.key is Shared.NONE and unicast_merge)
    if trusted and meeting.all_reach_all and meeting.rtt_s < MERGE_RTT_S:
        return Outcome.ONE_NODE
    return Outcome.SALT if gives_way((mine.age_s, mine.tag), (other.age_s, other.tag)) else Outcome.STAY


def yields_on_link(mine: Subnet, my_age_s: float, other: Subnet, other_age_s: float) -> bool:
    """Whether this subnet gives way at once to another one that serves the same link.

    Hello may be lost, and then two hosts found at once. Whoever is young yields to what is not; of two young ones the
    larger tag does, whatever their ages: those of one moment differ by less than they are told with. Older ones are
    another matter, as they have records: then it is the number of members that counts (section 11).
    """
    if mine.tag == other.tag or my_age_s >= DOUBLE_S or not may_merge(mine, other):
        return False
    return other_age_s >= DOUBLE_S or other.tag < mine.tag


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet, in the eyes of one host of its link."""

    members: int
    age_s: float
    node_id: int
    tag: bytes


def loses(mine: Standing, other: Standing) -> bool:
    """Whether of two old subnets on one link this one gives way: the one of fewer members, else the younger.

    Of two that are alike in that it is the one of the larger identifier, or tag.
    """
    if mine.members != other.members:
        return mine.members < other.members
    if abs(mine.age_s - other.age_s) > AGES_ALIKE_S:
        return mine.age_s < other.age_s
    return (mine.node_id, mine.tag) > (other.node_id, other.tag)


def may_merge(mine: Subnet, other: Subnet) -> bool:
    """Subnets that were given different names by intention stay two."""
    named = mine.identity.kind is Kind.NAME and other.identity.kind is Kind.NAME
    return not named or mine.identity.data == other.identity.data


def surviving_ring(mine: bytes, other: bytes) -> bytes:
    """Of two rings of one overlay that meet, the one that all nodes come to: that of the smaller number."""
    return min(mine, other)

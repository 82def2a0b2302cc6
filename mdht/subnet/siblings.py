"""What a lookup has to know of the members of its subnet."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from mdht.subnet.membership import Membership
from mdht.subnet.messages import State
from mdht.subnet.view import Member

ANSWERING: Final = frozenset({State.READY, State.LEAVING})
"States of hosts that answer a question to all: one that leaves may still have what it has not handed over."
DOUBTFUL: Final = frozenset({State.SUSPECT, State.JOINING})


class Siblings:
    """The other members, as one host sees them.

    Args:
        membership: of this host.
        small_max: up to so many live members, this host among them, the subnet is small: there everybody answers.
    """

    def __init__(self, membership: Membership, small_max: int) -> None:
        self._membership = membership
        self._small_max = small_max

    @property
    def me(self) -> bytes:
        """Name of this host."""
        return self._membership.hid

    @property
    def answering(self) -> bool:
        """Whether this host answers questions to all."""
        return self._membership.state in ANSWERING

    @property
    def alone(self) -> bool:
        """Whether there is nobody else."""
        return not any(member.live for member in self._membership.view)

    @property
    def size(self) -> int:
        """Live members, this host among them."""
        return sum(member.live for member in self._membership.view) + 1

    @property
    def small(self) -> bool:
        """Whether it can be known of all members what they say."""
        return self.size <= self._small_max

    def get(self, hid: bytes) -> Member | None:
        """A live member that can be reached."""
        member = self._membership.view.get(hid)
        return member if member is not None and member.live and member.addresses else None

    def answerers(self) -> list[Member]:
        """The others that answer questions to all."""
        return [member for member in self._membership.view.live if member.state in ANSWERING and member.addresses]

    def first_answerer(self, hids: Iterable[bytes], besides: AbstractSet[bytes]) -> Member | None:
        """The first of these that answers, and is not among those."""
        for hid in hids:
            member = self.get(hid)
            if member is not None and member.state in ANSWERING and hid not in besides:
                return member
        return None

    def all_among(self, hids: AbstractSet[bytes]) -> bool:
        """Whether nobody but these could answer; never known of a large subnet, nor where nobody is able to answer."""
        if self.alone:
            return True
        answerers = self.answerers() if self.small else []
        return bool(answerers) and all(member.hid in hids for member in answerers)

    def doubtful(self, now: float) -> bool:
        """Whether a member may have what it cannot be asked for, or multicast does not reach all."""
        live = self._membership.view.live
        states = {self._membership.state, *[member.state for member in live]}
        return not states.isdisjoint(DOUBTFUL) or self._membership.heard(now) < len(live)

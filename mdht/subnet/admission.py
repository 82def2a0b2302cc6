"""Who comes to a subnet: a stranger is a member once it answers from where it says to be (mDHT design, section 3)."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.effects import Effect, MemberChanged
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Pong, State
from mdht.subnet.reach import Reach
from mdht.subnet.silence import Silence
from mdht.subnet.strangers import Stranger, Strangers
from mdht.subnet.view import Input, Member, View
from mdht.subnet.wire import Header

INPUTS: Final = {State.JOINING: Input.JOINS, State.READY: Input.IS_READY, State.LEAVING: Input.LEAVES}
"States that a host may say of itself, and what is learnt by that."


class Admission:
    """One host's.

    Args:
        view: the members.
        silence: whom to listen for.
        reach: which way members are heard.
        config: times and limits.
        nonce: draws eight bytes that nobody can guess.
        counters: of those turned away, and of those who never answered.
        proven: whether hosts sign what they say of themselves, so that what others say counts for less.
    """

    def __init__(
        self,
        view: View,
        silence: Silence,
        reach: Reach,
        config: MembershipConfig,
        nonce: Callable[[], bytes],
        counters: Counter[str],
        *,
        proven: bool,
    ) -> None:
        self._view = view
        self._silence = silence
        self._reach = reach
        self._members_max = config.members_max
        self._counters = counters
        self._proven = proven
        self._strangers = Strangers(
            most=config.strangers_max, patience_s=2.0 * config.check_interval_s, nonce=nonce, counters=counters
        )
        self.effects: list[Effect] = []

    def meet(self, hid: bytes, incarnation: int, addresses: tuple[Address, ...], state: State, now: float) -> None:
        """Somebody new, or at a new address, says so himself."""
        self._ping(hid, incarnation, addresses, state, now, proven=self._proven)

    def hear_of(self, hid: bytes, incarnation: int, addresses: tuple[Address, ...], state: State, now: float) -> None:
        """Another host says that somebody is there."""
        self._ping(hid, incarnation, addresses, state, now, proven=False)

    def on_pong(self, header: Header, pong: Pong, now: float) -> bool:
        """Let in whoever has answered; False for any other answer."""
        stranger = self._strangers.on_pong(header.hid, pong.nonce)
        if stranger is None:
            return False
        stranger.incarnation = header.incarnation  # by its own word, as hearsay would let nobody hear it who has less
        if self._proven:
            stranger.state = pong.state if pong.state in INPUTS else State.JOINING
        self._let_in(stranger, now)
        return True

    def expire(self, now: float) -> None:
        """Forget who has not answered."""
        self._strangers.expire(now)

    def next_deadline(self) -> float:
        """When to call `expire`."""
        return self._strangers.next_deadline()

    def _ping(
        self, hid: bytes, incarnation: int, addresses: tuple[Address, ...], state: State, now: float, *, proven: bool
    ) -> None:
        if state not in INPUTS:
            return
        if len(self._view) >= self._members_max and self._view.get(hid) is None:
            self._counters["turned_away"] += 1
            return
        self.effects += self._strangers.meet(hid, incarnation, addresses, state, now, proven=proven)

    def _let_in(self, stranger: Stranger, now: float) -> None:
        known = self._view.get(stranger.hid)
        if known is not None:
            known.addresses = stranger.addresses
            self._view.changed()
            return
        self._view.add(Member(stranger.hid, stranger.incarnation, stranger.addresses, stranger.state, now))
        self._silence.came_in(now)
        self._reach.came_in(stranger.hid, now)
        self.effects.append(MemberChanged(stranger.hid, stranger.state))

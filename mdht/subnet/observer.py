"""Who is in the subnet, as somebody sees it who only listens: no member, never answering for anything.

An observer says hello without an address. Members answer that, but nobody pings it, counts it or tells it anything
else, because whoever names no address is not let in. After that it depends on what all are told: it sees heartbeats
and goodbyes at once, a crash when the members announce it, or after ten heartbeats that did not come and a second in
which the host may refute that.
"""

import math
from collections import Counter
from random import Random
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.accusations import ACCUSERS, able, place
from mdht.subnet.effects import Effect, MemberChanged, Multicast
from mdht.subnet.greetings import Greetings
from mdht.subnet.host_keys import is_signed
from mdht.subnet.identity import NO_TAG
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Bye, Hello, Here, Message, State, Suspect
from mdht.subnet.view import Input, Member, View
from mdht.subnet.wire import Header

SILENCE_HEARTBEATS: Final = 10.0
"Who cannot ping must wait longer than members do: of multicasts a fifth may be lost."
_INPUTS: Final = {State.JOINING: Input.JOINS, State.READY: Input.IS_READY, State.LEAVING: Input.LEAVES}


class Observer:
    """One that listens; driven as `Membership` is.

    Args:
        hid: a name for this time only.
        overlay_hash: SHA-1 of the overlay's name.
        config: the members' times and limits.
        rng: all chance.
        proven: whether hosts sign what they say of themselves.

    Attributes:
        view: whom it has heard.
        size: live members, by the largest count that a live one told in its last heartbeat.
        counters: of what was refused.
    """

    def __init__(
        self, hid: bytes, overlay_hash: bytes, config: MembershipConfig, rng: Random, *, proven: bool = False
    ) -> None:
        self.hid = hid
        self.incarnation = 1
        self.view = View()
        self.counters: Counter[str] = Counter()
        self._overlay_hash = overlay_hash
        self._config = config
        self._rng = rng
        self._greetings = Greetings(answers=config.answers, answer_step_s=config.answer_step_s)
        self._proven = proven
        self._accusers: dict[bytes, set[str]] = {}
        self._sizes: dict[bytes, int] = {}
        self._refute_by: dict[bytes, float] = {}
        self._effects: list[Effect] = []

    def start(self, now: float) -> list[Effect]:
        """Say hello, three times."""
        self._greetings.come(now, self._rng)
        return self.tick(now)

    @property
    def size(self) -> int:
        """How many live members there are, by what those heard say."""
        return max([self._sizes.get(member.hid, 1) for member in self.view if member.live], default=0)

    @property
    def complete(self) -> bool:
        """Whether all of them were heard."""
        live = len(self.view.live)
        return 0 < self.size <= live

    def heartbeat_s(self) -> float:
        """Period of the members' heartbeats."""
        return self._config.heartbeat_s(max(self.size, len(self.view.live)))

    @property
    def tag(self) -> bytes:
        """Of no subnet."""
        return NO_TAG

    def heard_by_group(self, hid: bytes, now: float) -> None:
        """Who only listens tells nobody whom he hears."""

    def copies(self, now: float) -> list[Address]:  # noqa: ARG002 - as of other cores
        """Nowhere."""
        return []

    def receive(
        self, header: Header, message: Message, _source: Address, now: float, *, multicast: bool
    ) -> list[Effect]:
        """Act on one message of the link; only what all are told is for an observer."""
        if header.hid == self.hid or not multicast:
            return []
        member = self.view.get(header.hid)
        match message:
            case Here():
                self._on_here(member, header, message, now)
            case Bye() if member is not None and header.incarnation >= member.incarnation:
                member.heard_at = now
                self._step(member, Input.GOODBYE, header.incarnation, now)
            case Suspect(target=target, incarnation=incarnation):
                accused = self.view.get(target)
                if accused is not None and incarnation >= accused.incarnation and self._is_heard(accused, member):
                    self._accuse(accused, now)
            case _ if member is not None and header.incarnation == member.incarnation and self._is_own(message):
                member.heard_at = now
                self._step(member, Input.SIGN_OF_LIFE, header.incarnation, now)
            case _:
                pass
        return self._collect()

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        if self._greetings.due(now):
            self._effects.append(Multicast(Hello(overlay_hash=self._overlay_hash)))
        for hid in [hid for hid, by in self._refute_by.items() if by <= now]:
            del self._refute_by[hid]
            accused = self.view.get(hid)
            if accused is not None:
                self._step(accused, Input.UNREFUTED, accused.incarnation, now)
        for member in self._trusted():
            if member.heard_at + self._silence_s() <= now:
                self._accuse(member, now)
        gone_before = now - self._config.tombstone_s
        self.view.forget(left_before=gone_before, dead_before=gone_before)
        return self._collect()

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        silent_at = min([member.heard_at for member in self._trusted()], default=math.inf) + self._silence_s()
        return min([self._greetings.next_deadline(), silent_at, *self._refute_by.values()])

    def _is_own(self, message: Message) -> bool:
        """Whether it must be of the host in whose name it is."""
        return not self._proven or is_signed(message)

    def _is_heard(self, accused: Member, accuser: Member | None) -> bool:
        """Whether an accusation makes a host suspect: where hosts sign it takes two, if there are two."""
        if not self._proven:
            return True
        if accuser is None or not accuser.live or accuser is accused or not accused.live:
            return False
        accusers = self._accusers.setdefault(accused.hid, set())
        accusers.add(place(accuser))
        return len(accusers) >= min(ACCUSERS, len(able(self.view, accused)))

    def _on_here(self, member: Member | None, header: Header, message: Here, now: float) -> None:
        if message.state not in _INPUTS:
            return
        if member is not None and header.incarnation >= member.incarnation:
            member.heard_at = now
            member.addresses = message.addresses
            self._accusers.pop(member.hid, None)
            self._sizes[header.hid] = message.size
            self._step(member, _INPUTS[message.state], header.incarnation, now)
        elif member is None and len(self.view) < self._config.members_max:
            self._sizes[header.hid] = message.size
            self.view.add(Member(header.hid, header.incarnation, message.addresses, message.state, now))
            self._effects.append(MemberChanged(header.hid, message.state))
        elif member is None:
            self.counters["turned_away"] += 1

    def _accuse(self, member: Member, now: float) -> None:
        self._step(member, Input.ACCUSED, member.incarnation, now)
        if member.state is State.SUSPECT:
            self._refute_by.setdefault(member.hid, now + self._config.refute_s)

    def _step(self, member: Member, what: Input, incarnation: int, now: float) -> None:
        if self.view.step(member, what, incarnation, now):
            if member.state is not State.SUSPECT:
                self._refute_by.pop(member.hid, None)
            if not member.live:
                self._accusers.pop(member.hid, None)
                self._sizes.pop(member.hid, None)
            self._effects.append(MemberChanged(member.hid, member.state))

    def _trusted(self) -> list[Member]:
        return [member for member in self.view.live if member.state is not State.SUSPECT]

    def _silence_s(self) -> float:
        return SILENCE_HEARTBEATS * self.heartbeat_s()

    def _collect(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

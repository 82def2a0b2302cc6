"""Who is in the subnet, as one host sees it: heartbeats, newcomers, crashes, goodbyes (mDHT design, section 3)."""

import math
from collections import Counter
from random import Random
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.checks import Checks
from mdht.subnet.effects import Effect, MemberChanged, Multicast, Reincarnated, Unicast
from mdht.subnet.greetings import Greetings, Word
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import (
    Bye,
    Hello,
    Here,
    MemberEntry,
    Message,
    Ping,
    PingRequest,
    Pong,
    State,
    Suspect,
    Want,
)
from mdht.subnet.messages import View as ViewMessage
from mdht.subnet.report import Report
from mdht.subnet.strangers import Stranger, Strangers
from mdht.subnet.view import Input, Member, View, rank
from mdht.subnet.wire import Header

HEARTBEAT_JITTER: Final = 0.1
DIFFERENCES: Final = 2
"Heartbeats in a row with another view, after which views are compared."
PATIENCE_WHEN_LATE: Final = 2.0
"A host that was itself too slow to listen waits so many times as long [Lifeguard]."
_INPUTS: Final = {State.JOINING: Input.JOINS, State.READY: Input.IS_READY, State.LEAVING: Input.LEAVES}


class Membership:
    """One host's part.

    Args:
        hid: own name.
        incarnation: number of this start, larger than any before.
        addresses: where others reach this host.
        overlay_hash: SHA-1 of the overlay's name.
        config: times and limits.
        rng: all chance.

    Attributes:
        state: what this host is; `READY` is set by `ready`.
        view: the others.
        report: what heartbeats tell beside this.
        counters: of what was refused.
    """

    def __init__(
        self,
        hid: bytes,
        incarnation: int,
        addresses: tuple[Address, ...],
        overlay_hash: bytes,
        config: MembershipConfig,
        rng: Random,
    ) -> None:
        self.hid = hid
        self.incarnation = incarnation
        self.state = State.LEFT
        self.view = View()
        self.report = Report()
        self.counters: Counter[str] = Counter()
        self._addresses = addresses
        self._overlay_hash = overlay_hash
        self._config = config
        self._rng = rng
        self._checks = Checks(config, rng, self._third)
        self._strangers = Strangers(
            most=config.strangers_max,
            patience_s=2.0 * config.check_interval_s,
            nonce=self._checks.nonce,
            counters=self.counters,
        )
        self._refute_by: dict[bytes, float] = {}
        self._greetings = Greetings(answers=config.answers, answer_step_s=config.answer_step_s)
        self._handed_over = False
        self._heartbeat_at = self._probe_at = self._revisit_at = self._silence_at = math.inf
        self._patient_until = -math.inf
        self._effects: list[Effect] = []

    # ---- driver's side -------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Say hello."""
        self.state = State.JOINING
        self._greetings.come(now, self._rng)
        self._heartbeat_at = now + self._period() * self._rng.random()
        self._probe_at = now + self._config.probe_s
        self._revisit_at = now + self._config.revisit_s
        return self.tick(now)

    def become(self, state: State, now: float) -> list[Effect]:
        """Say that this host is READY, that is has what it needs to answer for the subnet, or that it is LEAVING."""
        self.state = state
        self._heartbeat(now)
        return self._collect()

    def leave(self, now: float, *, handed_over: bool) -> list[Effect]:
        """Say goodbye, twice; drive it on until `next_deadline` is never."""
        self.state = State.LEFT
        self._handed_over = handed_over
        self._greetings.go(now)
        return self.tick(now)

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> list[Effect]:
        """Act on one message of the link; those of other layers count as signs of life."""
        if header.hid == self.hid:
            self.counters["own_name"] += header.incarnation > self.incarnation
            return []
        if self.state is State.LEFT:
            return []
        member = self.view.get(header.hid)
        if member is not None and header.incarnation >= member.incarnation:
            self._on_member(member, header, message, now, multicast=multicast)
        match message:
            case Hello():
                self._on_hello(header, message, now)
            case Here() if multicast:
                self._greetings.heard()
                if member is None:
                    self._meet(header.hid, header.incarnation, message.addresses, message.state, now)
            case Ping(nonce=nonce):
                self._effects.append(Unicast(source, Pong(nonce=nonce)))
            case Pong(nonce=nonce):
                self._on_pong(header, nonce, now)
            case Suspect() | PingRequest() | ViewMessage() if member is not None or self.state is State.JOINING:
                self._on_hearsay(message, source, now)
            case _:
                pass
        return self._collect()

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        due = self.next_deadline()
        if now - due > self._period() and due > -math.inf:
            self._patient_until = now + PATIENCE_WHEN_LATE * self._silence_s()
        self._greet(now)
        if self.state is State.LEFT:
            return self._collect()
        if now >= self._heartbeat_at:
            self._heartbeat(now)
        if now >= self._probe_at:
            self._probe(now)
        if now >= self._revisit_at:
            self._revisit(now)
        if now >= self._silence_at:
            self._look_for_silent(now)
        for member in self._checks.tick(now):
            self._accuse(member, member.incarnation, now)
        for hid in [hid for hid, by in self._refute_by.items() if by <= now]:
            del self._refute_by[hid]
            accused = self.view.get(hid)
            if accused is not None:
                self._step(accused, Input.UNREFUTED, accused.incarnation, now)
        self._strangers.expire(now)
        return self._collect()

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        if self.state is State.LEFT:
            return self._greetings.next_deadline()
        return min(
            self._heartbeat_at,
            self._probe_at,
            self._revisit_at,
            self._silence_at,
            self._checks.next_deadline(),
            self._greetings.next_deadline(),
            *self._refute_by.values(),
            self._strangers.next_deadline(),
        )

    # ---- what the layers above ask -------------------------------------------------------------------------------

    def ready_hids(self) -> list[bytes]:
        """Names of the hosts that answer for the subnet, this one among them, in the order that all share."""
        return sorted([*self.view.ready, *([self.hid] if self.state is State.READY else [])])

    def heard(self, now: float) -> int:
        """Live members that are heard by multicast; fewer than the live ones where multicast does not pass."""
        return self.view.heard_since(now - self._silence_s())

    # ---- others --------------------------------------------------------------------------------------------------

    def _on_member(self, member: Member, header: Header, message: Message, now: float, *, multicast: bool) -> None:
        member.heard_at = now
        if multicast:
            member.multicast_at = now
        self._checks.end(member.hid)
        match message:
            case Here(state=state, addresses=addresses):
                what = _INPUTS.get(state, Input.SIGN_OF_LIFE)
                self._compare(member, message.view_hash, now)
                if addresses and addresses != member.addresses:
                    self._meet(header.hid, header.incarnation, addresses, state, now)
            case Hello() if header.incarnation > member.incarnation:
                what = Input.JOINS
            case Bye():
                what = Input.GOODBYE
            case _:
                what = Input.SIGN_OF_LIFE
        # Only what says what it is may raise the incarnation: else its own hello would not be news any more.
        incarnation = member.incarnation if what is Input.SIGN_OF_LIFE else header.incarnation
        self._step(member, what, incarnation, now)

    def _on_hello(self, header: Header, message: Hello, now: float) -> None:
        if message.overlay_hash != self._overlay_hash:
            self.counters["other_overlay"] += 1
            return
        if self.view.get(header.hid) is None:
            self._meet(header.hid, header.incarnation, message.addresses, State.JOINING, now)
        if self.state is State.READY and Want.ANSWER in message.want:
            place = rank(header.hid, self.ready_hids()).index(self.hid)
            self._greetings.answer(header.hid, place, now)

    def _meet(self, hid: bytes, incarnation: int, addresses: tuple[Address, ...], state: State, now: float) -> None:
        """Somebody new, or at a new address: he is let in once he has answered there."""
        if state not in _INPUTS:
            return
        if len(self.view) >= self._config.members_max and self.view.get(hid) is None:
            self.counters["turned_away"] += 1
            return
        self._effects += self._strangers.meet(hid, incarnation, addresses, state, now)

    def _on_pong(self, header: Header, nonce: bytes, now: float) -> None:
        stranger = self._strangers.on_pong(header.hid, nonce)
        if stranger is not None:
            self._let_in(stranger, now)
            return
        found = self._checks.on_pong(nonce)
        if found is not None:
            found.heard_at = now  # through a third, perhaps: it lives all the same

    def _let_in(self, stranger: Stranger, now: float) -> None:
        known = self.view.get(stranger.hid)
        if known is not None:
            known.addresses = stranger.addresses
            return
        self.view.add(Member(stranger.hid, stranger.incarnation, stranger.addresses, stranger.state, now))
        self._silence_at = min(self._silence_at, now + self._silence_s())
        self._effects.append(MemberChanged(stranger.hid, stranger.state))

    def _on_hearsay(self, message: Suspect | PingRequest | ViewMessage, source: Address, now: float) -> None:
        """What one host says of others makes nobody a member and nobody dead, it only says whom to ask."""
        match message:
            case Suspect():
                self._on_suspect(message, now)
            case PingRequest(nonce=nonce, target=target):
                wanted = self.view.get(target)
                if wanted is not None and wanted.addresses:
                    self._checks.ping_for(source, wanted, nonce)
            case ViewMessage(members=members, answer=answer):
                for entry in members:
                    self._on_entry(entry, now)
                if answer:
                    self._effects += self.view.told_to(source, now)

    def _on_entry(self, entry: MemberEntry, now: float) -> None:
        known = self.view.get(entry.hid)
        lives = entry.state in _INPUTS
        if entry.hid == self.hid or (known is not None and entry.incarnation < known.incarnation):
            return
        if known is None:
            self._meet(entry.hid, entry.incarnation, entry.addresses, entry.state, now)
        elif known.live and not lives:
            self._checks.start(known)
        elif lives and not known.live and entry.addresses:
            self._effects.append(Unicast(entry.addresses[0], Ping(nonce=self._checks.nonce())))

    def _compare(self, member: Member, view_hash: bytes, now: float) -> None:
        """After two heartbeats in a row with another view: tell ours, and ask for the other one."""
        mine = self.view.hash(self.hid, self.incarnation)
        member.differs = 0 if view_hash == mine else member.differs + 1
        if member.differs >= DIFFERENCES and member.addresses:
            member.differs = 0
            self._effects += self.view.told_to(member.addresses[0], now, answer=True)

    def _step(self, member: Member, what: Input, incarnation: int, now: float) -> None:
        if self.view.step(member, what, incarnation, now):
            if member.state is not State.SUSPECT:
                self._refute_by.pop(member.hid, None)
            if not member.live:
                self._checks.end(member.hid)
            self._effects.append(MemberChanged(member.hid, member.state))

    # ---- suspicion -----------------------------------------------------------------------------------------------

    def _on_suspect(self, message: Suspect, now: float) -> None:
        if message.target == self.hid:
            if message.incarnation >= self.incarnation:
                self.incarnation = message.incarnation + 1
                self._effects.append(Reincarnated(self.incarnation))
                self._heartbeat(now)
            return
        accused = self.view.get(message.target)
        if accused is not None:
            self._accuse(accused, message.incarnation, now)

    def _accuse(self, member: Member, incarnation: int, now: float) -> None:
        self._step(member, Input.ACCUSED, incarnation, now)
        if member.state is State.SUSPECT:
            wait_s = self._config.refute_s * (PATIENCE_WHEN_LATE if now < self._patient_until else 1.0)
            self._refute_by.setdefault(member.hid, now + wait_s)

    def _look_for_silent(self, now: float) -> None:
        """Check who has been silent for too long; the first by rank at once, others if those find nothing."""
        limit_s = self._silence_s()
        turn_s = (2.0 * self._config.check_interval_s) + self._config.refute_s
        next_at = now + limit_s
        live = self.view.live
        for member in live:
            if member.state is State.SUSPECT:
                continue
            due_at = member.heard_at + limit_s * (PATIENCE_WHEN_LATE if now < self._patient_until else 1.0)
            if due_at <= now:
                others = [other.hid for other in live if other.hid != member.hid]
                due_at += rank(member.hid, [*others, self.hid]).index(self.hid) // self._config.checkers * turn_s
            if due_at <= now:
                self._checks.start(member)
            else:
                next_at = min(next_at, due_at)
        self._silence_at = next_at
        self.view.forget(left_before=now - self._config.tombstone_s, dead_before=now - self._config.revisit_for_s)

    def _third(self, subject: Member) -> Member | None:
        others = [hid for hid in self.view.ready if hid != subject.hid]
        return self.view.get(self._rng.choice(others)) if others else None

    # ---- own voice -----------------------------------------------------------------------------------------------

    def _period(self) -> float:
        return self._config.heartbeat_s(len(self.view.live) + 1)

    def _silence_s(self) -> float:
        return self._config.silence_heartbeats * self._period()

    def _heartbeat(self, now: float) -> None:
        live = self.view.live
        here = Here(
            state=self.state,
            addresses=self._addresses,
            load=self.report.load,
            size=len(live) + 1,
            heard=self.heard(now),
            view_epoch=self.view.epoch,
            view_hash=self.view.hash(self.hid, self.incarnation),
            node_state_hash=self.report.node_state_hash,
            data_root=self.report.data_root,
            last_put=self.report.last_put,
        )
        self._effects.append(Multicast(here))
        jitter = 1.0 + HEARTBEAT_JITTER * (2.0 * self._rng.random() - 1.0)
        self._heartbeat_at = now + jitter * self._config.heartbeat_s(len(live) + 1)
        if not live:
            self._greetings.call_at(now + self._config.lonely_hello_s)

    def _greet(self, now: float) -> None:
        for word in self._greetings.due(now):
            match word:
                case Word.HELLO:
                    self._effects.append(Multicast(Hello(addresses=self._addresses, overlay_hash=self._overlay_hash)))
                case Word.BYE:
                    self._effects.append(Multicast(Bye(handed_over=self._handed_over)))
                case Word.ANSWER:
                    self._heartbeat(now)
        for hid in self._greetings.answered(now):
            newcomer = self.view.get(hid)
            if newcomer is not None and newcomer.addresses:
                self._effects += self.view.told_to(newcomer.addresses[0], now)

    def _probe(self, now: float) -> None:
        """Among many members heartbeats are rare: each pings one at random, so that a crash is noticed as soon."""
        self._probe_at = now + self._config.probe_s
        live = [member for member in self.view.live if member.state is not State.SUSPECT]
        if len(live) >= self._config.probe_above:
            self._checks.start(self._rng.choice(live))

    def _revisit(self, now: float) -> None:
        self._revisit_at = now + self._config.revisit_s
        dead = [member for member in self.view if member.state is State.DEAD and member.addresses]
        if dead:
            self._effects.append(Unicast(self._rng.choice(dead).addresses[0], Ping(nonce=self._checks.nonce())))

    def _collect(self) -> list[Effect]:
        effects = self._effects + self._checks.effects
        self._effects, self._checks.effects = [], []
        return effects

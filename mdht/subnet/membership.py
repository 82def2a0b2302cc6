"""Who is in the subnet, as one host sees it: heartbeats, newcomers, crashes, goodbyes (mDHT design, section 3)."""

import math
from collections import Counter
from random import Random
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.accusations import Accusations
from mdht.subnet.admission import INPUTS, Admission
from mdht.subnet.checks import Checks, accusation
from mdht.subnet.effects import Effect, MemberChanged, Reincarnated, Unicast
from mdht.subnet.epochs import refutation
from mdht.subnet.greetings import Greetings, Word
from mdht.subnet.hearsay import Hearsay
from mdht.subnet.hellos import Hellos
from mdht.subnet.host_keys import is_signed
from mdht.subnet.identity import Subnet
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Bye, Hello, Here, Message, Ping, PingRequest, Pong, State, Suspect, Want
from mdht.subnet.messages import View as ViewMessage
from mdht.subnet.patrol import Patrol
from mdht.subnet.reach import Reach
from mdht.subnet.report import Report
from mdht.subnet.silence import Silence
from mdht.subnet.view import Input, Member, View, rank
from mdht.subnet.voice import Voice
from mdht.subnet.wire import Header

PLACES_MAX: Final = 8
"An asker that hears nobody does not see who else answers; that must not keep it waiting among many."


class Membership:
    """One host's part.

    Args:
        hid: own name.
        incarnation: number of this start, larger than any before.
        addresses: where others reach this host.
        overlay_hash: SHA-1 of the overlay's name.
        config: times and limits.
        rng: all chance.
        epoch: of the view that this host had before it was started again.
        proven: whether hosts sign what they say of themselves; a driver must have verified it (`proofs`).

    Attributes:
        state: what this host is; `READY` is set by `ready`.
        view: the others.
        report: what heartbeats tell beside this.
        reach: with whom multicast does not pass; a driver tells it what comes by multicast, and sends the copies.
        peers: where hosts of this link may be who are no members.
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
        *,
        epoch: int = 0,
        proven: bool = False,
    ) -> None:
        self.hid = hid
        self.incarnation = incarnation
        self.state = State.LEFT
        self.view = View(epoch)
        self.report = Report()
        self.counters: Counter[str] = Counter()
        self._voice = Voice(hid, addresses, overlay_hash, self.report)
        self._overlay_hash = overlay_hash
        self._config = config
        self._rng = rng
        self._proven = proven
        self._checks = Checks(config, rng, self._third)
        self._accusations = Accusations(hid, self.view, self._checks, config, proven=proven)
        self._silence = Silence(hid, self.view, config)
        self._patrol = Patrol(self.view, self._checks, config, rng)
        self.reach = Reach(hid, self.view, self._silence, config)
        self._admission = Admission(
            self.view, self._silence, self.reach, config, self._checks.nonce, self.counters, proven=proven
        )
        self._hellos = Hellos(hid, self.view, self._voice, self.reach, config)
        self.peers = self._hellos.peers
        self._hearsay = Hearsay(hid, self.view, self._checks, self._admission.hear_of, self._hellos.present)
        self._greetings = Greetings(answers=config.answers, answer_step_s=config.answer_step_s)
        self._heartbeat_at = math.inf
        self._effects: list[Effect] = []

    # ---- driver's side -------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Say hello."""
        self.state = State.JOINING
        self.reach.start(now)
        self._hellos.start(now)
        self._greetings.come(now, self._rng)
        self._heartbeat_at = now + self._silence.period_s() * self._rng.random()
        self._silence.met(now)
        self._patrol.start(now)
        return self.tick(now)

    def become(self, state: State, now: float) -> list[Effect]:
        """Say that this host is READY, that is has what it needs to answer for the subnet, or that it is LEAVING."""
        if state is not self.state:
            self.view.changed()
        self.state = state
        self._heartbeat(now, introduce=True)
        return self._collect()

    def settle(self, subnet: Subnet | None, founded_at: float) -> None:
        """This host is in a subnet from now on, or in none: who is in another one is no sibling, but gets answers."""
        if self._voice.subnet not in {None, subnet}:  # its members stay there, or are met anew where this host goes
            self._checks.clear()
            self._accusations.clear()
            self.view.clear()
        self._voice.settle(subnet, founded_at)

    def hello(self, now: float) -> list[Effect]:
        """Ask all who are there to introduce their subnet."""
        self._effects += self._hellos.say(now)
        return self._collect()

    def leave(self, now: float, *, handed_over: bool) -> list[Effect]:
        """Say goodbye, twice; drive it on until `next_deadline` is never."""
        self.state = State.LEFT
        self._voice.handed_over = handed_over
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
        self._heartbeat_at = min(self._heartbeat_at, self._silence.met(now))
        if self._voice.is_strange(header.subnet_tag):
            self._on_other_subnet(header, message, source, now)
            return self._collect()
        member = self.view.get(header.hid)
        if member is not None and header.incarnation >= member.incarnation and self._is_own(member, message):
            self._on_member(member, header, message, now, multicast=multicast)
        match message:
            case Hello():
                self._on_hello(header, message, now)
            case Here() if multicast:
                self.reach.heard(header.hid, now)
                if self._voice.subnet is None or message.identity is not None:
                    self._greetings.heard()
                if member is None:
                    self._admission.meet(header.hid, header.incarnation, message.addresses, message.state, now)
            case Ping():
                self._pong(message, source)
            case Pong():
                self._on_pong(header, message, now)
            case Suspect() | PingRequest() | ViewMessage() if member is not None or self.state is State.JOINING:
                self._on_hearsay(message, member, source, now, multicast=multicast)
            case _:
                pass
        return self._collect()

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        self._silence.was_late(self.next_deadline(), now)
        self._greet(now)
        if self.state is State.LEFT:
            return self._collect()
        if now >= self._heartbeat_at:
            self._effects += self.reach.look(now)
            self._heartbeat(now)
        if now >= self.peers.next_deadline():
            self._effects += self._hellos.to_peers(now)
        self._effects += self._patrol.tick(now)
        if now >= self._silence.next_deadline():
            self._look_for_silent(now)
        for member in self._checks.tick(now):
            self._accuse(member, None, now)
        for dead in self._accusations.due(now):
            self._step(dead, Input.UNREFUTED, dead.incarnation, now)
        self._admission.expire(now)
        return self._collect()

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        if self.state is State.LEFT:
            return self._greetings.next_deadline()
        return min(
            self._heartbeat_at,
            self._patrol.next_deadline(),
            self._silence.next_deadline(),
            self._checks.next_deadline(),
            self._greetings.next_deadline(),
            self.peers.next_deadline(),
            self._accusations.next_deadline(),
            self._admission.next_deadline(),
        )

    # ---- what the layers above ask -------------------------------------------------------------------------------

    def ready_hids(self) -> list[bytes]:
        """Names of the hosts that answer for the subnet, this one among them, in the order that all share."""
        return sorted([*self.view.ready, *([self.hid] if self.state is State.READY else [])])

    def heard(self, now: float) -> int:
        """Live members whose words to all come, by multicast or as copies; fewer than the live ones until they do."""
        return self.view.heard_since(now - self._silence.limit_s())

    # ---- others --------------------------------------------------------------------------------------------------

    def _is_own(self, member: Member, message: Message) -> bool:
        """Whether a message must be of the member in whose name it is, and of now.

        Where hosts sign that is what they sign. An answer may have been asked for, and kept, by another host.
        """
        if not self._proven or (is_signed(message) and not isinstance(message, Pong)):
            return True
        if isinstance(message, Pong) and not member.live:
            self._checks.start(member)  # one that was dead answers: it must do so again
        return isinstance(message, Pong) and self._checks.asks(member.hid, message.nonce)

    def _on_member(self, member: Member, header: Header, message: Message, now: float, *, multicast: bool) -> None:
        member.heard_at = now
        if multicast:
            member.multicast_at = now
        self._checks.end(member.hid)
        self._accusations.drop(member.hid)
        match message:
            case Here(state=state, addresses=addresses):
                what = INPUTS.get(state, Input.SIGN_OF_LIFE)
                mine = self.view.hash(self.hid, self.incarnation)
                self._effects += self._hearsay.compare(member, message.view_hash, mine, now)
                self.reach.on_here(member.hid, message)
                self.view.note_outside(member, message.mapped, unlisted=bool(message.unlisted))
                if addresses and addresses != member.addresses:
                    self._admission.meet(header.hid, header.incarnation, addresses, state, now)
            case Hello() if header.incarnation > member.incarnation:
                what = Input.JOINS
            case Bye():
                what = Input.GOODBYE
            case _:
                what = Input.SIGN_OF_LIFE
        # Only what says what it is may raise the incarnation: else its own hello would not be news any more.
        incarnation = member.incarnation if what is Input.SIGN_OF_LIFE else header.incarnation
        self._step(member, what, incarnation, now)
        self._hear_epoch(member, message)

    def _hear_epoch(self, member: Member, message: Message) -> None:
        """Siblings count on from one epoch, so that what they tell other nodes can be put in order."""
        match message:
            case Here(view_epoch=epoch) | ViewMessage(epoch=epoch) if member.live:
                self.counters["absurd_epochs"] += not self.view.hear_epoch(epoch)
            case _:
                pass

    def _on_other_subnet(self, header: Header, message: Message, source: Address, now: float) -> None:
        """Somebody of another subnet of this link is told where he is if he asks, and nothing else is believed."""
        member = self.view.get(header.hid)
        own = not self._proven or is_signed(message)
        if member is not None and header.incarnation >= member.incarnation and own:
            # It has gone over. No tombstone, as it may come back by the same start.
            self._step(member, Input.GOODBYE, header.incarnation, now)
            self.view.remove(member)
        match message:
            case Hello(want=want, addresses=addresses):
                if self._answer(header, message, now) and Want.COPY in want and addresses:
                    self.peers.add(addresses[0], now)  # ask back, as one of the two subnets may have to give way
            case Ping():
                self._pong(message, source)
            case _:
                self.counters["other_subnet"] += 1

    def _on_hello(self, header: Header, message: Hello, now: float) -> None:
        self.reach.heard(header.hid, now)
        if self._answer(header, message, now) and self.view.get(header.hid) is None:
            self._admission.meet(header.hid, header.incarnation, message.addresses, State.JOINING, now)

    def _answer(self, header: Header, message: Hello, now: float) -> bool:
        """Plan an answer, if one is wanted; False where another overlay is meant."""
        if message.overlay_hash != self._overlay_hash:
            self.counters["other_overlay"] += 1
            return False
        ready = self.ready_hids()
        if Want.ANSWER not in message.want:
            return True
        most = len(ready)
        if Want.COPY in message.want and message.addresses:
            self.reach.on_asker(header.hid, message.addresses[0], now)
            most = PLACES_MAX
        if self.hid in ready:
            self._greetings.answer(header.hid, min(rank(header.hid, ready).index(self.hid), most), now)
        elif self.state is State.JOINING and self._voice.subnet is not None:
            # A founder at work: whoever comes late need not found a subnet of his own.
            self._greetings.answer(header.hid, len(ready), now)
        return True

    def _pong(self, ping: Ping, source: Address) -> None:
        self._effects.append(Unicast(source, Pong(nonce=ping.nonce, state=self.state if self._proven else None)))

    def _on_pong(self, header: Header, pong: Pong, now: float) -> None:
        if self._admission.on_pong(header, pong, now) or self._proven:
            return
        found = self._checks.on_pong(pong.nonce)
        if found is not None:
            found.heard_at = now  # through a third, perhaps: it lives all the same

    def _on_hearsay(
        self,
        message: Suspect | PingRequest | ViewMessage,
        sender: Member | None,
        source: Address,
        now: float,
        *,
        multicast: bool,
    ) -> None:
        if isinstance(message, Suspect):
            self._on_suspect(message, sender, now, asks=multicast)
        elif isinstance(message, ViewMessage) or not self._proven:  # see `_third`
            self._effects += self._hearsay.receive(message, source, now)

    def _step(self, member: Member, what: Input, incarnation: int, now: float) -> None:
        if self.view.step(member, what, incarnation, now):
            if member.state is not State.SUSPECT:
                self._accusations.drop(member.hid)
            if not member.live:
                self._checks.end(member.hid)
            self._effects.append(MemberChanged(member.hid, member.state))

    # ---- suspicion -----------------------------------------------------------------------------------------------

    def _on_suspect(self, message: Suspect, accuser: Member | None, now: float, *, asks: bool) -> None:
        if message.target == self.hid:
            answer = refutation(self.incarnation, message.incarnation)
            if answer is not None:
                self.incarnation = answer
                self._effects.append(Reincarnated(answer))
                self._heartbeat(now)
                self._heartbeat_at = min(self._heartbeat_at, now + self._config.refute_s / 2.0)  # that one may get lost
            return
        accused = self.view.get(message.target)
        counts = not self._proven or (accuser is not None and accuser.live and accuser is not accused)
        if accused is not None and message.incarnation >= accused.incarnation and counts:
            # Only a host itself raises its number: an accuser that made one up would keep it out for good.
            self._accuse(accused, accuser, now)
            if self._proven and asks and accuser is not None and accused.state is State.DEAD:
                self._effects.append(Unicast(accuser.addresses[0], accusation(accused, now)))  # ours was lost there

    def _accuse(self, member: Member, accuser: Member | None, now: float) -> None:
        """Somebody, or with None this host itself, has not found a member."""
        if member.live and self._accusations.add(member, accuser, self._silence.refute_s(now), now):
            self._step(member, Input.ACCUSED, member.incarnation, now)

    def _look_for_silent(self, now: float) -> None:
        for member in self._silence.look(now):
            self._checks.start(member)
        self.view.forget(left_before=now - self._config.tombstone_s, dead_before=now - self._config.revisit_for_s)

    def _third(self, subject: Member) -> Member | None:
        """Another member that may reach it; where hosts sign there is the second accuser instead, who cannot lie."""
        if self._proven:
            return None
        others = [hid for hid in self.view.ready if hid != subject.hid]
        return self.view.get(self._rng.choice(others)) if others else None

    # ---- own voice -----------------------------------------------------------------------------------------------

    def _heartbeat(self, now: float, *, introduce: bool = False) -> None:
        introduce = introduce or self.state is State.JOINING
        unheard = self.reach.unheard()
        here = self._voice.here(self.state, self.incarnation, self.view, unheard, now, introduce=introduce)
        self._effects.append(here)
        self._heartbeat_at = now + self._silence.pause_s(now, self._rng)
        if not self.view.live:
            self._greetings.call_at(now + self._config.lonely_hello_s)

    def _greet(self, now: float) -> None:
        for word in self._greetings.due(now):
            match word:
                case Word.HELLO:
                    self._effects += self._hellos.say(now)
                case Word.BYE:
                    self._effects.append(self._voice.bye())
                case Word.ANSWER:
                    self._heartbeat(now, introduce=True)
        for hid in self._greetings.answered(now):
            newcomer = self.view.get(hid)
            if newcomer is not None and newcomer.addresses:
                self._effects += self.view.told_to(newcomer.addresses[0], now)

    def _collect(self) -> list[Effect]:
        effects = self._effects + self._admission.effects + self._checks.effects
        self._effects, self._admission.effects, self._checks.effects = [], [], []
        return effects

"""How a starting host comes to its subnet: it adopts that of a sibling, or it founds one (mDHT design, section 6).

`Membership` says hello; this machine listens to what all are told. One cold host of a link derives the identity and
looks for the overlay, the others wait until it is ready and then adopt what it tells, as every later joiner does.
"""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from random import Random
from typing import Final

from mdht.subnet.conflict import DOUBLE_S, surviving_ring, yields_on_link
from mdht.subnet.effects import Merged
from mdht.subnet.election import Election
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.founding_effects import (
    Adopt,
    BeRing,
    Found,
    FoundingEffect,
    JoinRing,
    LookForOverlay,
    SayHello,
    Withdraw,
)
from mdht.subnet.identity import NO_TAG, Identity, Subnet, new_tag
from mdht.subnet.kept import Kept
from mdht.subnet.merging import Merging, Winner
from mdht.subnet.messages import RING_BYTES, Hello, Here, Message, State
from mdht.subnet.wire import Header


class Stage(Enum):
    """How far a host has come."""

    LISTENING = "listening"
    WAITING = "waiting"
    "Another host founds, or a sibling has not told the identity yet."
    FOUNDING = "founding"
    "This host founds: it looks for a contact of the overlay."
    ALONE = "alone"
    "Its node is a ring of one, which serves the link; this host looks for the overlay now and then."
    SETTLED = "settled"
    "Founder of a node of the overlay."
    ADOPTED = "adopted"
    "In a subnet that another host has founded."


class Input(Enum):
    """What can happen."""

    SIBLING = "sibling"
    "A ready host tells an identity to which this one gives way, if it has any."
    FIRST = "first"
    "The time is up, and this host comes first of those heard."
    NOT_FIRST = "not first"
    RIVAL = "rival"
    "Another host founds too, and comes first."
    REACHED = "reached"
    "A contact of the overlay was found."
    UNREACHED = "unreached"
    "None was found, or the join has failed."
    CONFLICT = "conflict"
    "Another subnet has this one's identifier in the overlay, and keeps it."
    INHERITS = "inherits"
    "The host that looked for the overlay for a ring of one is gone, and this one does so in its place."


class Action(Enum):
    """What is done about it."""

    ADOPT = "adopt"
    FOUND = "found"
    FOUND_SALTED = "found salted"
    WAIT = "wait"
    WITHDRAW = "withdraw"
    JOIN = "join"
    BE_RING = "be a ring"
    LOOK_LATER = "look later"


TRANSITIONS: Final[Mapping[tuple[Stage, Input], tuple[Stage, Action]]] = {
    (Stage.LISTENING, Input.SIBLING): (Stage.ADOPTED, Action.ADOPT),
    (Stage.LISTENING, Input.FIRST): (Stage.FOUNDING, Action.FOUND),
    (Stage.LISTENING, Input.NOT_FIRST): (Stage.WAITING, Action.WAIT),
    (Stage.WAITING, Input.SIBLING): (Stage.ADOPTED, Action.ADOPT),
    (Stage.WAITING, Input.FIRST): (Stage.FOUNDING, Action.FOUND),
    (Stage.WAITING, Input.NOT_FIRST): (Stage.WAITING, Action.WAIT),
    (Stage.FOUNDING, Input.SIBLING): (Stage.ADOPTED, Action.ADOPT),
    (Stage.FOUNDING, Input.RIVAL): (Stage.WAITING, Action.WITHDRAW),
    (Stage.FOUNDING, Input.REACHED): (Stage.SETTLED, Action.JOIN),
    (Stage.FOUNDING, Input.UNREACHED): (Stage.ALONE, Action.BE_RING),
    (Stage.ALONE, Input.SIBLING): (Stage.ADOPTED, Action.ADOPT),
    (Stage.FOUNDING, Input.CONFLICT): (Stage.FOUNDING, Action.FOUND_SALTED),
    (Stage.ALONE, Input.CONFLICT): (Stage.FOUNDING, Action.FOUND_SALTED),
    (Stage.SETTLED, Input.CONFLICT): (Stage.FOUNDING, Action.FOUND_SALTED),
    (Stage.ADOPTED, Input.CONFLICT): (Stage.FOUNDING, Action.FOUND_SALTED),
    (Stage.ALONE, Input.REACHED): (Stage.SETTLED, Action.JOIN),
    (Stage.ALONE, Input.UNREACHED): (Stage.ALONE, Action.LOOK_LATER),
    (Stage.SETTLED, Input.SIBLING): (Stage.ADOPTED, Action.ADOPT),
    (Stage.SETTLED, Input.UNREACHED): (Stage.ALONE, Action.BE_RING),
    (Stage.ADOPTED, Input.SIBLING): (Stage.ADOPTED, Action.ADOPT),
    (Stage.ADOPTED, Input.INHERITS): (Stage.ALONE, Action.LOOK_LATER),
}
"A pair that is not listed changes nothing: an answer of the bootstrap server may come when another host has founded."

COLD: Final = frozenset({Stage.LISTENING, Stage.WAITING})
"Stages of a host without a subnet."


class Founding:
    """One host's part.

    Args:
        hid: own name.
        derive: makes the identity if this host founds (`mdht.subnet.identity.derive`).
        kept: what this host remembers of the link (`mdht.subnet.kept.recalled`).
        config: times and limits.
        rng: all chance.
        merging: what becomes of another old subnet on the link; None where two stay two.

    Attributes:
        stage: how far it has come.
        subnet: which one this host is in; None as long as it is in none.
        founded_at: when that was founded, by the caller's clock.
        ring_id: of the ring that the node is in, where this host has looked for it.
    """

    def __init__(
        self,
        hid: bytes,
        derive: Callable[[], Identity],
        kept: Kept | None,
        config: FoundingConfig,
        rng: Random,
        merging: Merging | None = None,
    ) -> None:
        self.stage = Stage.LISTENING
        self.subnet: Subnet | None = None
        self.founded_at = 0.0
        self.ring_id: bytes | None = None
        self._hid = hid
        self._derive = derive
        self._kept = kept
        self._config = config
        self._rng = rng
        self._merging = merging
        self._election = Election(hid, remembers=kept is not None, fresh_s=config.fresh_s, most=config.hosts_max)
        self._awaited: bytes | None = None
        self._wait_until = self._wait_max = math.inf
        self._ask_at = self._look_at = math.inf
        self._asked_at = -math.inf
        self._retry_s = config.retry_min_s
        self._started_at = 0.0
        self._effects: list[FoundingEffect] = []

    # ---- driver's side -------------------------------------------------------------------------------------------

    @property
    def tag(self) -> bytes:
        """What datagrams carry: of the subnet, or of the one remembered, by which siblings see that one is."""
        if self.subnet is not None:
            return self.subnet.tag
        return NO_TAG if self._kept is None else self._kept.subnet.tag

    def start(self, now: float) -> list[FoundingEffect]:
        """Listen; call it together with `Membership.start`."""
        self._started_at = now
        self._wait_until = now + self._config.window_s
        return self._collect()

    def receive(self, header: Header, message: Message, now: float, *, multicast: bool) -> list[FoundingEffect]:
        """Act on what another host tells all."""
        if not multicast or header.hid == self._hid:
            return []
        match message:
            case Hello(addresses=addresses) if addresses and self.stage in COLD:
                # Who names no address only listens, and founds nothing.
                self._election.heard(header.hid, header.subnet_tag, now)
            case Here(state=State.READY):
                self._on_ready(header, message, now)
            case Here(state=State.JOINING, identity=Identity()):
                self._on_founder(header, now)
            case Here(state=State.JOINING) if self.stage in COLD:
                self._election.heard(header.hid, header.subnet_tag, now)
            case _:
                pass
        return self._collect()

    def reached(self, ring_id: bytes, now: float, *, alone: bool = True) -> list[FoundingEffect]:
        """A contact was found, in the ring of that number, where it may be alone.

        Of two nodes that are alone one comes to the other; one that is alone comes to many.
        """
        if self.ring_id is not None and alone:
            ring_id = surviving_ring(self.ring_id, ring_id)
        if (self.stage, Input.REACHED) in TRANSITIONS:
            self.ring_id, joins = ring_id, ring_id != self.ring_id
            self._step(Input.REACHED, now)
            if joins:
                self._effects.append(JoinRing(ring_id))
        return self._collect()

    def unreached(self, now: float) -> list[FoundingEffect]:
        """None was found, or the join has failed."""
        self._step(Input.UNREACHED, now)
        return self._collect()

    def inherit(self, ring_id: bytes, now: float) -> list[FoundingEffect]:
        """The node is a ring of one still, and whoever looked for the overlay is gone: do it in its place."""
        if (self.stage, Input.INHERITS) in TRANSITIONS:
            self.ring_id = ring_id
            self._step(Input.INHERITS, now)
        return self._collect()

    def salt(self, now: float) -> list[FoundingEffect]:
        """Another subnet has this one's identifier, and keeps it: found one under another; siblings follow."""
        self._step(Input.CONFLICT, now)
        return self._collect()

    def look_soon(self, now: float) -> None:
        """Somebody who may be in the overlay has become known: a ring of one does not wait until it looks again."""
        if self.stage is Stage.ALONE and not math.isinf(self._look_at):
            self._look_at = now

    def tick(self, now: float) -> list[FoundingEffect]:
        """Act on the time."""
        if now >= self._wait_until and self.stage in COLD:
            self._elect(now)
        if now >= self._ask_at:
            self._ask_at, self._asked_at = math.inf, now
            self._effects.append(SayHello())
        if now >= self._look_at:
            self._look_at = math.inf
            self._effects.append(LookForOverlay())
        if self._merging is not None and self.subnet is not None:
            self._merge(self._merging, self.subnet, now)
        return self._collect()

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        merge_at = math.inf if self._merging is None or self.subnet is None else self._merging.next_deadline()
        return min(self._wait_until if self.stage in COLD else math.inf, self._ask_at, self._look_at, merge_at)

    # ---- others --------------------------------------------------------------------------------------------------

    def _on_ready(self, header: Header, here: Here, now: float) -> None:
        """A ready host is there; perhaps it introduces its subnet."""
        if self._merging is not None and self.subnet is not None:
            self._merging.hear(header.subnet_tag, header.hid, here, self.subnet, now)
        if here.identity is not None:
            theirs = Subnet(here.identity, header.subnet_tag, here.policy or "")
            self._on_sibling(theirs, here.founded_s or 0, now)
        else:
            self._on_silent_sibling(header.subnet_tag, now)

    def _on_sibling(self, theirs: Subnet, founded_s: int, now: float) -> None:
        """A ready host has introduced its subnet."""
        if self.subnet == theirs or (self.subnet is not None and self.subnet.identity == theirs.salted):
            return  # of the latter the hosts come after this one
        self._ask_at = math.inf
        mine = None if self.stage is Stage.FOUNDING else self.subnet  # a founder at work serves nobody yet
        follows = mine is not None and theirs.identity == mine.salted
        if mine is None or follows or yields_on_link(mine, now - self.founded_at, theirs, founded_s):
            self._move(mine, theirs, now - founded_s, now)

    def _move(self, mine: Subnet | None, theirs: Subnet, founded_at: float, now: float) -> None:
        """Go over to another subnet; who was in one knows nobody there."""
        if mine is not None:
            self._effects.append(Merged(mine.tag, theirs))
        if self._merging is not None:
            self._merging.moves(mine)
        self.subnet, self.founded_at, self.ring_id = theirs, founded_at, None
        self._step(Input.SIBLING, now)
        if mine is not None:
            self._effects.append(SayHello())

    def _merge(self, merging: Merging, mine: Subnet, now: float) -> None:
        """Look what becomes of other old subnets on the link."""
        for outcome in merging.look(mine, self.founded_at, now):
            if isinstance(outcome, Winner):
                self._move(mine, outcome.subnet, outcome.founded_at, now)
            else:
                self._effects.append(Merged(outcome.tag, mine))

    def _on_silent_sibling(self, tag: bytes, now: float) -> None:
        """A ready host of which only the tag is known: ask for the rest, where it matters."""
        pause_s = self._config.ask_s
        if self.subnet is not None:
            old = now - self.founded_at >= DOUBLE_S
            if tag == self.subnet.tag or (old and (self._merging is None or not self._merging.lacks(tag))):
                return
            pause_s = self._config.ask_old_s if old else pause_s
        if self.stage in COLD:
            self._wait_for(None, now)
        if math.isinf(self._ask_at):
            # A host that starts says hello three times anyway.
            earliest = max(now, self._asked_at + pause_s, self._started_at + self._config.window_s)
            self._ask_at = earliest + self._rng.random() * self._config.ask_jitter_s

    def _on_founder(self, header: Header, now: float) -> None:
        """Another host founds, or joins a subnet that is there already."""
        if self._election.is_excluded(header.hid):
            return
        if self.stage in COLD:
            self._wait_for(header.hid, now)
        elif self.stage is Stage.FOUNDING and header.subnet_tag < self.tag:
            self._awaited = header.hid
            self._step(Input.RIVAL, now)

    # ---- election ------------------------------------------------------------------------------------------------

    def _elect(self, now: float) -> None:
        if self.stage is Stage.WAITING and self._awaited is not None:
            self._election.exclude(self._awaited)
        self._awaited = self._election.first(now)
        self._step(Input.FIRST if self._awaited is None else Input.NOT_FIRST, now)

    def _wait_for(self, hid: bytes | None, now: float) -> None:
        """Somebody is at work, or serves: wait for him, though not for ever."""
        self._awaited = hid
        if self.stage is Stage.LISTENING:
            self._step(Input.NOT_FIRST, now)
        self._wait_until = min(max(self._wait_until, now + self._config.patience_s), self._wait_max)

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _step(self, what: Input, now: float) -> None:
        found = TRANSITIONS.get((self.stage, what))
        if found is None:
            return
        self.stage, action = found
        match action:
            case Action.ADOPT:
                self._adopt()
            case Action.FOUND:
                self._found(now)
            case Action.FOUND_SALTED:
                self._found_salted(now)
            case Action.WAIT:
                self._wait(now)
            case Action.WITHDRAW:
                self.subnet, self._look_at = None, math.inf
                self._effects.append(Withdraw())
                self._wait(now)
            case Action.JOIN:
                self._look_at, self._retry_s = math.inf, self._config.retry_min_s
            case Action.BE_RING:
                self.ring_id = self._rng.randbytes(RING_BYTES)
                self._effects.append(BeRing(self.ring_id))
                self._look_later(now)
            case Action.LOOK_LATER:
                self._look_later(now)

    def _adopt(self) -> None:
        self._ask_at = self._look_at = math.inf
        if self.subnet is not None:
            self._effects.append(Adopt(self.subnet, self.founded_at))

    def _found(self, now: float) -> None:
        """Be the founder: of the subnet that was on this link before, if one is remembered."""
        if self._kept is None:
            self.subnet, self.founded_at = Subnet(self._derive(), new_tag(self._rng), self._config.policy), now
        else:
            self.subnet, self.founded_at = self._kept.subnet, now - self._kept.left_s - self._kept.founded_s
        self._retry_s = self._config.retry_min_s
        self._effects += [Found(self.subnet, self.founded_at), LookForOverlay()]

    def _found_salted(self, now: float) -> None:
        mine = self.subnet
        if mine is None:
            return
        if self._merging is not None:
            self._merging.moves(mine)
        self.subnet, self.founded_at, self.ring_id = Subnet(mine.salted, new_tag(self._rng), mine.policy), now, None
        self._retry_s = self._config.retry_min_s
        self._effects += [Found(self.subnet, now), LookForOverlay()]

    def _wait(self, now: float) -> None:
        self._wait_until = now + self._config.patience_s
        self._wait_max = now + self._config.patience_max_s

    def _look_later(self, now: float) -> None:
        self._look_at = now + self._retry_s
        self._retry_s = min(2.0 * self._retry_s, self._config.retry_max_s)

    def _collect(self) -> list[FoundingEffect]:
        effects, self._effects = self._effects, []
        return effects

"""Whether hosts of other subnets reach this one unasked, and where (mDHT design, section 13).

A router that translates addresses, or a firewall, lets in only what answers. A host finds out by having others try: it
asks a host of another node, that has a third one send a probe to the address at which this host is seen, or to the one
that its user has named. The probe comes from where this host has never sent anything; if it arrives, others get through
as well. If several were sent and none arrived, they do not.

`trials` is the other side: what a host does for those that ask.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from random import Random
from typing import Final

from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.subnet.face_messages import Probe, Trying, TryMe
from mdht.subnet.hostset import in_private, reaches, same_family
from mdht.subnet.push import Peer
from mdht.subnet.reachability_config import ReachabilityConfig


class Verdict(Enum):
    """What is known."""

    UNKNOWN = "unknown"
    REACHED = "reached"
    UNREACHED = "unreached"


class Stage(Enum):
    """Whether it is being found out."""

    RESTING = "resting"
    TRYING = "trying"


class Input(Enum):
    """What can happen."""

    BEGIN = "begin"
    ARRIVED = "arrived"
    "A probe."
    SILENCE = "silence"
    "None in time, and there are tries left."
    SPENT = "spent"
    "None in time, at the last try."
    NAMED = "named"
    "Another address is named, or none any more."


class Action(Enum):
    """What is done about it."""

    TRY = "try"
    BELIEVE = "believe"
    "That others get through."
    JUDGE = "judge"
    "By how many probes were sent."


TRANSITIONS: Final[Mapping[tuple[Stage, Input], tuple[Stage, Action]]] = {
    (Stage.RESTING, Input.BEGIN): (Stage.TRYING, Action.TRY),
    (Stage.TRYING, Input.SILENCE): (Stage.TRYING, Action.TRY),
    (Stage.TRYING, Input.ARRIVED): (Stage.RESTING, Action.BELIEVE),
    (Stage.TRYING, Input.SPENT): (Stage.RESTING, Action.JUDGE),
    # A probe that took its time.
    (Stage.RESTING, Input.ARRIVED): (Stage.RESTING, Action.BELIEVE),
    # What was found out, or is being found out, is about the former address.
    (Stage.RESTING, Input.NAMED): (Stage.TRYING, Action.TRY),
    (Stage.TRYING, Input.NAMED): (Stage.TRYING, Action.TRY),
}
"A pair that is not listed changes nothing."

Helpers = Callable[[], Sequence[tuple[Address, Peer]]]
"Gives hosts of other nodes that may be asked, each with its node's pseudo-address."
Say = Callable[[Address, Peer, TryMe, float], Send]
"Makes the question to one of them."


class Reachability:
    """One host's part.

    Args:
        addresses: its own, now.
        named: where others reach it, by the word of its user or of its router; None where nobody has said anything.
        helpers: whom to ask.
        say: asks.
        config: times and limits.
        rng: all chance.

    Attributes:
        verdict: what is known.
        stage: whether it is being found out.
        mapped: where others reach this host, if that is no address of its own.
        seen: where others see it; None as long as nobody has told.
        named: as given, or by `name`.
    """

    def __init__(
        self,
        addresses: Callable[[], tuple[Address, ...]],
        named: Address | None,
        helpers: Helpers,
        say: Say,
        config: ReachabilityConfig,
        rng: Random,
    ) -> None:
        self.verdict = Verdict.UNKNOWN
        self.stage = Stage.RESTING
        self.mapped: Address | None = None
        self.seen: Address | None = None
        self.named = named
        self._addresses = addresses
        self._helpers = helpers
        self._say = say
        self._config = config
        self._rng = rng
        self._numbers: list[int] = []
        self._sent: set[int] = set()
        self._asked: list[Peer] = []
        self._retry_s = config.retry_min_s
        self._due_at = math.inf

    @property
    def translated(self) -> bool:
        """Whether others see this host at an address that it does not have, or are to reach it at one."""
        at = self.named or self.seen
        return at is not None and at not in self._addresses()

    @property
    def trying(self) -> bool:
        """Whether the verdict may be another one soon."""
        return self.stage is Stage.TRYING

    def look_soon(self, now: float) -> None:
        """Find out within a few seconds: this host has come in."""
        self._due_at = min(self._due_at, now + self._rng.random() * self._config.first_s)

    def begin(self, now: float) -> list[Send]:
        """Find out now."""
        if self.stage is Stage.RESTING:
            self._start_over()
        return self._on_input(Input.BEGIN, now)

    def name(self, address: Address | None, now: float) -> list[Send]:
        """Others are to reach this host there from now on; None where there is no such address any more.

        It is verified by probes as the first one was. A host that has not begun to find out begins when it comes in.
        """
        if address == self.named:
            return []
        self.named = address
        self.verdict, self.mapped, self._retry_s = Verdict.UNKNOWN, None, self._config.retry_min_s
        self._start_over()  # a probe that is still on its way tells of the former address
        return self._on_input(Input.NAMED, now) if self._due_at < math.inf else []

    def on_trying(self, answer: Trying) -> None:
        """A host that was asked has had a probe sent, and tells where it sees this one."""
        if answer.number in self._numbers:
            self.note_seen(answer.seen)
            self._sent.add(answer.number)

    def note_seen(self, address: Address) -> None:
        """A host of another node sees this one there."""
        if self._matters(address):
            self.seen = address

    def on_probe(self, probe: Probe, now: float) -> None:
        """A probe has come."""
        if probe.number in self._numbers:
            self.mapped = None if probe.address in self._addresses() else probe.address
            self._on_input(Input.ARRIVED, now)

    def tick(self, now: float) -> list[Send]:
        """Act on the time."""
        if now < self._due_at:
            return []
        if self.stage is Stage.RESTING:
            return self.begin(now)
        return self._on_input(Input.SPENT if len(self._numbers) >= self._tries else Input.SILENCE, now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return self._due_at

    # ---- inside --------------------------------------------------------------------------------------------------

    @property
    def _tries(self) -> int:
        expected = self.verdict is not Verdict.REACHED and self.translated
        return self._config.tries if expected or self.verdict is Verdict.UNREACHED else self._config.tries_listed

    def _matters(self, address: Address) -> bool:
        """Whether it is of the family by which others are to reach this host: one with a global address, if any."""
        known = [own for own in self._addresses() if reaches(own, allow_private=False)]
        return not known or self.named is not None or any(same_family(own, address) for own in known)

    def _start_over(self) -> None:
        self._numbers, self._sent, self._asked = [], set(), []

    def _on_input(self, what: Input, now: float) -> list[Send]:
        step = TRANSITIONS.get((self.stage, what))
        if step is None:
            return []
        self.stage, action = step
        match action:
            case Action.TRY:
                return self._try(now)
            case Action.BELIEVE:
                self.verdict = Verdict.REACHED
                self._retry_s = self._config.retry_min_s
                self._rest(self._config.again_s, now)
            case Action.JUDGE:
                self._judge(now)
        return []

    def _try(self, now: float) -> list[Send]:
        self._due_at = now + self._config.try_s
        number = self._rng.getrandbits(64)
        self._numbers.append(number)
        found = list(self._helpers())
        # Who is reached at a private address says nothing of those out there.
        found = [one for one in found if not in_private(one[1].address)] or found
        found = [one for one in found if self._matters(one[1].address)] or found
        found = [one for one in found if one[1] not in self._asked] or found
        if not found:
            return []
        node, peer = self._rng.choice(found)
        self._asked.append(peer)
        return [self._say(node, peer, TryMe(number=number, address=self.named), now)]

    def _judge(self, now: float) -> None:
        """Nothing has arrived. Where hardly anything was sent that means nothing, unless it was to be expected.

        A host that nobody has seen, and that knows nobody to ask, is the first one: it waits for others.
        """
        if not self._asked and self.seen is None:
            self._rest(self._config.retry_min_s, now)
            return
        if 2 * len(self._sent) > len(self._numbers) or (self.verdict is Verdict.UNKNOWN and self.translated):
            self.verdict, self.mapped = Verdict.UNREACHED, None
        self._rest(self._retry_s, now)
        self._retry_s = min(2.0 * self._retry_s, self._config.retry_max_s)

    def _rest(self, pause_s: float, now: float) -> None:
        self._due_at = now + pause_s * (0.9 + 0.2 * self._rng.random())

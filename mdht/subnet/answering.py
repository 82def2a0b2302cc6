"""The answering side of a lookup inside a subnet: who answers, when, and who keeps silent (mDHT design, section 7)."""

import math
from collections import Counter
from random import Random

from dhtboot.ids import Address
from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.holdings import Holdings, Version, covers, have_of
from mdht.subnet.messages import Ask, Fetch, Have, Nack, Value, WhoHas
from mdht.subnet.resolve_config import Placement, ResolveConfig


class _Pending:
    __slots__ = ("at", "question", "to")

    def __init__(self, question: WhoHas, to: Address, at: float) -> None:
        self.question = question
        self.to = to
        self.at = at


class Answering:
    """What one host owes others.

    Args:
        hid: own name.
        holdings: the records it has.
        placement: the order in which holders answer.
        config: times and limits.
        rng: all chance.
        counters: of answers saved, and of those refused.
    """

    def __init__(
        self,
        hid: bytes,
        holdings: Holdings,
        placement: Placement,
        config: ResolveConfig,
        rng: Random,
        counters: Counter[str],
    ) -> None:
        self._hid = hid
        self._holdings = holdings
        self._placement = placement
        self._config = config
        self._rng = rng
        self._counters = counters
        self._pending: dict[bytes, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def asked(self, question: WhoHas, to: Address, size: int, now: float) -> None:
        """Somebody asks all siblings: answer at the next tick that is due.

        One who asks again has got no answer, so a question that was answered before, or that somebody else answered,
        is a new one.

        Args:
            question: what he asks.
            to: where he is known to be.
            size: live members of the subnet.
            now: the time.
        """
        if question.qid in self._pending:
            return
        if self._holdings.version(question.key, now) is not None:
            delay_s = self._delay_s(question.key)
        elif Ask.DENIAL in question.ask and size <= self._config.denial_members_max:
            delay_s = self._config.denial_jitter_s * self._rng.random()
        else:
            return
        if len(self._pending) >= self._config.answers_max:
            self._counters["answers_full"] += 1
            return
        self._pending[question.qid] = _Pending(question, to, now + delay_s)

    def heard(self, have: Have, now: float) -> None:
        """Somebody else answers a question: keep silent, unless he knows less."""
        pending = self._pending.get(have.qid)
        if pending is None or pending.question.key != have.key:
            return
        mine = self._holdings.version(have.key, now)
        if mine is None or covers(have, mine):
            del self._pending[have.qid]
            self._counters["suppressed"] += 1

    def fetched(self, fetch: Fetch, to: Address, now: float) -> Unicast:
        """The answer to one who asks this host alone; records that are too large for it are only announced."""
        version = self._holdings.version(fetch.key, now)
        if version is None:
            return Unicast(to, Nack(qid=fetch.qid, key=fetch.key))
        return Unicast(to, self._for_asker(fetch.qid, fetch.key, version, now))

    def tick(self, now: float) -> list[Multicast | Unicast]:
        """The answers that are due."""
        effects: list[Multicast | Unicast] = []
        for pending in [pending for pending in self._pending.values() if pending.at <= now]:
            qid, key = pending.question.qid, pending.question.key
            del self._pending[qid]
            version = self._holdings.version(key, now)
            if version is not None:
                effects += [
                    Multicast(have_of(qid, key, version)),
                    Unicast(pending.to, self._for_asker(qid, key, version, now)),
                ]
            elif Ask.DENIAL in pending.question.ask:
                effects.append(Unicast(pending.to, Nack(qid=qid, key=key)))
        return effects

    def next_deadline(self) -> float:
        """When to call `tick`."""
        return min((pending.at for pending in self._pending.values()), default=math.inf)

    def _for_asker(self, qid: bytes, key: bytes, version: Version, now: float) -> Value | Have:
        """What the asker gets by unicast: he would wait in vain if the multicast that announces much were lost."""
        if version.size <= self._config.inline_max:
            return Value(qid=qid, key=key, records=self._holdings.records(key, now))
        return have_of(qid, key, version)

    def _delay_s(self, key: bytes) -> float:
        """How long to wait for others who hold the same; the last step is shared, by chance within it."""
        if self._placement.single:
            return 0.0
        targets = list(self._placement.targets(key))
        place = targets.index(self._hid) if self._hid in targets else len(targets)
        return (min(place, self._config.steps_max - 1) + self._rng.random()) * self._config.step_s

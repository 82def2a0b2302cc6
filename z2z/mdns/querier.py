"""The mDNS querier as a core without I/O: browses types and resolves what it finds (RFC 6762, RFC 6763).

Only what belongs to a browsed type is cached: pointers of the type and its subtypes, SRV and TXT of the instances that
they name, addresses of the hosts that these name. An instance is reported when it is complete. Nothing is ever asked
for by unicast answer, which another responder of this machine on the same port could get instead.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, TypeAlias

from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.mdns.cache import Cache
from z2z.mdns.instances import KNOWN_SUBTYPES, Instance, Instances
from z2z.mdns.messages import (
    ENUMERATION,
    RR_PTR,
    RR_SRV,
    Address4,
    Address6,
    Confirmed,
    MdnsMessage,
    Name,
    Nsec,
    Ptr,
    QuerierEffect,
    Record,
    SendMulticast,
    ServiceChanged,
    ServiceFound,
    ServiceLost,
    ServiceRefused,
    Srv,
    Txt,
    Unconfirmed,
    fold,
    instance_name,
    subtype_name,
    type_name,
)
from z2z.mdns.questions import Questions
from z2z.mdns.slots import Slots
from z2z.mdns.timers import Timers
from z2z.mdns.type_list import Types
from z2z.service_item import ServiceItem, check_service_type

FIRST_QUERY_S: Final = (0.020, 0.120)
"Before the first query, so that machines that start together do not speak together (RFC 6762 section 5.2)."
INTERVAL_MAX_S: Final = 3_600.0
"Between queries, which begin a second apart and double (section 5.2)."
SETTLE_S: Final = 0.050
"Between a change and its report: the records of one change come in several packets and by two address families."
FAMILY_S: Final = 0.150
"Wait for the other address family: hosts speak by each in its own time, answers up to 120 ms apart (section 6)."
ASK_AGAIN_S: Final = 1.0
"Between repetitions of a question (section 5.2)."
FRESH_S: Final = 1.0
"A record heard this shortly before a confirmation counts: its owner may not repeat it sooner (section 6)."
_ALL_TYPES: Final = ""
"Stands for the list of types where a service type is expected."

GATHER_S: Final = 0.05
"Confirmations that are wanted within this time share their questions' packets."

_TimerKey: TypeAlias = tuple[Literal["browse", "gather"], str] | tuple[Literal["settle", "resolve", "confirm"], Name]
_GATHERING: Final = ("gather", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerierConfig:
    """Settings of a querier."""

    records_max: int = 10_000
    "Cached records: 2,000 services at five records each, twice what a link is known to carry."
    parallel_max: int = 20
    "Instances resolved, and instances confirmed, at once: more lose answers in receive buffers (measured)."
    resolve_waits_s: tuple[float, ...] = (1.0, 1.0, 2.0, 4.0)
    "Waits after each attempt to resolve; then the instance waits for its next announcement."
    confirm_tries: int = 3
    "Questions of one confirmation, a second each: a machine that is too busy for two seconds is not gone."
    subtypes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(KNOWN_SUBTYPES))
    "Subtypes to ask for, by type; others are noted when they are announced."

    def __post_init__(self) -> None:
        if min(self.records_max, self.parallel_max, self.confirm_tries, len(self.resolve_waits_s)) < 1:
            raise LocalProtocolError("every limit of a querier is at least 1")


class _Browse:
    """One browsed type, or the list of types under the empty name."""

    def __init__(self, owners: Iterable[Name]) -> None:
        self.owners = tuple(owners)
        "Names whose pointers are asked for: the type first."
        self.interval_s = 1.0


class Querier:
    """Browses types on one link.

    Every method that takes `now` (seconds, any origin) and returns effects returns what is to be done, in order.
    """

    def __init__(self, config: QuerierConfig, rng: Random) -> None:
        self._config = config
        self._rng = rng
        self._cache = Cache(config.records_max, rng)
        self._timers = Timers[_TimerKey]()
        self._browses: dict[str, _Browse] = {}
        self._types = Types(self._cache)
        self._instances = Instances(self._cache)
        self._resolving = Slots(config.parallel_max)
        self._confirming = Slots(config.parallel_max)
        self._questions = Questions(self._cache)

    @property
    def records_cached(self) -> int:
        """Records in the cache."""
        return self._cache.count

    @property
    def records_refused(self) -> int:
        """Records that found the cache full."""
        return self._cache.refused

    def known(self, service_type: str) -> list[ServiceItem]:
        """Return the instances of a type that are reported as found."""
        return [one.item for one in self._instances.of_type(service_type) if one.item is not None]

    def known_types(self) -> list[str]:
        """Return the types that are reported as found, sorted."""
        return self._types.names

    def browse(self, service_type: str, now: float) -> list[QuerierEffect]:
        """Begin to look for a type; one that is browsed already goes on.

        Raises:
            RemoteProtocolError: the text is no service type.
        """
        bare = check_service_type(service_type)
        subtypes = self._config.subtypes.get(bare, ())
        return self._browse(bare, [type_name(bare), *(subtype_name(label, bare) for label in subtypes)], now)

    def browse_types(self, now: float) -> list[QuerierEffect]:
        """Begin to look for the types that the link offers (RFC 6763 section 9)."""
        return self._browse(_ALL_TYPES, [ENUMERATION], now)

    def stop_browse(self, service_type: str) -> None:
        """Stop looking for a type and forget its instances; nothing is reported."""
        if self._browses.pop(service_type, None) is None:
            return
        self._timers.cancel(("browse", service_type))
        for one in self._instances.of_type(service_type):
            self._timers.cancel(("settle", one.key))
            self._timers.cancel(("resolve", one.key))
            self._resolving.remove(one.key)
        spared = [one.key for one in self._instances.of_type(service_type) if one.key in self._confirming]
        self._instances.forget_type(service_type, spared)

    def stop_browse_types(self) -> None:
        """Stop looking for types."""
        self._browses.pop(_ALL_TYPES, None)
        self._timers.cancel(("browse", _ALL_TYPES))
        self._types.clear()

    def confirm(self, service_type: str, instance: bytes, now: float) -> list[QuerierEffect]:
        """Ask now whether an instance lives; `Confirmed` or `Unconfirmed` follows (RFC 6762 section 10.4)."""
        one = self._instances.add(instance_name(instance, service_type), service_type)
        self._confirming.add(one.key)
        if self._timers.get(_GATHERING) > now + GATHER_S:
            self._timers.set(_GATHERING, now + GATHER_S)
        return []

    def give_up(self, service_type: str, instance: bytes, now: float) -> list[QuerierEffect]:
        """Take an instance for gone, and ask for its type anew, so that it is found again should it live."""
        one = self._instances.add(instance_name(instance, service_type), service_type)
        self._confirming.remove(one.key)
        self._timers.cancel(("confirm", one.key))
        effects: list[QuerierEffect] = [Unconfirmed(service_type=one.service_type, instance=one.name[0])]
        self._instances.drop_pointer(one)
        self._lose(one, effects)
        if service_type in self._browses:
            self._start(service_type, now)
        return effects

    def restart(self, now: float) -> list[QuerierEffect]:
        """Begin the queries anew after the interface was down."""
        for service_type in self._browses:
            self._start(service_type, now)
        return []

    def receive(self, message: MdnsMessage, now: float) -> list[QuerierEffect]:
        """Act on a message from the link; the caller has made sure that it was sent on the link, from port 5353."""
        effects: list[QuerierEffect] = []
        records = (*message.answers, *message.additionals) if message.is_response else ()
        touched: dict[Name, Instance] = {}
        # Pointers first: they tell which of the other records matter, and these which addresses do.
        for record in records:
            if isinstance(record.data, Ptr):
                one = self._hear_pointer(record, record.data.target, now, effects)
                touched |= {one.key: one} if one is not None else {}
        for record in records:
            if isinstance(record.data, Srv | Txt):
                one = self._instances.hear_service(record, now)
                touched |= {one.key: one} if one is not None else {}
        for record in records:
            if isinstance(record.data, Address4 | Address6 | Nsec):
                touched |= {one.key: one for one in self._instances.hear_host(record, now)}
        touched |= {one.key: one for one in self._instances.depart([one for one in records if one.ttl_s == 0], now)}
        for one in touched.values():
            self._touch(one, now)
            self._confirm_if_fresh(one, now, effects)
        return effects + self._work(now)

    def tick(self, now: float) -> list[QuerierEffect]:
        """Do what is due."""
        effects: list[QuerierEffect] = []
        for cached in self._cache.tick(now, lambda cached: self._questions.ask(cached.record.name, cached.key[1], now)):
            if cached.key[0] == ENUMERATION:
                effects += self._types.lose(cached)
                continue
            for one in self._instances.expire(cached, now):
                self._touch(one, now)
        for key in self._timers.pop_due(now):
            match key:
                case ("browse", service_type):
                    self._query(service_type, now)
                case ("settle", name):
                    self._settle(name, now, effects)
                # What fell due before it in this very tick may have ended the job.
                case ("resolve", name) if self._resolving.is_running(name):
                    self._resolve(name, now, effects)
                case ("confirm", name) if self._confirming.is_running(name):
                    self._ask_to_confirm(name, now, effects)
        return effects + self._work(now)

    def next_deadline(self) -> float:
        """Return when `tick` should be called next, `math.inf` for never."""
        return min(self._timers.next_deadline(), self._cache.next_deadline())

    def _browse(self, service_type: str, owners: list[Name], now: float) -> list[QuerierEffect]:
        if service_type not in self._browses:
            self._browses[service_type] = _Browse(owners)
            self._start(service_type, now)
        return []

    def _start(self, service_type: str, now: float) -> None:
        self._browses[service_type].interval_s = 1.0
        self._timers.set(("browse", service_type), now + self._rng.uniform(*FIRST_QUERY_S))

    def _query(self, service_type: str, now: float) -> None:
        browse = self._browses[service_type]
        self._questions.ask_all(((owner, RR_PTR) for owner in browse.owners), now)
        self._timers.set(("browse", service_type), now + browse.interval_s)
        browse.interval_s = min(browse.interval_s * 2, INTERVAL_MAX_S)

    def _work(self, now: float) -> list[QuerierEffect]:
        """Begin waiting jobs, then send what is to be asked."""
        for name in self._resolving.begin():
            self._resolve(name, now, [])
        effects: list[QuerierEffect] = []
        for name in self._confirming.begin():
            if (one := self._instances.get(name)) is not None:
                one.confirm_since = now - FRESH_S
                self._confirm_if_fresh(one, now, effects)
            if self._confirming.is_running(name):
                self._ask_to_confirm(name, now, effects)
        return [*effects, *(SendMulticast(message) for message in self._questions.take(now))]

    def _hear_pointer(self, record: Record, target: Name, now: float, effects: list[QuerierEffect]) -> Instance | None:
        owner = fold(record.name)
        if owner == ENUMERATION:
            if _ALL_TYPES in self._browses:
                effects += self._types.hear(record, target, now)
            return None
        is_subtype = len(owner) == 5 and owner[1] == b"_sub"
        service_type = b".".join(owner[-3:-1]).decode("ascii", "replace")
        if (len(owner) != 3 and not is_subtype) or service_type not in self._browses:
            return None
        hear = self._instances.hear_subtype if is_subtype else self._instances.hear_pointer
        return hear(record, target, service_type, now)

    def _touch(self, one: Instance, now: float) -> None:
        """Look at an instance again soon."""
        self._timers.set(("settle", one.key), min(now + SETTLE_S, self._timers.get(("settle", one.key))))

    def _settle(self, name: Name, now: float, effects: list[QuerierEffect]) -> None:
        """Report what an instance has become, or set out to complete it."""
        one = self._instances.get(name)
        if one is None:
            return
        if not one.is_pointed_at:
            self._lose(one, effects)
            return
        try:
            item = self._instances.compose(one)
        except RemoteProtocolError as error:
            self._refuse(one, str(error), effects)
            return
        if item is None:
            if one.has_left:
                self._unreport(one, effects)
            self._resolving.add(name)
            if self._resolving.is_running(name):  # what an announcement leads to does not wait for the next attempt
                self._questions.ask_all(self._instances.missing(one), now)
            return
        self._resolving.remove(name)
        self._timers.cancel(("resolve", name))
        if one.item is None and self._waits_for_family(one, now):
            return
        if item != one.item:
            effects.append(ServiceFound(item) if one.item is None else ServiceChanged(item))
        one.item, one.refusal, one.has_left, one.report_by = item, "", False, math.inf

    def _waits_for_family(self, one: Instance, now: float) -> bool:
        """Ask for addresses of the other family, and wait a moment for them or for the word that there are none."""
        questions = self._instances.other_family(one)
        one.report_by = min(one.report_by, now + FAMILY_S)
        if not questions or now >= one.report_by:
            return False
        self._questions.ask_all(questions, now)
        self._timers.set(("settle", one.key), one.report_by)
        return True

    def _unreport(self, one: Instance, effects: list[QuerierEffect]) -> None:
        one.report_by = math.inf
        self._resolving.remove(one.key)
        self._timers.cancel(("resolve", one.key))
        if one.item is not None:
            one.item = None
            effects.append(ServiceLost(service_type=one.service_type, instance=one.name[0]))

    def _refuse(self, one: Instance, reason: str, effects: list[QuerierEffect]) -> None:
        self._unreport(one, effects)
        if reason != one.refusal:
            one.refusal = reason
            effects.append(ServiceRefused(service_type=one.service_type, instance=one.name[0], reason=reason))

    def _lose(self, one: Instance, effects: list[QuerierEffect]) -> None:
        """Report a loss, and forget the instance unless somebody waits for its confirmation."""
        self._unreport(one, effects)
        if not one.is_pointed_at and one.key not in self._confirming:
            self._instances.forget(one)

    def _resolve(self, name: Name, now: float, effects: list[QuerierEffect]) -> None:
        """Ask for what an instance lacks, or give it up until its next announcement."""
        one, tries = self._instances.get(name), self._resolving.attempt(name)
        if one is None or tries >= len(self._config.resolve_waits_s):
            self._resolving.remove(name)
            if one is not None:
                self._lose(one, effects)
            return
        self._questions.ask_all(self._instances.missing(one), now)
        self._timers.set(("resolve", name), now + self._config.resolve_waits_s[tries])

    def _confirm_if_fresh(self, one: Instance, now: float, effects: list[QuerierEffect]) -> None:
        if not self._confirming.is_running(one.key) or not self._instances.is_fresh(one, now):
            return
        self._confirming.remove(one.key)
        self._timers.cancel(("confirm", one.key))
        effects.append(Confirmed(service_type=one.service_type, instance=one.name[0]))
        if not one.is_pointed_at:
            self._instances.forget(one)

    def _ask_to_confirm(self, name: Name, now: float, effects: list[QuerierEffect]) -> None:
        """Ask for SRV and addresses again, or conclude that nobody answers for the instance."""
        one, tries = self._instances.get(name), self._confirming.attempt(name)
        if one is None:
            self._confirming.remove(name)
            return
        if tries >= self._config.confirm_tries:
            effects += self.give_up(one.service_type, one.name[0], now)
            return
        self._questions.ask_all(((one.name, RR_SRV), *self._instances.address_questions(one)), now)
        self._timers.set(("confirm", name), now + ASK_AGAIN_S)

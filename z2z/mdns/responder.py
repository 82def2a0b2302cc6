"""The mDNS responder as a core without I/O: publishes services on one link as if they were local (RFC 6762, 6763).

Where the RFC leaves room, two things rule. An import must never make a device of the link rename itself (see
`claims`): its probes propose no SRV or TXT records, against which a probing device could lose, and it gives up a
name silently as soon as a device claims it. And the machine may run another responder on the same port, which would
get the unicast answers: probes ask for multicast ones.
"""

import math
from collections.abc import Hashable, Iterable
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Final, Literal, TypeAlias

from z2z.errors import LocalProtocolError
from z2z.mdns.answers import REPEAT_S, Answers
from z2z.mdns.claims import (
    Claim,
    ClaimAction,
    ClaimInput,
    Rank,
    compare_proposals,
    conflict_reason,
    differing,
    is_import,
    touched_names,
)
from z2z.mdns.messages import (
    MDNS_PORT,
    Conflict,
    ConflictReason,
    Identity,
    Lost,
    MdnsMessage,
    Name,
    Ptr,
    Record,
    Registered,
    Registration,
    ResponderEffect,
    SendMulticast,
    Srv,
    StandingBy,
    Txt,
    fold,
    identity,
    instance_name,
)
from z2z.mdns.outbox import Outbox, UpdatePace, pack, pack_probes, pack_questions
from z2z.mdns.responder_config import ResponderConfig
from z2z.mdns.standby import Standby
from z2z.mdns.timers import Timers
from z2z.mdns.zone import OwnRecord, Zone, all_records, check_registration, host_name, host_records, service_records
from z2z.service_item import ServiceItem

PROBE_S: Final = 0.250
"Between probes, and the most to wait before the first one (RFC 6762 section 8.1)."
DEFER_S: Final = 1.0
"Wait after a lost tie-break (section 8.2)."
ANNOUNCEMENTS: Final = 2
START_SLOTS_PER_S: Final = 40
"Random starts fall on multiples of 25 ms, so that the probes of many registrations share packets."
CONGESTED_S: Final = 0.05
"Wait of a probe or announcement while older packets still wait for the budget."
_TimerKey: TypeAlias = tuple[Literal["claim"], Name] | tuple[Literal["announce"], Hashable]


class _Service:
    """One registration and how far it is."""

    def __init__(self, registration: Registration) -> None:
        self.registration = registration
        self.is_live = False
        "Its records are answered with."
        self.was_registered = False
        "The caller has been told so; what happens next is a loss, not a conflict."
        self.announcements_left = 0
        self.pace = UpdatePace()


class Responder:
    """Publishes registrations on one link.

    Every method that takes `now` (seconds, any origin) returns what is to be done, in order.
    """

    def __init__(self, config: ResponderConfig, rng: Random) -> None:
        self._config = config
        self._rng = rng
        self._zone = Zone()
        self._outbox = Outbox(config.packets_per_minute, config.burst, config.answer_patience_s)
        self._answers = Answers(self._zone, self._outbox, rng)
        self._standby = Standby(rng)
        self._timers = Timers[_TimerKey]()
        self._services: dict[Hashable, _Service] = {}
        self._claims: dict[Name, Claim] = {}
        self._rank = Rank(None, None)

    @property
    def outbox(self) -> Outbox:
        """What waits to be sent, and how it was with the budget so far."""
        return self._outbox

    def set_addresses(self, ipv4: IPv4Address | None, ipv6: IPv6Address | None) -> None:
        """Tell by which addresses this responder is seen on the link; they decide between equal importers."""
        self._rank = Rank(ipv4, ipv6)

    def register(self, registration: Registration, now: float) -> list[ResponderEffect]:
        """Begin to publish a service; `Registered`, `StandingBy` or `Conflict` follows. A known id is replaced.

        Raises:
            LocalProtocolError: a value is out of bounds, or there are too many registrations.
        """
        check_registration(registration)
        effects = self.withdraw(registration.id, now)
        if len(self._services) >= self._config.registrations_max:
            raise LocalProtocolError(
                f"{registration.item.display_name!r} is not published: this link has "
                f"{self._config.registrations_max} imports already"
            )
        item = registration.item
        name = instance_name(item.instance, item.service_type)
        held = self._claims.get(fold(name))
        if held is not None:
            (owner,) = held.owners
            seen = service_records(self._services[owner].registration)
            return [*effects, Conflict(id=registration.id, reason=ConflictReason.OTHER_IMPORT, seen=seen, source="")]
        self._services[registration.id] = _Service(registration)
        for fresh in (Claim(name, is_host=False), Claim(host_name(registration), is_host=True)):
            claim = self._claims.setdefault(fresh.key, fresh)
            if not claim.owners:
                self._start(claim, now)
            claim.owners[registration.id] = None
        return effects

    def update(self, registration_id: Hashable, item: ServiceItem, now: float) -> list[ResponderEffect]:
        """Publish other data under the same name (RFC 6762 section 8.4); an unknown id is left alone.

        Raises:
            LocalProtocolError: the item has another instance name or type, or no address.
        """
        service = self._services.get(registration_id)
        if service is None:
            return []
        old = service.registration
        if (item.instance, item.service_type) != (old.item.instance, old.item.service_type):
            raise LocalProtocolError("an update keeps instance name and type; withdraw and register instead")
        new = Registration(id=old.id, item=item, host_label=old.host_label, ttl_s=old.ttl_s)
        check_registration(new)
        service.registration = new
        if not service.is_live or item == old.item:
            return []
        gone = self._zone.hold(new.id, all_records(new))
        # SRV and TXT are replaced by the announcement's cache-flush bit (section 10.2).
        effects = self._goodbyes([record for record in gone if not isinstance(record.data, Srv | Txt)], now)
        self._announce_soon(service, service.pace.next(now))
        return effects

    def withdraw(self, registration_id: Hashable, now: float) -> list[ResponderEffect]:
        """Stop publishing a service, with goodbyes (RFC 6762 section 10.1); an unknown id is left alone.

        SRV and TXT say by the cache-flush bit that it is gone: who stands by for it leaves it at that (`standby`).
        """
        return self._goodbyes(self._remove(registration_id), now, for_good=True)

    def shutdown(self, now: float) -> list[ResponderEffect]:
        """Stop publishing everything, with goodbyes; pointers first, because they make browsers forget.

        Whoever stands by for a service shows it then.
        """
        gone = [record for registration_id in list(self._services) for record in self._remove(registration_id)]
        return self._goodbyes(sorted(gone, key=lambda record: not isinstance(record.data, Ptr)), now)

    def restart(self, now: float) -> list[ResponderEffect]:
        """Begin anew after the interface was down: probe and announce all (RFC 6762 sections 8 and 8.3)."""
        for service in self._services.values():
            service.is_live = False
            self._zone.hold(service.registration.id, ())
            self._timers.cancel(("announce", service.registration.id))
        for claim in self._claims.values():
            self._standby.forget(claim.key)
            claim.step(ClaimInput.RESTART)
            self._start(claim, now)
        return []

    def receive(self, message: MdnsMessage, source: str, port: int, now: float) -> list[ResponderEffect]:
        """Act on a message that another program sent on the link.

        Args:
            message: what it sent.
            source: its address.
            port: its port; one other than 5353 marks a plain DNS resolver (RFC 6762 section 6.7).
            now: seconds.
        """
        effects: list[ResponderEffect] = []
        if message.is_response:
            if port == MDNS_PORT:  # from another port any program of that host could have sent it (section 6)
                effects += self._meet_response(message, source, now)
                self._standby.hear(message, source, now)
                self._answers.hear(message, now)
        else:
            if port == MDNS_PORT:  # others are answered by unicast
                self._standby.asked(message, now)
            if message.authorities:
                effects += self._meet_probe(message, source, now)
            effects += self._answers.query(message, source, port, now)
        return effects + self._flush(now)

    def tick(self, now: float) -> list[ResponderEffect]:
        """Do what is due."""
        effects: list[ResponderEffect] = [*self._answers.tick(now)]
        probing: list[Claim] = []
        announcing: list[_Service] = self._take_over(effects, now)
        for key in self._timers.pop_due(now):
            if self._outbox.congested:  # a probe that waits in a queue would not be one
                self._timers.set(key, now + CONGESTED_S)
            elif key[0] == "announce":
                announcing.append(self._services[key[1]])
            elif self._claims[key[1]].step(ClaimInput.TIMER) is ClaimAction.PROBE:
                probing.append(self._claims[key[1]])
                self._timers.set(key, now + PROBE_S)
            else:
                announcing += self._go_live(self._claims[key[1]], effects)
        self._probe(probing)
        self._announce(announcing, now)
        return effects + self._flush(now)

    def next_deadline(self) -> float:
        """Return when `tick` should be called next, `math.inf` for never."""
        parts = (self._timers, self._answers, self._standby, self._outbox)
        return min(part.next_deadline() for part in parts)

    def _flush(self, now: float) -> list[ResponderEffect]:
        return [SendMulticast(message) for message in self._outbox.take(now)]

    def _start(self, claim: Claim, now: float) -> None:
        slot = math.floor((now + self._rng.uniform(0, PROBE_S)) * START_SLOTS_PER_S)
        self._timers.set(("claim", claim.key), max(now, slot / START_SLOTS_PER_S))

    def _probe(self, claims: Iterable[Claim]) -> None:
        # Only host names, which devices do not use, are proposed with their records: see the top of this file.
        proposed = ((claim.name, self._proposals(claim) if claim.is_host else ()) for claim in claims)
        for message in pack_probes(proposed):
            self._outbox.push(message)

    def _go_live(self, claim: Claim, effects: list[ResponderEffect]) -> list[_Service]:
        """Answer with the records of the services whose names are all held now; returns these services."""
        ready = []
        for registration_id in claim.owners:
            service = self._services[registration_id]
            if service.is_live or not all(held.is_held for held in self._claims_of(service.registration)):
                continue
            self._zone.hold(registration_id, all_records(service.registration))
            service.is_live = True
            service.announcements_left = ANNOUNCEMENTS
            ready.append(service)
            if not service.was_registered:
                service.was_registered = True
                effects.append(Registered(id=registration_id, instance=service.registration.item.instance))
        return ready

    def _take_over(self, effects: list[ResponderEffect], now: float) -> list[_Service]:
        """Ask what must be asked of other importers, and show what they show no more; returns these services.

        Nothing is probed for once more: who stands by has heard each probe since the name was another importer's.
        """
        questions, names = self._standby.tick(now)
        for portion in pack_questions(questions):
            self._outbox.push(MdnsMessage(questions=tuple(portion)))
        ready: list[_Service] = []
        for name in names:
            self._claims[name].step(ClaimInput.TAKE_OVER)
            ready += self._go_live(self._claims[name], effects)
        return ready

    def _announce_soon(self, service: _Service, when: float) -> None:
        service.announcements_left = ANNOUNCEMENTS
        self._timers.set(("announce", service.registration.id), when)

    def _announce(self, services: Iterable[_Service], now: float) -> None:
        records: dict[Identity, OwnRecord] = {}
        pause_s = self._config.announce_pause_s(len(self._services))
        for service in services:
            registration_id = service.registration.id
            records |= {own.key: own for own in self._zone.held(registration_id) if now >= own.sent_at + REPEAT_S}
            service.announcements_left -= 1
            if service.announcements_left > 0:
                self._timers.set(("announce", registration_id), now + pause_s)
        self._answers.announce(records.values(), now)

    def _claims_of(self, registration: Registration) -> list[Claim]:
        item, host = registration.item, host_name(registration)
        return [self._claims[fold(name)] for name in (instance_name(item.instance, item.service_type), host)]

    def _remove(self, registration_id: Hashable) -> list[Record]:
        """Forget a registration; returns the records that nobody holds any more."""
        service = self._services.get(registration_id)
        if service is None:
            return []
        self._timers.cancel(("announce", registration_id))
        for claim in self._claims_of(service.registration):
            del claim.owners[registration_id]
            if not claim.owners:
                del self._claims[claim.key]
                self._timers.cancel(("claim", claim.key))
                self._standby.forget(claim.key)
        del self._services[registration_id]
        return self._zone.hold(registration_id, ())

    def _goodbyes(self, records: Iterable[Record], now: float, *, for_good: bool = False) -> list[ResponderEffect]:
        # Addresses never with the cache-flush bit, so that others of a host that still serves stay (section 10.2).
        messages = pack(
            Record(name=one.name, data=one.data, ttl_s=0, unique=for_good and isinstance(one.data, Srv | Txt))
            for one in records
        )
        self._outbox.spend(now, len(messages))
        if self._outbox.backlog:  # an answer that still waits could bring the service back to life: say it once more
            for message in messages:
                self._outbox.push_last(message)
        return [SendMulticast(message) for message in messages]

    def _proposals(self, claim: Claim) -> tuple[Record, ...]:
        registrations = [self._services[owner].registration for owner in claim.owners]
        if not claim.is_host:
            return service_records(registrations[0])
        return tuple({identity(record): record for one in registrations for record in host_records(one)}.values())

    def _meet_probe(self, message: MdnsMessage, source: str, now: float) -> list[ResponderEffect]:
        """Compare with a probe of somebody else for one of our names (RFC 6762 section 8.2)."""
        effects: list[ResponderEffect] = []
        touched = touched_names(self._claims, message.authorities)
        for record in message.authorities:
            # python-zeroconf proposes the pointer instead of SRV and TXT.
            if isinstance(record.data, Ptr) and fold(record.data.target) in self._claims:
                touched.setdefault(fold(record.data.target), []).append(record)
        for key, theirs in touched.items():
            if (claim := self._claims.get(key)) is None:
                continue
            if not claim.is_host and not is_import(theirs):
                effects += self._yield(claim, ConflictReason.LOCAL_DEVICE, theirs, source)
            elif claim.is_probing and compare_proposals(self._proposals(claim), theirs) < 0:
                claim.step(ClaimInput.TIE_LOST)
                self._timers.set(("claim", key), now + DEFER_S)
        return effects

    def _meet_response(self, message: MdnsMessage, source: str, now: float) -> list[ResponderEffect]:
        """Look for somebody else who uses one of our names (RFC 6762 sections 8.1 and 9)."""
        effects: list[ResponderEffect] = []
        records = [record for record in (*message.answers, *message.additionals) if record.ttl_s > 0]
        for key, theirs in touched_names(self._claims, records).items():
            if (claim := self._claims.get(key)) is None:
                continue
            ours = self._proposals(claim)
            contradiction = differing(ours, theirs)
            if claim.is_host:
                reason = ConflictReason.HOST_TAKEN
            else:
                (owner,) = claim.owners
                reason = conflict_reason(self._services[owner].registration, theirs, records)
            same = not claim.is_host and any(isinstance(record.data, Srv) for record in theirs)
            if not contradiction and not same:
                continue
            if claim.is_standing_by and (reason is ConflictReason.SAME_ITEM or not same):
                continue
            if not claim.is_held or not self._rank.keeps(reason, ours, theirs, source, same=not contradiction):
                if reason is ConflictReason.SAME_ITEM:
                    effects += self._stand_by(claim, source, now)
                else:
                    effects += self._yield(claim, reason, theirs, source)
            elif contradiction:
                for owner in claim.owners:
                    self._answers.defend(self._zone.held(owner), now)
                    self._announce_soon(self._services[owner], now)
        return effects

    def _stand_by(self, claim: Claim, source: str, now: float) -> list[ResponderEffect]:
        """Leave an instance name to another importer of the same item until it ends; silently, as in `_yield`."""
        (owner,) = claim.owners
        service = self._services[owner]
        claim.step(ClaimInput.SERVED)
        self._timers.cancel(("claim", claim.key))
        self._timers.cancel(("announce", owner))
        self._zone.hold(owner, ())
        service.is_live = service.was_registered = False
        self._standby.watch(claim.name, source, now)
        return [StandingBy(id=owner, source=source)]

    def _yield(
        self, claim: Claim, reason: ConflictReason, seen: Iterable[Record], source: str
    ) -> list[ResponderEffect]:
        """Give a name up silently: goodbyes could hit the records of the one who has it now."""
        claim.step(ClaimInput.TAKEN)
        effects: list[ResponderEffect] = []
        for registration_id in list(claim.owners):
            event = Lost if self._services[registration_id].was_registered else Conflict
            self._remove(registration_id)
            effects.append(event(id=registration_id, reason=reason, seen=tuple(seen), source=source))
        return effects

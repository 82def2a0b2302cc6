"""The importer: what of the stores becomes visible on a link (thesis 4.3.2.2). A core without I/O.

Values of the stores and events of the link's responder go in; registrations come out. A *slot* is one writer's value
of one name, whichever key or store shows it; an *import* is what the link sees of it. The same service exported twice
(two exporters on one link) is one import with two slots behind it.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

import msgspec

from mdht.crowds import Crowds
from z2z.address_map import NO_MAP, AddressMap
from z2z.addresses import Interface
from z2z.admission import Admission, RefusedError, Why
from z2z.cover import PLAIN, Cover
from z2z.errors import RemoteProtocolError
from z2z.expiry import Expiry
from z2z.mdns.messages import Conflict, Lost, Registered, ResponderEvent, StandingBy
from z2z.policy_rules import NO_RULES, Rules
from z2z.presence import ImportEffect, Neighbours, Presence, Remember
from z2z.reports import Report, ServiceStatus, endpoints, shown
from z2z.seal import Opened, Site, unseal
from z2z.service_item import ServiceItem
from z2z.stores.base import StoredValue
from z2z.trust import Known, Policy, Trust, Verdict

IMPORTS_MAX: Final = 800
"Imports on one link: Avahi's cache holds 4,096 records by default and loses services beyond about 819."
SLOTS_MAX: Final = 4_096
"Values held, and refusals remembered: five times what can be shown, so that a flood of a key stays cheap."

MAKES_ROOM: Final = "it makes room for a site that shows fewer (--imports-max)"

Slot: TypeAlias = tuple[bytes, bytes]
"Writer and name of a stored value."


class ImportConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an importer."""

    site: Site
    "This site, whose own exports are not imported."
    stale_s: float = 300.0
    "A value not seen in its store for so long counts as gone (thesis 4.3.1)."
    imports_max: int = IMPORTS_MAX


@dataclass(slots=True)
class _Held:
    """One slot that stands behind an import."""

    value: bytes
    opened: Opened
    item: ServiceItem
    "With the addresses that this link may see."
    sources: set[str]
    number: int
    "The import."
    share: str
    "Whose it is, for a fair share of the link."


@dataclass(slots=True)
class _Refusal:
    digest: bytes
    final: bool
    "These bytes will never be accepted, so they are not verified again."
    report: Report


class Importer:
    """Decides what of the stores is published on one link."""

    def __init__(
        self,
        config: ImportConfig,
        rng: Random,
        trust: Trust | None = None,
        addresses: AddressMap = NO_MAP,
        rules: Rules = NO_RULES,
    ) -> None:
        """Make an importer.

        Args:
            config: its settings.
            rng: source of its small delays.
            trust: the sites that it believes; everybody by default.
            addresses: what a router between the others and this link translates.
            rules: of the administrator.
        """
        self._config, self._rng = config, rng
        self._trust = Trust(Policy.ANYBODY) if trust is None else trust
        self._admission = Admission(config.site, self._trust, addresses, rules)
        self.counters: Counter[str] = Counter()
        "Values that were refused, by why; and those older than what was seen of them."
        self._held: dict[Slot, _Held] = {}
        self._imports: dict[int, Presence] = {}
        self._backers: dict[int, list[Slot]] = {}
        self._shares: Crowds[Slot] = Crowds()
        self._refusals: dict[Slot, _Refusal] = {}
        self._expiry: Expiry[tuple[Slot, str]] = Expiry(config.stale_s)
        self._numbers = 0

    def set_own_prefixes(self, own: Iterable[Interface]) -> None:
        """Note the addresses of this host: what lies in their prefixes is not imported from now on."""
        self._admission.own = tuple(own)

    def seen(self, source: str, stored: StoredValue, now: float, cover: Cover = PLAIN) -> list[ImportEffect]:
        """Act on a value that a store shows under a key; `source` names both, `cover` is what it was exported with."""
        slot = (stored.writer, stored.name)
        held = self._held.get(slot)
        if held is not None and held.value == stored.value:
            held.sources.add(source)
            self._expiry.seen((slot, source), stored.remaining_s, now)
            return []
        refusal = self._refusals.get(slot)
        digest = hashlib.sha1(stored.value, usedforsecurity=False).digest()
        if refusal is not None and refusal.final and refusal.digest == digest:
            return []
        try:
            opened = self._open(stored, cover)
            if held is not None and opened.seq <= held.opened.seq:
                self.counters["older"] += 1
                return []  # a copy that has not caught up yet, or a replay
            item = self._admission.admit(opened)
            victim = self._room(opened, item) if held is None else None
            is_new_site = self._admission.meet(opened, now)
        except RemoteProtocolError as error:
            return self._refuse(slot, digest, error)
        self._refusals.pop(slot, None)
        effects = self._drop_whole(victim, MAKES_ROOM) if victim is not None else []
        effects += self._believe(opened) if is_new_site else []
        effects += self._hold(slot, stored, opened, item)
        self._held[slot].sources.add(source)
        self._expiry.seen((slot, source), stored.remaining_s, now)
        return effects

    def known(self, sites: Iterable[Known]) -> list[ImportEffect]:
        """Know these sites and no others from now on: what another one has exported goes."""
        if not self._trust.replace(sites):
            return []
        effects: list[ImportEffect] = []
        for slot, held in list(self._held.items()):
            verdict = self._trust.judge(held.opened.site, held.opened.writer)
            if verdict not in {Verdict.KNOWN, Verdict.NEW}:  # of a site that was forgotten it stays, but is no claim
                reason = self._trust.reason(verdict, held.opened.site, held.opened.writer)
                effects += self._drop_whole(slot, reason)
        return [*effects, *self.set_rules(self._admission.rules)]  # which go by the names of sites

    def set_rules(self, rules: Rules) -> list[ImportEffect]:
        """Obey other rules from now on: what they deny goes; what they allow comes with the next look at its store."""
        self._admission.rules = rules
        effects: list[ImportEffect] = []
        for slot, held in list(self._held.items()):
            ruling = self._admission.ruling(held.opened)
            if ruling.allowed:
                continue
            digest = hashlib.sha1(held.value, usedforsecurity=False).digest()
            refused = self._refuse(slot, digest, RefusedError(Why.POLICY, ruling.by, held.opened))
            dropped = self._drop_whole(slot, ruling.by)
            # One line for each: that it was removed, or, if another exporter's copy stays, that this one is refused.
            effects += dropped if any(isinstance(each, Report) for each in dropped) else [*dropped, *refused]
        return effects

    def removed(self, source: str, stored: StoredValue) -> list[ImportEffect]:
        """Act on a value that its writer took back."""
        slot = (stored.writer, stored.name)
        self._refusals.pop(slot, None)
        return self._drop(slot, source, "its exporter took it back")

    def snapshot(
        self, source: str, values: Iterable[StoredValue], now: float, cover: Cover = PLAIN
    ) -> list[ImportEffect]:
        """Act on everything that a store has under a key now; what is missing twice in a row is gone."""
        effects: list[ImportEffect] = []
        present = set()
        for stored in values:
            present.add((stored.writer, stored.name))
            effects += self.seen(source, stored, now, cover)
        for slot in [slot for slot, held in self._held.items() if source in held.sources and slot not in present]:
            if self._expiry.missed((slot, source)):
                effects += self._drop(slot, source, "the store has it no more")
        return effects

    def link_event(self, event: ResponderEvent, now: float) -> list[ImportEffect]:
        """Act on what the link's responder says of a registration."""
        presence = self._presence(event.id)
        match event:
            case _ if presence is None:
                return []  # of an earlier registration
            case Registered():
                return [self._with_rule(effect, presence) for effect in presence.registered()]
            case StandingBy():
                return presence.served_elsewhere()
            case Conflict() | Lost():
                return presence.yielded(event, now)

    def unfit(self, registration_id: Hashable, reason: str, now: float) -> list[ImportEffect]:
        """Act on the link's refusal of a registration."""
        presence = self._presence(registration_id)
        return presence.unfit(reason, now) if presence is not None else []

    def tick(self, now: float) -> list[ImportEffect]:
        """Act on the passing of time: leases that ended, names to try again."""
        effects: list[ImportEffect] = []
        for slot, source in self._expiry.due(now):
            effects += self._drop(slot, source, "its exporter has not refreshed it")
        for presence in self._imports.values():
            effects += presence.tick(now)
        return effects

    def next_deadline(self) -> float:
        """Return when `tick` will have something to do, `math.inf` for never."""
        wakes = min((presence.next_deadline() for presence in self._imports.values()), default=math.inf)
        return min(self._expiry.next_deadline(), wakes)

    def shutdown(self, reason: str) -> list[ImportEffect]:
        """Forget everything; the link, which says goodbye for all at once, has been left."""
        effects: list[ImportEffect] = [presence.ended(reason) for presence in self._imports.values()]
        self._held.clear()
        self._imports.clear()
        self._backers.clear()
        self._shares = Crowds()
        self._expiry = Expiry(self._config.stale_s)
        return effects

    @property
    def count(self) -> int:
        """How many imports there are."""
        return len(self._imports)

    def status(self) -> list[ServiceStatus]:
        """Return one line per import and per refused value."""
        lines = [
            presence.status(tuple(sorted({source for slot in slots for source in self._held[slot].sources})))
            for presence, slots in ((self._imports[number], slots) for number, slots in self._backers.items())
        ]
        lines += [
            ServiceStatus(
                role="import",
                state="refused",
                service=refusal.report.service,
                service_type=refusal.report.service_type,
                where=refusal.report.where,
                site=refusal.report.site,
                reason=refusal.report.reason,
            )
            for refusal in self._refusals.values()
        ]
        return lines

    def _open(self, stored: StoredValue, cover: Cover) -> Opened:
        uncovered = cover.open(stored.value)
        opened = unseal(uncovered.envelope)
        if stored.writer and not cover.wrote(stored.writer, opened.writer, uncovered.proof):
            raise RemoteProtocolError("it was put by somebody else than the site that signed it")
        return opened

    def _room(self, opened: Opened, item: ServiceItem) -> Slot | None:
        """Return what must make room for a new item, None while there is room.

        Of the site that shows most the newest goes, for one that shows fewer: so nobody can fill a link.

        Raises:
            RefusedError: no other site has more.
        """
        if len(self._held) >= SLOTS_MAX:
            full = f"{SLOTS_MAX} values are held already"
        elif len(self._imports) >= self._config.imports_max and self._twin(item) is None:
            shown_max = self._config.imports_max
            full = f"this link shows {shown_max} imports already; clients' caches hold some 800 (--imports-max)"
        else:
            return None
        largest, newest_first = self._shares.newest_first()
        if self._shares.size(opened.site.id.hex()) + 1 < largest:
            for slot in newest_first:
                if self._backers[self._held[slot].number] == [slot]:
                    return slot
        raise RefusedError(Why.FULL, full, opened)

    def _with_rule(self, effect: ImportEffect, presence: Presence) -> ImportEffect:
        if not isinstance(effect, Report):
            return effect
        first = self._held[self._backers[presence.number][0]]
        return msgspec.structs.replace(effect, allowed_by=self._admission.ruling(first.opened).by)

    def _believe(self, opened: Opened) -> list[ImportEffect]:
        """Remember the key of a site that is new here."""
        report = Report(
            event="known",
            service=opened.site.name,
            service_type="site",
            reason=f"from now on by its key {opened.site.id.hex()}",
            detail=True,
        )
        return [Remember(self._trust.remember(opened.site, opened.writer)), report]

    def _hold(self, slot: Slot, stored: StoredValue, opened: Opened, item: ServiceItem) -> list[ImportEffect]:
        held = self._held.get(slot)
        if held is not None:
            held.value, held.opened, held.item = stored.value, opened, item
            leads = self._backers[held.number][0] == slot
            return self._imports[held.number].change(item, opened.site) if leads else []
        number = self._twin(item)
        effects: list[ImportEffect] = []
        if number is None:
            self._numbers += 1
            number = self._numbers
            presence = Presence(number, item, opened.site, self._neighbours(number), self._rng)
            self._imports[number], self._backers[number] = presence, []
            effects = presence.appear(stored.remaining_s)
        self._backers[number].append(slot)
        share = opened.site.id.hex()
        self._shares.add(share, slot)
        self._held[slot] = _Held(stored.value, opened, item, set(), number, share)
        return effects

    def _twin(self, item: ServiceItem) -> int | None:
        """Return the import that shows the same service, exported by somebody else."""
        for number, presence in self._imports.items():
            other = presence.item
            if (
                (other.service_type, other.instance.lower(), other.port)
                == (item.service_type, item.instance.lower(), item.port)
                and not set(other.addresses).isdisjoint(item.addresses)
            ):  # fmt: skip
                return number
        return None

    def _drop_whole(self, slot: Slot, reason: str) -> list[ImportEffect]:
        """Drop a value whatever shows it."""
        return [each for source in list(self._held[slot].sources) for each in self._drop(slot, source, reason)]

    def _drop(self, slot: Slot, source: str, reason: str) -> list[ImportEffect]:
        held = self._held.get(slot)
        if held is None:
            return []
        self._expiry.forget((slot, source))
        held.sources.discard(source)
        if held.sources:
            return []
        del self._held[slot]
        self._shares.discard(held.share, slot)
        slots = self._backers[held.number]
        slots.remove(slot)
        if not slots:
            del self._backers[held.number]
            return self._imports.pop(held.number).leave(reason)
        heir = self._held[slots[0]]
        return self._imports[held.number].change(heir.item, heir.opened.site)

    def _neighbours(self, number: int) -> Neighbours:
        def others() -> Iterable[Presence]:
            return (each for each in self._imports.values() if each.number != number)

        def name_free(service_type: str, instance: bytes) -> bool:
            wanted = (service_type, instance.lower())
            return all((each.item.service_type, each.instance.lower()) != wanted for each in others())

        def host_free(host: bytes, item: ServiceItem) -> bool:
            return all(each.host != host or each.item.addresses == item.addresses for each in others())

        return Neighbours(name_free=name_free, host_free=host_free, count=lambda: len(self._imports))

    def _presence(self, registration_id: Hashable) -> Presence | None:
        number = registration_id[0] if isinstance(registration_id, tuple) else None
        presence = self._imports.get(number) if isinstance(number, int) else None
        return presence if presence is not None and presence.id == registration_id else None

    def _refuse(self, slot: Slot, digest: bytes, error: RemoteProtocolError) -> list[ImportEffect]:
        known = self._refusals.pop(slot, None)
        opened = error.opened if isinstance(error, RefusedError) else None
        report = Report(
            event="refused",
            service=shown(opened.item.instance) if opened else f"record {slot[1].hex() or '(no name)'}",
            service_type=opened.item.service_type if opened else "?",
            where=endpoints(opened.item) if opened else (),
            site=opened.site.name if opened else "",
            reason=str(error),
            # Every set-up with several sites has such values.
            detail=isinstance(error, RefusedError) and error.why is Why.OWN,
        )
        if len(self._refusals) >= SLOTS_MAX:
            self._refusals.pop(next(iter(self._refusals)))
        self._refusals[slot] = _Refusal(digest=digest, final=opened is None, report=report)
        if known is not None and known.report == report:
            return []
        self.counters[error.why.value if isinstance(error, RefusedError) else "unreadable"] += 1
        return [report]

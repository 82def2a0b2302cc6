"""The exporter: what of a link goes to a store, and when (thesis 4.3.2.1). A core without I/O.

Services of the link go in, puts and removes come out. A service is put under each of its keys, confirmed on the link
and put again every `refresh_s`, and removed at once when it goes.
"""

import hashlib
import heapq
import math
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from typing import Final, NamedTuple, TypeAlias

import msgspec

from mdht.signing import SigningKey
from z2z.address_map import NO_MAP, AddressMap
from z2z.cover import PLAIN, Cover
from z2z.errors import LocalProtocolError
from z2z.policy import Exportable, NotExportedError, check_exportable, usable_keys
from z2z.policy_rules import NO_RULES, Rules
from z2z.reports import EventName, Report, ServiceStatus, endpoints, shown
from z2z.seal import Site, seal
from z2z.service_item import ServiceItem

SERVICES_MAX: Final = 4_000
"Services that one exporter carries; four times what the largest known links show."
SKIPS_MAX: Final = 4_000
"Skipped services remembered, so that each is said once."
RETRY_FIRST_S: Final = 2.0
RETRY_MAX_S: Final = 30.0
"A put that failed is tried again after 2, 4 ... 30 s: the store is a network that comes back by itself."
SPREAD: Final = 0.1
"Refreshes are drawn from the last tenth of the interval, so that a link's services do not fall into step."
FIRST_SPREAD: Final = 0.8
"The first refresh comes after a fifth to all of the interval: services found in one burst are never asked in one."
TOGETHER: Final = 20
"But so many are from then on: their questions, and mostly their answers, share packets."
EARLY: Final = 0.5
"Of an interval: so much sooner a service joins one that is due. Then they are due together."

ServiceId: TypeAlias = tuple[str, bytes]
"Type and instance label in lower case (names compare without regard to ASCII case, RFC 6762 section 16)."


class ExportConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one exporter."""

    site: Site
    keys: tuple[str, ...] = ()
    "As typed by the user."
    ttl_s: int = 300
    "Lease that the store is asked for (thesis 4.3.1)."
    refresh_s: float = 60.0
    allow_private: bool = False
    force_type: bool = False


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: write a value; `put_done` is called with the outcome."""

    service: ServiceId
    key: bytes
    name: bytes
    value: bytes
    lease_s: int


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: remove a value."""

    service: ServiceId
    key: bytes
    name: bytes


class Confirm(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: ask the link whether a service lives; `confirmed` is called with the outcome."""

    service_type: str
    instance: bytes


ExportEffect: TypeAlias = Put | Remove | Confirm | Report


def service_id(service_type: str, instance: bytes) -> ServiceId:
    """Return what tells a service of a link from all others."""
    return service_type, instance.lower()


@dataclass(slots=True)
class _Target:
    """One key that a service is put under."""

    stored: bool = False
    failures: int = 0
    retry_at: float = math.inf


@dataclass(slots=True)
class _Export:
    """One service that is exported."""

    item: ServiceItem
    "With the addresses that may leave the link, as others reach them."
    keys: tuple[str, ...]
    name: bytes
    value: bytes
    heard: ServiceItem
    "As the link has it."
    allowed_by: str
    refresh_at: float
    asked: bool = False
    "A `Confirm` is under way."
    targets: dict[bytes, _Target] = field(default_factory=dict)
    announced: bool = False
    "The user was told that it is exported."
    said_failing: bool = False


class _Skip(NamedTuple):
    """One service that is not exported."""

    report: Report
    heard: ServiceItem | None
    "None for what breaks the rules of DNS-SD."


class Exporter:
    """Decides what of one link is kept in one store."""

    def __init__(
        self,
        config: ExportConfig,
        signer: SigningKey,
        rng: Random,
        first_seq: int,
        cover: Cover = PLAIN,
        addresses: AddressMap = NO_MAP,
        rules: Rules = NO_RULES,
    ) -> None:
        """Make an exporter.

        Args:
            config: its settings.
            signer: the site's identity.
            rng: source of its small delays.
            first_seq: larger than every sequence number that this site used before (wall-clock milliseconds do).
            cover: what hides from the store what is in it.
            addresses: what a router between this link and the others translates.
            rules: of the administrator.
        """
        self._config, self._signer, self._rng, self._cover = config, signer, rng, cover
        self._addresses, self._rules = addresses, rules
        self._seq = first_seq
        self._exports: dict[ServiceId, _Export] = {}
        self._skips: dict[ServiceId, _Skip] = {}

    def found(self, item: ServiceItem, now: float) -> list[ExportEffect]:
        """Act on a service that is on the link, new or changed; the same one again changes nothing."""
        service = service_id(item.service_type, item.instance)
        try:
            outgoing = self._outgoing(item)
            keys = usable_keys(item, self._config.keys)
            if service not in self._exports and len(self._exports) >= SERVICES_MAX:
                raise NotExportedError(f"{SERVICES_MAX} services are exported already")
            return self._export(service, item, outgoing, keys, now)
        except LocalProtocolError as reason:  # of the policy, or of an item too large to seal
            expected = isinstance(reason, NotExportedError) and reason.expected
            effects = self._withdraw(service, str(reason))
            report = Report(
                event="skipped",
                service=shown(item.instance),
                service_type=item.service_type,
                where=endpoints(item),
                reason=str(reason),
                detail=expected or bool(effects),  # that it is withdrawn was said with the same reason
            )
            return effects + self._skip(service, report, item)

    def refused(self, service_type: str, instance: bytes, reason: str) -> list[ExportEffect]:
        """Act on a service of the link that breaks the rules of DNS-SD."""
        service = service_id(service_type, instance)
        report = Report(event="skipped", service=shown(instance), service_type=service_type, reason=reason)
        return self._withdraw(service, reason) + self._skip(service, report, None)

    def lost(self, service_type: str, instance: bytes) -> list[ExportEffect]:
        """Act on a service that left the link."""
        service = service_id(service_type, instance)
        self._skips.pop(service, None)
        return self._withdraw(service, "it left the link")

    def set_rules(self, rules: Rules, now: float) -> list[ExportEffect]:
        """Obey other rules from now on: what they deny is withdrawn, what they allow is exported."""
        self._rules = rules
        heard = [export.heard for export in self._exports.values()]
        heard += [skip.heard for skip in self._skips.values() if skip.heard is not None]
        return [effect for item in heard for effect in self.found(item, now)]

    def confirmed(self, service_type: str, instance: bytes, *, alive: bool) -> list[ExportEffect]:
        """Act on the outcome of a `Confirm`: put the service again, or take it for gone."""
        service = service_id(service_type, instance)
        export = self._exports.get(service)
        if export is None:
            return []
        if not alive:  # the link asked three times before it said so
            return self._withdraw(service, "it does not answer any more")
        export.asked = False
        return list(self._puts(service, export))

    def put_done(self, put: Put, error: str | None, now: float) -> list[ExportEffect]:
        """Act on the outcome of a `Put`; `error` is None when the store has the value."""
        export = self._exports.get(put.service)
        target = export.targets.get(put.key) if export else None
        if export is None or target is None or export.value != put.value:
            return []  # overtaken by a change or a withdrawal
        if error is not None:
            return self._failed(export, target, error, now)
        target.stored, target.failures, target.retry_at = True, 0, math.inf
        if export.announced or not all(each.stored for each in export.targets.values()):
            return []
        export.announced, export.said_failing = True, False
        return [self._report("exported", export)]

    def tick(self, now: float) -> list[ExportEffect]:
        """Act on the passing of time: refreshes and retries that are due."""
        effects: list[ExportEffect] = []
        next_refresh = now
        for number, export in enumerate(self._to_refresh(now)):
            if number % TOGETHER == 0:
                next_refresh = self._next_refresh(now)
            export.refresh_at = next_refresh
            if not export.asked:  # else the link is behind with its answers
                export.asked = True
                effects.append(Confirm(service_type=export.item.service_type, instance=export.item.instance))
        for service, export in self._exports.items():
            for key, target in export.targets.items():
                if target.retry_at <= now:
                    target.retry_at = math.inf
                    effects.append(self._put(service, export, key))
        return effects

    def next_deadline(self) -> float:
        """Return when `tick` will have something to do, `math.inf` for never."""
        refreshes = (export.refresh_at for export in self._exports.values())
        retries = (target.retry_at for export in self._exports.values() for target in export.targets.values())
        return min(chain(refreshes, retries), default=math.inf)

    def shutdown(self) -> list[ExportEffect]:
        """Remove everything; nothing may be found afterwards that nobody refreshes."""
        return [effect for service in list(self._exports) for effect in self._withdraw(service, "z2z ends")]

    @property
    def settled(self) -> bool:
        """Whether every service found so far is in the store."""
        return all(export.announced for export in self._exports.values())

    @property
    def count(self) -> int:
        """How many services are exported or about to be."""
        return len(self._exports)

    def status(self) -> list[ServiceStatus]:
        """Return one line per service, exported or not."""
        exported = [
            ServiceStatus(
                role="export",
                state="exported" if export.announced else "pending",
                service=shown(export.item.instance),
                service_type=export.item.service_type,
                where=endpoints(export.item),
                keys=export.keys,
            )
            for export in self._exports.values()
        ]
        skipped = [
            ServiceStatus(
                role="export",
                state="skipped",
                service=skip.report.service,
                service_type=skip.report.service_type,
                where=skip.report.where,
                reason=skip.report.reason,
            )
            for skip in self._skips.values()
        ]
        return exported + skipped

    def _outgoing(self, item: ServiceItem) -> Exportable:
        return check_exportable(
            item,
            allow_private=self._config.allow_private,
            force_type=self._config.force_type,
            addresses=self._addresses,
            rules=self._rules,
        )

    def _export(
        self, service: ServiceId, heard: ServiceItem, outgoing: Exportable, keys: tuple[str, ...], now: float
    ) -> list[ExportEffect]:
        self._skips.pop(service, None)
        item, lost = outgoing.item, "; ".join(outgoing.lost)
        export = self._exports.get(service)
        if export is not None:
            export.heard, export.allowed_by = heard, outgoing.allowed_by
        if export is not None and export.item == item:
            return []
        self._seq += 1
        sealed = seal(
            item, site=self._config.site, signer=self._signer, seq=self._seq, lease_s=math.ceil(self._config.ttl_s)
        )
        value = self._cover.close(sealed, self._signer)
        if export is None:
            export = self._exports[service] = _Export(
                item=item,
                keys=keys,
                name=self._name(service),
                value=value,
                heard=heard,
                allowed_by=outgoing.allowed_by,
                refresh_at=self._next_refresh(now, FIRST_SPREAD),
            )
            export.targets = {self._cover.key(key): _Target() for key in keys}
            report = [self._report("updated", export, reason=f"not carried: {lost}", detail=True)] if lost else []
        else:
            export.item, export.value = item, value
            report = [self._report("updated", export)] if export.announced else []
        return [*report, *self._puts(service, export)]

    def _puts(self, service: ServiceId, export: _Export) -> list[Put]:
        return [self._put(service, export, key) for key in export.targets]

    def _put(self, service: ServiceId, export: _Export, key: bytes) -> Put:
        return Put(service=service, key=key, name=export.name, value=export.value, lease_s=self._config.ttl_s)

    def _failed(self, export: _Export, target: _Target, error: str, now: float) -> list[ExportEffect]:
        target.retry_at = now + min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(target.failures, 10))
        target.failures += 1
        target.stored = export.announced = False
        if export.said_failing:
            return []
        export.said_failing = True
        return [self._report("failed", export, reason=f"{error}; trying again")]

    def _withdraw(self, service: ServiceId, reason: str) -> list[ExportEffect]:
        export = self._exports.pop(service, None)
        if export is None:
            return []
        removes = [Remove(service=service, key=key, name=export.name) for key in export.targets]
        return [self._report("withdrawn", export, reason=reason), *removes]

    def _skip(self, service: ServiceId, report: Report, heard: ServiceItem | None) -> list[ExportEffect]:
        known = self._skips.get(service)
        if known is None and len(self._skips) >= SKIPS_MAX:
            self._skips.pop(next(iter(self._skips)))
        if known is not None and known.report.reason == report.reason:
            self._skips[service] = _Skip(known.report, heard)
            return []
        self._skips[service] = _Skip(report, heard)
        return [report]

    def _name(self, service: ServiceId) -> bytes:
        """Return the sub-name of a service under its keys: other sites' services of that name have another one."""
        service_type, instance = service
        text = self._signer.public_key + service_type.encode() + b"\0" + instance
        return self._cover.name(hashlib.sha1(text, usedforsecurity=False).digest())

    def _to_refresh(self, now: float) -> list[_Export]:
        """Return the services that are due, if any with others that soon will be."""
        due = sum(export.refresh_at <= now for export in self._exports.values())
        if not due:
            return []
        first = heapq.nsmallest(max(due, TOGETHER), self._exports.values(), key=lambda export: export.refresh_at)
        return [export for export in first if export.refresh_at <= now + EARLY * self._config.refresh_s]

    def _next_refresh(self, now: float, spread: float = SPREAD) -> float:
        return now + self._config.refresh_s * (1 - spread * self._rng.random())

    def _report(self, event: EventName, export: _Export, *, reason: str = "", detail: bool = False) -> Report:
        # The instance name is always a key, so the line names it only where there is no other (thesis 4.3.1).
        own = tuple(key for key in export.keys if key in self._config.keys)
        return Report(
            event=event,
            service=shown(export.item.instance),
            service_type=export.item.service_type,
            where=endpoints(export.item),
            keys=() if event == "withdrawn" else own or export.keys,
            reason=reason,
            allowed_by=export.allowed_by if event == "exported" else "",
            detail=detail,
        )

"""Service instances as a querier knows them: cached records on one side, `ServiceItem` on the other."""

import math
from collections.abc import Iterable, Mapping
from typing import Final

from z2z.mdns.cache import GOODBYE_S, Cache, Cached
from z2z.mdns.claims import is_import
from z2z.mdns.messages import (
    RR_A,
    RR_AAAA,
    RR_PTR,
    RR_SRV,
    RR_TXT,
    Address4,
    Address6,
    Name,
    Nsec,
    Ptr,
    Record,
    Srv,
    Txt,
    fold,
    subtype_name,
    type_name,
)
from z2z.mdns.overheard import Overheard
from z2z.service_item import SUBTYPES_MAX, ServiceItem

KNOWN_SUBTYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "_ipp._tcp": ("_universal", "_print", "_cups"),
    "_ipps._tcp": ("_universal", "_print", "_cups"),
    "_http._tcp": ("_printer",),
    "_printer._tcp": ("_universal",),
    "_uscan._tcp": ("_universal",),
}
"Subtypes that clients of these types browse (AirPrint, CUPS): asked for, since no query lists a type's subtypes."


class Instance:
    """One instance, browsed or only to be confirmed."""

    def __init__(self, name: Name, service_type: str) -> None:
        self.name = name
        self.key = fold(name)
        self.service_type = service_type
        self.is_pointed_at = False
        "A pointer of its type is in the cache: it is on offer."
        self.item: ServiceItem | None = None
        "As reported last; None while it is not reported."
        self.refusal = ""
        "Why it was refused, as reported last."
        self.host: Name | None = None
        "Folded target of its SRV, while that is cached."
        self.has_left = False
        "Its owner took its SRV back, and nothing complete was heard since."
        self.report_by = math.inf
        "When it is reported (seconds) even if one address family is all that its host has shown."
        self.confirm_since = math.inf
        "What was heard since then (seconds) counts for the confirmation that runs."


class Instances:
    """All instances of interest, and the records that make them up.

    Args:
        cache: where the records are; only records of interest are put there.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._by_key: dict[Name, Instance] = {}
        self._subtypes: dict[Name, set[str]] = {}
        "Subtype labels by folded instance name; may come before the instance does."
        self._hosts: dict[Name, set[Name]] = {}
        "Instances by the folded host name in their SRV."
        self._exists: dict[Name, tuple[int, ...]] = {}
        "Record types of a folded host name among `_hosts`, where an NSEC said which there are."
        self._overheard = Overheard()

    def get(self, key: Name) -> Instance | None:
        """Return an instance by its folded name."""
        return self._by_key.get(key)

    def of_type(self, service_type: str) -> list[Instance]:
        """Return the instances of a type."""
        return [one for one in self._by_key.values() if one.service_type == service_type]

    def add(self, name: Name, service_type: str) -> Instance:
        """Return an instance, new if need be."""
        return self._by_key.setdefault(fold(name), Instance(name, service_type))

    def forget(self, one: Instance) -> None:
        """Drop an instance and its records."""
        self._link_host(one, None, now=-math.inf)
        self._cache.drop(one.key, RR_SRV)
        self._cache.drop(one.key, RR_TXT)
        self._by_key.pop(one.key, None)

    def forget_type(self, service_type: str, spared: Iterable[Name]) -> None:
        """Drop a type with its pointers; instances among `spared` stay, but are no longer on offer."""
        self._cache.drop(type_name(service_type), RR_PTR)
        base = type_name(service_type)
        for key in [key for key in self._subtypes if key[1:] == base]:
            for label in self._subtypes.pop(key):
                self._cache.drop(fold(subtype_name(label, service_type)), RR_PTR)
        kept = set(spared)
        for one in self.of_type(service_type):
            one.is_pointed_at, one.item = False, None
            if one.key not in kept:
                self.forget(one)

    def drop_pointer(self, one: Instance) -> None:
        """Take an instance off the offer, though its pointer's lifetime has not ended (RFC 6762 section 10.4)."""
        for cached in self._pointers(one):
            self._cache.discard(cached)
        one.is_pointed_at = False

    def hear_pointer(self, record: Record, target: Name, service_type: str, now: float) -> Instance | None:
        """Take a pointer of a browsed type; returns the instance if it is one."""
        if fold(target[1:]) != type_name(service_type) or not self._cache.put(record, now):
            return None
        is_new = fold(target) not in self._by_key
        one = self.add(target, service_type)
        one.is_pointed_at = True
        if is_new:
            for overheard, at in self._overheard.of(one.key, (Srv, Txt), now):
                self.hear_service(overheard, at)
        return one

    def hear_subtype(self, record: Record, target: Name, service_type: str, now: float) -> Instance | None:
        """Take a pointer of a subtype; returns the instance if its subtypes are now others."""
        key = fold(target)
        try:
            label = record.name[0].decode()
        except UnicodeDecodeError:
            return None
        if key[1:] != type_name(service_type) or not self._cache.put(record, now):
            return None
        labels = self._subtypes.setdefault(key, set())
        if label.lower() in {known.lower() for known in labels}:
            return None
        labels.add(label)
        return self._by_key.get(key)

    def hear_service(self, record: Record, now: float) -> Instance | None:
        """Take SRV or TXT of an instance of interest."""
        one = self._by_key.get(fold(record.name))
        if one is None:
            self._overheard.hear(record, now)
            return None
        if not self._cache.put(record, now):
            return None
        if isinstance(record.data, Srv):
            self._link_host(one, self._srv(one), now)
        return one

    def hear_host(self, record: Record, now: float) -> list[Instance]:
        """Take an address or NSEC of a host of interest; returns the instances that live there."""
        host = fold(record.name)
        keys = self._hosts.get(host)
        if not keys:
            self._overheard.hear(record, now)
            return []
        if isinstance(record.data, Nsec):
            self._exists[host] = record.data.rrtypes
        elif not self._cache.put(record, now):
            return []
        return [self._by_key[key] for key in keys]

    def depart(self, goodbyes: Iterable[Record], now: float) -> list[Instance]:
        """Drop at once what the owner of an instance has taken back; returns these instances.

        A goodbye is given a second, in case another host still has the record and says so (RFC 6762 section 10.1).
        That is meant for shared records. An SRV with the cache-flush bit belongs to one host, so its word is final;
        so is a goodbye of pointer and SRV together, which leaves nothing that another host could stand for, but for
        an import, for which another importer may stand by. The pointer alone keeps its second.

        Args:
            goodbyes: records with lifetime 0 of one message, which the cache has taken note of.
            now: seconds.
        """
        left = []
        for record in goodbyes:
            one = self._by_key.get(fold(record.name)) if isinstance(record.data, Srv) else None
            known = self._cache.get(one.key, RR_SRV) if one is not None else []
            if one is None or not known or any(cached.remaining_s(now) > GOODBYE_S for cached in known):
                continue  # of no interest, or replaced by another SRV
            is_pointer_leaving = all(cached.remaining_s(now) <= GOODBYE_S for cached in self._pointers(one))
            if not record.unique and (not is_pointer_leaving or is_import([record])):
                continue
            one.has_left = True
            self._cache.drop(one.key, RR_SRV)
            self._link_host(one, None, now)
            if is_pointer_leaving:
                self.drop_pointer(one)
            left.append(one)
        return left

    def expire(self, cached: Cached, now: float) -> list[Instance]:
        """Take note that a record has run out; returns the instances that it belonged to."""
        match cached.record.data:
            case Ptr(target=target):
                key = fold(target)
                one = self._by_key.get(key)
                if len(cached.key[0]) > len(key[1:]):  # a subtype's pointer
                    label = cached.record.name[0].decode().lower()
                    labels = self._subtypes.get(key, set())
                    labels -= {known for known in labels if known.lower() == label}
                    if not labels:
                        self._subtypes.pop(key, None)
                elif one is not None:
                    one.is_pointed_at = False
                return [one] if one is not None else []
            case Srv() | Txt():
                one = self._by_key.get(cached.key[0])
                if one is not None:
                    self._link_host(one, self._srv(one), now)
                return [one] if one is not None else []
        return [self._by_key[key] for key in self._hosts.get(cached.key[0], ())]

    def missing(self, one: Instance) -> list[tuple[Name, int]]:
        """Return what has to be asked for, as names and types, before the instance is complete."""
        lacking = [(one.name, rrtype) for rrtype in (RR_SRV, RR_TXT) if not self._cache.get(one.key, rrtype)]
        return lacking or ([] if self._addresses(one) else self.address_questions(one))

    def address_questions(self, one: Instance) -> list[tuple[Name, int]]:
        """Return the questions for the addresses of its host, none while that is unknown."""
        srv = self._srv(one)
        return [(srv.target, rrtype) for rrtype in (RR_A, RR_AAAA)] if srv is not None else []

    def other_family(self, one: Instance) -> list[tuple[Name, int]]:
        """Return the question for the address family that its host has not shown; none where there is no such."""
        srv = self._srv(one)
        host = fold(srv.target) if srv is not None else ()
        exists = self._exists.get(host, (RR_A, RR_AAAA))
        return [
            (name, rrtype)
            for name, rrtype in self.address_questions(one)
            if rrtype in exists and not self._cache.get(host, rrtype)
        ]

    def is_fresh(self, one: Instance, now: float) -> bool:
        """Tell whether SRV and an address were heard since the confirmation began, and no goodbye after them."""
        services = self._cache.get(one.key, RR_SRV)[:1]
        return all(
            any(cached.received_at >= one.confirm_since and cached.remaining_s(now) > GOODBYE_S for cached in records)
            for records in (services, self._addresses(one))
        )

    def compose(self, one: Instance) -> ServiceItem | None:
        """Return the item, or None while it is incomplete.

        Raises:
            RemoteProtocolError: a value breaks a rule of `ServiceItem`.
        """
        srv, texts = self._srv(one), self._cache.get(one.key, RR_TXT)
        addresses = [cached.record.data for cached in self._addresses(one)]
        if srv is None or not texts or not addresses or not one.is_pointed_at:
            return None
        text = texts[0].record.data
        ipv4 = sorted(data.address for data in addresses if isinstance(data, Address4))
        ipv6 = sorted(data.address for data in addresses if isinstance(data, Address6))
        return ServiceItem(
            instance=one.name[0],
            service_type=one.service_type,
            subtypes=tuple(sorted(self._subtypes.get(one.key, ()))[:SUBTYPES_MAX]),
            host=srv.target[0] if srv.target else b"",
            port=srv.port,
            priority=srv.priority,
            weight=srv.weight,
            txt=(text.data if isinstance(text, Txt) else b"") or b"\0",  # RFC 6763 section 6.1
            addresses=(*ipv4, *ipv6),
        )

    def _pointers(self, one: Instance) -> list[Cached]:
        return [
            cached
            for cached in self._cache.get(type_name(one.service_type), RR_PTR)
            if isinstance(cached.record.data, Ptr) and fold(cached.record.data.target) == one.key
        ]

    def _srv(self, one: Instance) -> Srv | None:
        for cached in self._cache.get(one.key, RR_SRV):
            if isinstance(cached.record.data, Srv):
                return cached.record.data
        return None

    def _addresses(self, one: Instance) -> list[Cached]:
        srv = self._srv(one)
        if srv is None:
            return []
        host = fold(srv.target)
        return self._cache.get(host, RR_A) + self._cache.get(host, RR_AAAA)

    def _link_host(self, one: Instance, srv: Srv | None, now: float) -> None:
        host = fold(srv.target) if srv is not None else None
        if host == one.host:
            return
        if one.host is not None:
            neighbours = self._hosts[one.host]
            neighbours.discard(one.key)
            if not neighbours:
                del self._hosts[one.host]
                self._cache.drop(one.host, RR_A)
                self._cache.drop(one.host, RR_AAAA)
                self._exists.pop(one.host, None)
        one.host = host
        if host is None:
            return
        is_new = host not in self._hosts
        self._hosts.setdefault(host, set()).add(one.key)
        if is_new:
            for overheard, at in self._overheard.of(host, (Address4, Address6, Nsec), now):
                self.hear_host(overheard, at)

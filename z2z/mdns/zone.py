"""The records that a responder answers with: indexed by name, held by registrations, several of which share some."""

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Final

from z2z.errors import LocalProtocolError
from z2z.mdns.messages import (
    ENUMERATION,
    LOCAL,
    RR_ANY,
    RR_NSEC,
    Address4,
    Address6,
    Identity,
    Name,
    Nsec,
    Ptr,
    Question,
    Record,
    Registration,
    Srv,
    Txt,
    address_data,
    fold,
    identity,
    instance_name,
    subtype_name,
    type_name,
)
from z2z.service_item import LABEL_MAX

NEVER: Final = -math.inf
TTL_MAX_S: Final = 4_500
"Lifetime that RFC 6762 section 10 gives to lasting records; nothing here lives longer."


class OwnRecord:
    """One record of ours and when the link last heard it."""

    __slots__ = ("holders", "key", "record", "sent_at")

    def __init__(self, record: Record, key: Identity) -> None:
        self.record = record
        self.key = key
        self.holders: set[Hashable] = set()
        "Registrations that need it; without one it is dead."
        self.sent_at = NEVER

    def is_known(self, known: Mapping[Identity, int]) -> bool:
        """Tell whether an asker has it with at least half its lifetime left (RFC 6762 section 7.1)."""
        ttl_s = known.get(self.key)
        return ttl_s is not None and ttl_s * 2 >= self.record.ttl_s


class Zone:
    """Every record of ours on one link."""

    def __init__(self) -> None:
        self._by_name: dict[Name, dict[Identity, OwnRecord]] = {}
        self._nsec: dict[Name, OwnRecord] = {}
        self._held: dict[Hashable, list[OwnRecord]] = {}

    def hold(self, holder: Hashable, records: Iterable[Record]) -> list[Record]:
        """Let a registration need exactly these records; returns those that nobody needs any more."""
        before = self._held.pop(holder, [])
        after = [self._find(record) for record in records]
        for own in after:
            own.holders.add(holder)
        if after:
            self._held[holder] = after
        gone = []
        for own in before:
            if own not in after:
                own.holders.discard(holder)
                if not own.holders:
                    gone.append(own.record)
                    self._drop(own)
        return gone

    def held(self, holder: Hashable) -> list[OwnRecord]:
        """Return the records of one registration."""
        return self._held.get(holder, [])

    def get(self, key: Identity) -> OwnRecord | None:
        """Return a record of ours by its identity."""
        return self._by_name.get(key[0], {}).get(key)

    def answers(self, question: Question) -> list[OwnRecord]:
        """Return our answers to a question; NSEC where we own the name and know that there is none (section 6.1)."""
        name = fold(question.name)
        records = self._by_name.get(name)
        if records is None:
            return []
        found = [own for own in records.values() if question.rrtype in {own.key[1], RR_ANY}]
        if not found and any(own.record.unique for own in records.values()):
            found.append(self._negative(name))
        return found

    def complete(self, records: Iterable[OwnRecord]) -> list[OwnRecord]:
        """Return records with the rest of their unique sets: the cache-flush bit speaks for a whole set (10.2)."""
        whole: dict[Identity, OwnRecord] = {}
        for own in records:
            whole[own.key] = own
            if own.record.unique:
                siblings = self._by_name.get(own.key[0], {})
                whole |= {key: sibling for key, sibling in siblings.items() if key[1] == own.key[1]}
        return list(whole.values())

    def additionals(self, own: OwnRecord) -> list[OwnRecord]:
        """Return what an asker will want next (RFC 6763 section 12, RFC 6762 section 6.2)."""
        extras: list[OwnRecord] = []
        match own.key[2]:
            case Ptr(target=target):
                for record in self._by_name.get(target, {}).values():
                    if isinstance(record.record.data, Srv | Txt):
                        extras += [record, *self.additionals(record)]
            case Srv(target=target):
                extras += self._addresses(target)
            case Address4() | Address6():
                extras += [other for other in self._addresses(own.key[0]) if other.key[1] != own.key[1]]
        return extras

    def _addresses(self, host: Name) -> list[OwnRecord]:
        """Return A and AAAA of a host, and NSEC where it has but one of them (RFC 6762 section 6.2)."""
        found = [*self._by_name.get(host, {}).values()]
        if len({own.key[1] for own in found}) == 1:
            found.append(self._negative(host))
        return found

    def _find(self, record: Record) -> OwnRecord:
        key = identity(record)
        records = self._by_name.setdefault(key[0], {})
        if key not in records:
            records[key] = OwnRecord(record, key)
            self._forget_negative(key[0])
        return records[key]

    def _drop(self, own: OwnRecord) -> None:
        name = own.key[0]
        records = self._by_name[name]
        del records[own.key]
        self._forget_negative(name)
        if not records:
            del self._by_name[name]

    def _forget_negative(self, name: Name) -> None:
        nsec = self._nsec.pop(name, None)
        if nsec is not None:
            nsec.holders.clear()  # so that one that waits to be sent is dead

    def _negative(self, name: Name) -> OwnRecord:
        if name not in self._nsec:
            records = [own.record for own in self._by_name[name].values()]
            owner = records[0].name
            data = Nsec(owner, tuple(sorted({record.data.rrtype for record in records})))
            nsec = Record(name=owner, data=data, ttl_s=min(record.ttl_s for record in records), unique=True)
            self._nsec[name] = OwnRecord(nsec, (name, RR_NSEC, nsec.data))
            self._nsec[name].holders.add(name)
        return self._nsec[name]


def host_name(registration: Registration) -> Name:
    """Return the full host name of a registration."""
    return (registration.host_label, *LOCAL)


def service_records(registration: Registration) -> tuple[Record, Record]:
    """Return SRV and TXT, the unique records of an instance name."""
    item, ttl_s = registration.item, registration.ttl_s
    name = instance_name(item.instance, item.service_type)
    srv = Srv(item.priority, item.weight, item.port, host_name(registration))
    return (
        Record(name=name, data=srv, ttl_s=ttl_s, unique=True),
        Record(name=name, data=Txt(item.txt), ttl_s=ttl_s, unique=True),
    )


def host_records(registration: Registration) -> tuple[Record, ...]:
    """Return A and AAAA, the unique records of a host name."""
    name, ttl_s = host_name(registration), registration.ttl_s
    return tuple(
        Record(name=name, data=address_data(address), ttl_s=ttl_s, unique=True)
        for address in registration.item.addresses
    )


def all_records(registration: Registration) -> list[Record]:
    """Return every record of a registration: those that browsers look for first."""
    item, ttl_s = registration.item, registration.ttl_s
    base = type_name(item.service_type)
    pointer = Ptr(instance_name(item.instance, item.service_type))
    owners = [base, *(subtype_name(label, item.service_type) for label in item.subtypes)]
    records = [Record(name=owner, data=pointer, ttl_s=ttl_s) for owner in owners]
    records += [*service_records(registration), *host_records(registration)]
    records.append(Record(name=ENUMERATION, data=Ptr(base), ttl_s=ttl_s))
    return records


def check_registration(registration: Registration) -> None:
    """Refuse a registration that cannot be published.

    Raises:
        LocalProtocolError: a value is out of bounds.
    """
    item = registration.item
    if not 1 <= len(registration.host_label) <= LABEL_MAX:
        raise LocalProtocolError(
            f"host label of {len(registration.host_label)} bytes; a DNS label has 1 to {LABEL_MAX}"
        )
    if not 1 <= registration.ttl_s <= TTL_MAX_S:
        raise LocalProtocolError(f"lifetime of {registration.ttl_s} s; 1 to {TTL_MAX_S} s can be announced")
    if not item.addresses:
        raise LocalProtocolError(f"{item.display_name!r} has no address to publish")

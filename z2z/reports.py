"""What happened, as plain data: one report is one line on the terminal or one JSON object."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from mdht.journal import printable
from z2z.addresses import endpoint
from z2z.service_item import ServiceItem

EventName: TypeAlias = Literal[
    "exported",
    "updated",
    "withdrawn",
    "skipped",
    "imported",
    "found",
    "removed",
    "renamed",
    "standby",
    "refused",
    "failed",
    "known",
]


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change that people may want to know of."""

    event: EventName
    service: str
    "Instance name as the origin announces it."
    service_type: str
    where: tuple[str, ...] = ()
    "`198.51.100.7:3689`, one per address."
    keys: tuple[str, ...] = ()
    site: str = ""
    "Name of the site that an import comes from."
    shown_as: str = ""
    "Instance name on this link, where it differs."
    reason: str = ""
    allowed_by: str = ""
    "What of the administrator's policy lets it pass."
    dry_run: bool = False
    "It would have happened."
    detail: bool = False
    "Of interest only to who asks for details: expected in every set-up with several sites."


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `z2z status`."""

    role: Literal["export", "import"]
    state: str
    service: str
    service_type: str
    where: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    site: str = ""
    shown_as: str = ""
    reason: str = ""


def endpoints(item: ServiceItem) -> tuple[str, ...]:
    """Return where an item is reached, one text per address."""
    return tuple(endpoint(address, item.port) for address in item.addresses)


def shown(instance: bytes) -> str:
    """Return an instance label as text; one that is not UTF-8 keeps its bytes visible."""
    return instance.decode(errors="backslashreplace")


def headline(services: Iterable[ServiceStatus]) -> str:
    """What becomes of how many services, in one line for a service manager."""
    found = Counter((each.role, each.state) for each in services)
    parts = [
        f"{role}: " + ", ".join(f"{count} {state}" for (of, state), count in sorted(found.items()) if of == role)
        for role in sorted({role for role, _ in found})
    ]
    return "; ".join(parts) or "no service yet"


def line(report: Report) -> str:
    """Return the line for the terminal: `exported Tom's Music (_daap._tcp) 198.51.100.7:3689 as office`."""
    words = ["dry run:"] if report.dry_run else []
    words += [report.event, report.service, f"({report.service_type})", *report.where[:1]]
    if len(report.where) > 1:
        words.append(f"(+{len(report.where) - 1} more)")
    if report.keys:
        words.append("as " + ", ".join(report.keys))
    if report.shown_as:
        words.append(f"shown as {report.shown_as!r}")
    if report.site:
        words.append(f"from {report.site}")
    text = " ".join(words)
    # Why something passes is of interest to who tries a policy out.
    why = "; ".join(filter(None, (report.reason, report.allowed_by if report.dry_run else "")))
    return printable(f"{text}: {why}" if why else text)

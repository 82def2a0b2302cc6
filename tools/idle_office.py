"""How much multicast an idle office costs: its services bridged to a second link by z2z, and by the Avahi reflector.

Two links, services on the first one (real Avahi), a browsing host on each. Side by side, in laboratories of their own:
without a bridge, with z2z (exporter on the first link, importer on the second), and with an Avahi on the router that
reflects; each at rest, and with one `avahi-browse -a` open on the second link. What is multicast on both links is
recorded, and counted by sender.
"""

import argparse
import contextlib
import json
import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tools.netlab import Avahi, Host, Lab, LabError, Process, Subnet, parse_line, wait_until
from tools.netlab_capture import Capture
from tools.netlab_process import end_by_exception

BRIDGES: Final = ("none", "z2z", "reflector")
TYPES: Final = ("_ipp._tcp", "_http._tcp", "_daap._tcp", "_printer._tcp", "_nfs._tcp")
"Types that an exporter takes without being forced."
SERVICES_MAX: Final = 200
"A publishing program for each; more would measure this machine."
PER_DEVICE: Final = 2
"Services of one device, as a printer has."
HOURS_MAX: Final = 24.0
SETTLED_S: Final = 60.0
"Wait before counting: announcements are over, and questions come at intervals of a minute and more."
VISIBLE_S: Final = 60.0
"Longest wait until the second link sees every service."
LOOK_S: Final = 1.0
PROGRESS_S: Final = 60.0
MDHT_PORT: Final = 27_183
FILTER: Final = "udp and (ether multicast or port 5353)"
FIELDS: Final = ("eth.src", "eth.ig", "udp.dstport", "udp.srcport", "frame.len")

EXAMPLES: Final = """examples:
  python -m tools.idle_office --minutes 5              a first look, scaled to an hour
  python -m tools.idle_office --hours 1 --json > idle.json
  python -m tools.idle_office --bridge z2z --minutes 10 --captures /tmp/idle
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one sender role multicast on one link."""

    bridge: str
    browsing: bool
    "Whether `avahi-browse -a` was open on the second link."
    link: str
    sender: str
    mdns_packets: int
    mdns_bytes: int
    "Whole frames."
    other_packets: int
    "Multicast on other ports: hosts of the embedded DHT on their link."
    other_bytes: int
    unicast_packets: int
    "mDNS answers and questions to one host."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One whole measurement."""

    seconds: float
    services: int
    devices: int
    rows: list[Row]
    visible: dict[str, int] = field(default_factory=dict)
    "Services that the second link (without a bridge: the first) saw after the end, for each laboratory."


class Office:
    """One laboratory: two links, perhaps a bridge, and who looks."""

    def __init__(self, lab: Lab, bridge: str, *, browsing: bool, services: int) -> None:
        self.bridge, self.browsing, self._services = bridge, browsing, services
        self.title = f"{bridge}{', browsing' if browsing else ''}"
        self.links = [
            lab.subnet("first", "198.51.100.0/24", "2001:db8:1::/64"),
            lab.subnet("second", "203.0.113.0/24", "2001:db8:2::/64"),
        ]
        first = self.links[0]
        self.roles: dict[tuple[str, str], str] = {}
        "Who sends from a hardware address on a link."
        self._watched: list[Process] = []
        self._captures: dict[str, Capture] = {}
        devices = [self._host(lab, f"device-{n}", "devices", first) for n in range(1, devices_for(services) + 1)]
        looking = [self._host(lab, f"browser-{link.name}", "browser", link) for link in self.links]
        self._looker = looking[0 if bridge == "none" else 1]
        self._avahis = lab.start_avahi(*devices, *looking)
        self._avahi = self._avahis[len(devices)]
        router = lab.router("router", *self.links)
        if bridge == "reflector":
            self._note(router, "reflector")
            self._avahis.append(router.start_avahi(reflects=True))
        elif bridge == "z2z":
            self._start_z2z(lab)
        self._publish(self._avahis[: len(devices)])

    def _host(self, lab: Lab, name: str, role: str, link: Subnet) -> Host:
        host = lab.host(name, link)
        self._note(host, role)
        return host

    def _note(self, host: Host, role: str) -> None:
        for interface, link in host.interfaces.items():
            self.roles[link.name, host.mac(interface)] = role

    def _start_z2z(self, lab: Lab) -> None:
        first, second = self.links
        exporter = self._host(lab, "exporter", "exporter", first)
        importer = self._host(lab, "importer", "importer", second)
        exports = [word for service_type in TYPES for word in ("--export", service_type)]
        entry = f"{exporter.ipv4}:{MDHT_PORT}"
        self._watched = [exporter.z2z(*exports, "--key", "office")]
        self._watched[0].wait_for("(site ")
        self._watched.append(importer.z2z("--import", "--key", "office", "--bootstrap", entry))
        self._watched[1].wait_for("(site ")

    def _publish(self, devices: Sequence[Avahi]) -> None:
        for number in range(self._services):
            service_type = TYPES[number % len(TYPES)]
            text = [f"note=Office {number}", "txtvers=1"]
            devices[number // PER_DEVICE].publish(f"Service {number}", service_type, 1_000 + number, text)

    def visible(self) -> int:
        """Return how many of the services a browser sees now."""
        lines = self._looker.run("avahi-browse", "-aptk").stdout.splitlines()
        seen = {(service.instance, service.type) for _, service in filter(None, map(parse_line, lines))}
        return sum((f"Service {n}", TYPES[n % len(TYPES)]) in seen for n in range(self._services))

    def wait_visible(self) -> None:
        """Wait until the bridge has carried everything."""
        wait_until(lambda: self.visible() == self._services, VISIBLE_S, f"{self._services} services ({self.title})")

    def begin(self) -> None:
        """Begin to record."""
        self._captures = {link.name: link.capture(FILTER) for link in self.links}
        if self.browsing:
            self._watched.append(self._looker.popen("avahi-browse", "-ak"))

    def check(self) -> None:
        """Look whether everything still runs.

        Raises:
            LabError: a program has ended.
        """
        running = [avahi.process for avahi in self._avahis] + [one.process for one in self._captures.values()]
        for process in (*self._watched, *running):
            if process.poll() is not None:
                raise LabError(f"{process.log_path.stem} ended ({self.title}):\n{process.log}")

    def end(self, keep_in: Path | None) -> list[Row]:
        """End the recording and count; the captures are copied into a directory where one is given."""
        rows: list[Row] = []
        for link, capture in self._captures.items():
            capture.stop()
            if keep_in is not None:
                name = f"{self.bridge}-{'browsing' if self.browsing else 'rest'}-{link}.pcap"
                shutil.copyfile(capture.path, keep_in / name)
            rows += self._count(link, capture)
        return rows

    def _count(self, link: str, capture: Capture) -> Iterator[Row]:
        counts = {role: Counter[str]() for (where, _), role in self.roles.items() if where == link}
        for sender, group, to_port, from_port, size in capture.rows("udp", *FIELDS):
            count = counts.setdefault(self.roles.get((link, sender), "unknown"), Counter())
            is_mdns = "5353" in {to_port, from_port}
            if group not in {"1", "True"}:
                count["unicast_packets"] += 1
                continue
            kind = "mdns" if is_mdns else "other"
            count[f"{kind}_packets"] += 1
            count[f"{kind}_bytes"] += int(size)
        names = ("mdns_packets", "mdns_bytes", "other_packets", "other_bytes", "unicast_packets")
        for sender, count in sorted(counts.items()):
            values = {name: count[name] for name in names}
            yield Row(bridge=self.bridge, browsing=self.browsing, link=link, sender=sender, **values)


def devices_for(services: int) -> int:
    """Return how many devices have so many services."""
    return math.ceil(services / PER_DEVICE)


def measure(
    bridges: Sequence[str],
    *,
    seconds: float,
    services: int,
    settle_s: float = SETTLED_S,
    browsing: Sequence[bool] = (False, True),
    keep_in: Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> Outcome:
    """Build every laboratory, wait until all is quiet, and record them all at the same time.

    Raises:
        LabError: something does not start, does not become visible, or ends early.
    """
    with contextlib.ExitStack() as stack:
        offices = []
        for bridge in bridges:
            for looks in browsing:
                office = Office(stack.enter_context(Lab()), bridge, browsing=looks, services=services)
                tell(f"built: {office.title}")
                offices.append(office)
        for office in offices:
            office.wait_visible()
        tell(f"every service is visible; counting begins in {settle_s:g} s")
        _wait(offices, settle_s, tell, "settling")
        for office in offices:
            office.begin()
        started = time.monotonic()
        _wait(offices, seconds, tell, "recording")
        took_s = time.monotonic() - started
        rows = [row for office in offices for row in office.end(keep_in)]
        visible = {office.title: office.visible() for office in offices}
    return Outcome(seconds=took_s, services=services, devices=devices_for(services), rows=rows, visible=visible)


def _wait(offices: Sequence[Office], seconds: float, tell: Callable[[str], None], what: str) -> None:
    end = time.monotonic() + seconds
    tell_at = time.monotonic() + PROGRESS_S
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(left_s, LOOK_S))
        for office in offices:
            office.check()
        if time.monotonic() >= tell_at:
            tell_at += PROGRESS_S
            tell(f"{what}: {max(0.0, end - time.monotonic()) / 60:.0f} min left")


def table(outcome: Outcome) -> Iterator[str]:
    """Yield the lines of the result, scaled to an hour."""
    scale = 3_600 / outcome.seconds
    yield (
        f"{outcome.services} services on {outcome.devices} devices; recorded for {outcome.seconds / 60:.1f} min, "
        "figures are for an hour; each message counts once for IPv4 and once for IPv6"
    )
    yield ""
    yield (
        f"{'bridge':<10} {'avahi-browse':<12} {'link':<7} {'sender':<10} {'mDNS packets':>12} {'bytes':>10} "
        f"{'other':>8} {'bytes':>10} {'unicast':>8}"
    )
    scenes = dict.fromkeys((row.bridge, row.browsing, row.link) for row in outcome.rows)
    for scene in scenes:
        rows = [row for row in outcome.rows if (row.bridge, row.browsing, row.link) == scene]
        for row in (*rows, _sum(rows)):
            figures = (row.mdns_packets, row.mdns_bytes, row.other_packets, row.other_bytes, row.unicast_packets)
            packets, size, other, other_size, unicast = (round(figure * scale) for figure in figures)
            yield (
                f"{row.bridge:<10} {'open' if row.browsing else '-':<12} {row.link:<7} {row.sender:<10} "
                f"{packets:>12} {size:>10} {other:>8} {other_size:>10} {unicast:>8}"
            )
    yield ""
    seen = ", ".join(f"{number} ({title})" for title, number in outcome.visible.items())
    yield f"services visible at the end: {seen}"


def _sum(rows: Sequence[Row]) -> Row:
    first = rows[0]
    return Row(
        bridge=first.bridge,
        browsing=first.browsing,
        link=first.link,
        sender="all",
        mdns_packets=sum(row.mdns_packets for row in rows),
        mdns_bytes=sum(row.mdns_bytes for row in rows),
        other_packets=sum(row.other_packets for row in rows),
        other_bytes=sum(row.other_bytes for row in rows),
        unicast_packets=sum(row.unicast_packets for row in rows),
    )


def _length(text: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0 and up to {most:g}")
    return value


def _hours(text: str) -> float:
    return _length(text, HOURS_MAX)


def _minutes(text: str) -> float:
    return _length(text, HOURS_MAX * 60)


def _services(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= SERVICES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {SERVICES_MAX}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.idle_office",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=_hours, default=1.0, metavar="N", help="how long to record (default 1)")
    length.add_argument("--minutes", type=_minutes, metavar="N", help="the same in minutes")
    parser.add_argument("--services", type=_services, default=10, metavar="N", help="on the first link (default 10)")
    parser.add_argument("--bridge", choices=BRIDGES, action="append", help="only this one; repeatable (default all)")
    parser.add_argument("--captures", type=Path, metavar="DIR", help="keep the recordings there, for Wireshark")
    parser.add_argument("--json", action="store_true", help="counts as they are, as JSON, instead of a table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = _parser().parse_args(argv)
    end_by_exception()
    seconds = arguments.hours * 3_600 if arguments.minutes is None else arguments.minutes * 60
    try:
        if arguments.captures is not None:
            arguments.captures.mkdir(parents=True, exist_ok=True)
        outcome = measure(
            arguments.bridge or BRIDGES,
            seconds=seconds,
            services=arguments.services,
            keep_in=arguments.captures,
            tell=lambda text: print(text, file=sys.stderr, flush=True),
        )
    except (LabError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(outcome), indent=1) if arguments.json else "\n".join(table(outcome)))
    short = [title for title, number in outcome.visible.items() if number != outcome.services]
    for title in short:
        print(f"not every service was visible at the end: {title}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())

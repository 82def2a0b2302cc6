"""Measure the bridge: two subnets in namespaces, real Avahi on both, a router between them.

times      publish to visible and withdraw to gone, through a store
services   many services that reach the importer at once: until a browser has resolved them, packets, processor time
cut        the router drops everything for a while: is anything withdrawn, and when is all back?

Needs root, or user namespaces.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from mdht.signing import SigningKey
from tools.netlab import Avahi, BrowsedService, Host, Lab, LabError, Process, wait_until
from tools.netlab_avahi import LIMITS
from z2z.seal import Site, seal, site_id
from z2z.service_item import ServiceItem
from z2z.stream import StreamEvent, encode_line

TYPE: Final = "_daap._tcp"
PATIENCE_S: Final = 60.0
MDHT_PORT, KADEMLIA_PORT, OPENDHT_PORT, PROXY_PORT = 27_183, 8_468, 4_222, 8_080
ROOMY: Final = (4 * LIMITS[0], 4 * LIMITS[1])
CLOCK_HZ: Final = os.sysconf("SC_CLK_TCK")


class Offices:
    """Host a of one subnet, host b of the other."""

    def __init__(self, lab: Lab, *, limits: tuple[int, int] = LIMITS) -> None:
        links = [lab.subnet("x", "198.51.100.0/24"), lab.subnet("y", "203.0.113.0/24")]
        self.a, self.b = (lab.host(name, link) for name, link in zip("ab", links, strict=True))
        self.router = lab.router("router", *links)
        self.avahi_a, self.avahi_b = (
            Avahi(host, loopback=False, host_name=host.name, limits=limits) for host in (self.a, self.b)
        )
        for avahi in (self.avahi_a, self.avahi_b):
            avahi.wait_ready()

    def bridge(self, store: str, *importing: str) -> tuple[Process, Process]:
        """Start exporter and importer over a store, with what it needs."""
        if store == "opendht":
            for host, peer in ((self.a, ""), (self.b, f"-b {self.a.ipv4}:{OPENDHT_PORT}")):
                host.popen("sh", "-c", f"sleep 9999 | dhtnode -p {OPENDHT_PORT} --proxyserver {PROXY_PORT} {peer}")
            time.sleep(5)  # until the two have met
        ports = {"mdht": MDHT_PORT, "kademlia": KADEMLIA_PORT}
        entry = ("--bootstrap", f"{self.a.ipv4}:{ports[store]}") if store in ports else ()
        exporter = self.a.z2z(f"--export:{store}", TYPE, "--key", "office")
        exporter.wait_for("(site ")
        importer = self.b.z2z(f"--import:{store}", "--key", "office", *entry, *importing)
        importer.wait_for("(site ")
        return exporter, importer


def shows(*names: str) -> Callable[[list[BrowsedService]], bool]:
    """The condition that a browser has resolved exactly these."""
    return lambda services: {each.instance for each in services if each.host} == set(names)


def times(lab: Lab, options: argparse.Namespace) -> None:
    """Publish and withdraw again and again."""
    offices = Offices(lab)
    polling = () if options.poll is None else ("--poll", str(options.poll))
    offices.bridge(options.store, *polling)
    watch = offices.avahi_b.watch(TYPE)
    visible, gone = [], []
    for number in range(options.rounds + 1):
        publication = offices.avahi_a.publish(f"Service {number}", TYPE, 1_024 + number)
        visible.append(watch.wait_for(shows(f"Service {number}"), PATIENCE_S))
        time.sleep(1.5)  # the second announcement is over
        withdrawn_at = time.monotonic()
        publication.withdraw()
        watch.wait_for(shows(), PATIENCE_S)
        gone.append(time.monotonic() - withdrawn_at)
        say(f"{number}: visible {visible[-1]:.2f} s after its announcement, gone {gone[-1]:.2f} s after its withdrawal")
    for name, found in (("publish to visible", visible[1:]), ("withdraw to gone", gone[1:])):  # the first one warms up
        middle, longest = statistics.median(found), max(found)
        print(f"{options.store}: {name} {middle:.2f} s (median of {len(found)}), longest {longest:.2f} s")


def line(number: int, signer: SigningKey) -> bytes:
    """Return a service as a line of a stream."""
    made = ServiceItem(
        instance=b"Service %04d" % number,
        service_type=TYPE,
        host=b"h",
        port=1_024 + number,
        txt=b"\x09txtvers=1",
        addresses=(IPv4Address("198.51.100.1") + number % 200,),
    )
    value = seal(made, site=Site(id=site_id(signer.public_key), name="far"), signer=signer, seq=1, lease_s=600)
    return encode_line(
        StreamEvent(event="+", key=bytes(20), writer=signer.public_key, name=b"%d" % number, value=value, lease_s=600)
    )


def processor_s(process: Process) -> float:
    """Return the processor time that a program has used (proc(5), stat)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_HZ


def services(lab: Lab, options: argparse.Namespace) -> None:
    """Let many come at once."""
    offices = Offices(lab, limits=ROOMY if options.roomy else LIMITS)
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin:
        program = Host.program("z2z")
        importer = offices.b.popen(program, "--import:stream", "--imports-max", str(options.imports_max), stdin=stdin)
    importer.wait_for("(site ")
    signer = SigningKey.generate()
    lines = [line(number, signer) for number in range(options.count)]
    wanted = min(options.count, options.imports_max)
    watch = offices.avahi_b.watch(TYPE) if options.roomy else None

    def resolved() -> set[str]:
        # With Avahi's usual limits a client that resolves 800 at once runs out of objects, and does not try again.
        found = offices.avahi_b.browse(TYPE) if watch is None else watch.services()
        return {each.instance for each in found if each.host}

    time.sleep(2)
    used_s = processor_s(importer)
    with open(writing, "wb") as stream:
        began = time.monotonic()
        stream.writelines(lines)
        stream.flush()
        wait_until(
            lambda: len(resolved()) >= wanted, PATIENCE_S, f"{wanted} services", lambda: f"but {len(resolved())}"
        )
        took_s = time.monotonic() - began
        refused = [each for each in importer.log.splitlines() if each.startswith("refused ")]
        print(f"{wanted} of {options.count} services are resolved by a browser after {took_s:.1f} s")
        print(f"refused by name: {len(refused)}")
        print(f"importer: {processor_s(importer) - used_s:.1f} s of processor time")
        numbers = offices.b.run(program, "status", "--prometheus").stdout
        packets = next(each for each in numbers.splitlines() if 'what="packets_out"' in each).rpartition(" ")[2]
        print(f"packets sent on the link: {packets}")


def cut(lab: Lab, options: argparse.Namespace) -> None:
    """Cut the links from each other for a while."""
    offices = Offices(lab)
    offices.bridge("mdht")
    names = [f"Service {number}" for number in range(options.count)]
    published = [offices.avahi_a.publish(name, TYPE, 1_024 + number) for number, name in enumerate(names)]
    watch = offices.avahi_b.watch(TYPE)
    watch.wait_for(shows(*names), PATIENCE_S)
    offices.router.link(False, offices.b.interfaces["eth0"])
    say(f"cut for {options.duration:.0f} s")
    published[0].withdraw()
    offices.avahi_a.publish("During", TYPE, 2_000)
    time.sleep(options.duration)
    lost = [each for each in watch.process.log.splitlines() if each.startswith("-")]
    print(f"withdrawn during the cut: {len(lost)}")
    offices.router.link(True, offices.b.interfaces["eth0"])
    took_s = watch.wait_for(shows(*names[1:], "During"), PATIENCE_S)
    print(f"what came during the cut is seen, and what went is gone, {took_s:.1f} s after it was healed")


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one measurement and print it."""
    parser = argparse.ArgumentParser(
        prog="live_bridge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("times")
    one.add_argument("--store", choices=("mdht", "kademlia", "opendht"), default="mdht")
    one.add_argument("--rounds", type=int, default=20, help="of which one more is not counted (20)")
    one.add_argument("--poll", type=float, metavar="S", help="for a store that does not push (z2z's own: 10)")
    one.set_defaults(run=times)
    one = commands.add_parser("services")
    one.add_argument("--count", type=int, default=1_000, help="(1000)")
    one.add_argument("--imports-max", type=int, default=1_000, metavar="N", help="z2z's own is 800 (1000)")
    one.add_argument("--roomy", action="store_true", help="the browser's Avahi has four times its usual limits")
    one.set_defaults(run=services)
    one = commands.add_parser("cut")
    one.add_argument("--count", type=int, default=5, help="services (5)")
    one.add_argument("--duration", type=float, default=60.0, metavar="S", help="of the cut (60)")
    one.set_defaults(run=cut)
    options = parser.parse_args(argv)
    try:
        with Lab() as lab:
            options.run(lab, options)
    except LabError as error:
        print(f"live_bridge: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

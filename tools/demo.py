"""`make demo`: a service of one subnet appears on another, through z2z and its embedded DHT, and disappears again.

Nothing is played: the laboratory's hosts run the real Avahi and the real `z2z`, and the router between their subnets
forwards no multicast. Status 0 means that the service arrived as it was published, in time, and left in time.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tools.netlab import Avahi, BrowsedService, Host, Lab, LabError, Process, wait_until

INSTANCE: Final = "Tom's Music"
SERVICE_TYPE: Final = "_daap._tcp"
PORT: Final = 3689
TXT: Final = (b"txtvers=1", b"Database ID=0B5E7A11", b"Machine Name=Tom's Mac \xe2\x99\xab", b"raw=\x01\xfe\xff")
KEY: Final = "office"
MDHT_PORT: Final = 27_183
"Where an mDHT node listens when nobody says otherwise."
LIMIT_S: Final = 3.0
"Publish to visible and withdraw to gone: what people accept from a service list."
PATIENCE_S: Final = 8.0
"A slow run is waited for that long, so that it is shown how slow; the whole stays under 30 s."
CONNECT: Final = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"


@dataclass
class Terminal:
    """What the audience sees: steps with the time since the start."""

    started: float = field(default_factory=time.monotonic)

    def step(self, text: str) -> None:
        """Say what happens next."""
        print(f"\n[{time.monotonic() - self.started:5.2f} s] {text}", flush=True)

    def show(self, who: str, text: str) -> None:
        """Show what a program printed."""
        for line in text.splitlines():
            print(f"          {who:<3}| {line}", flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was seen and how long it took."""

    printed: str
    services: list[BrowsedService]
    addresses: tuple[str, ...]
    "Those of host A."
    visible_s: float
    gone_s: float

    def faults(self) -> list[str]:
        """Return what differs from what was published, or took too long; nothing on success."""
        faults = [] if self.services else ["avahi-browse on B resolved nothing"]
        for service in self.services:
            where = f"on B over {service.protocol}"
            if service.instance != INSTANCE:
                faults.append(f"instance {service.instance!r} {where}, published as {INSTANCE!r}")
            if service.port != PORT:
                faults.append(f"port {service.port} {where}, published as {PORT}")
            if service.txt_strings != TXT:
                faults.append(f"TXT {service.txt_strings!r} {where}, published as {TXT!r}")
            if service.address not in self.addresses:
                faults.append(f"address {service.address} {where}; A has {', '.join(self.addresses)}")
        if self.visible_s > LIMIT_S:
            faults.append(f"publish to visible took {self.visible_s:.2f} s; the limit is {LIMIT_S:g} s")
        if self.gone_s > LIMIT_S:
            faults.append(f"withdraw to gone took {self.gone_s:.2f} s; the limit is {LIMIT_S:g} s")
        return faults


def listens(host: Host, port: int) -> bool:
    """Whether a UDP socket of this host is bound to a port (proc(5), `net/udp`: local address and port in hex)."""
    tables = host.run("cat", "/proc/net/udp", "/proc/net/udp6").stdout
    return any(line.split()[1].endswith(f":{port:04X}") for line in tables.splitlines() if ":" in line)


def start_z2z(terminal: Terminal, host: Host, *arguments: str) -> Process:
    """Start `z2z` on a host and wait until its node of the DHT listens."""
    terminal.show(host.name, f"$ z2z {' '.join(arguments)}")
    process = host.z2z(*arguments, log="z2z.log")

    def ready() -> bool:
        if process.poll() is not None:
            raise LabError(f"z2z on {host.name} ended with status {process.returncode}:\n{process.log}")
        return listens(host, MDHT_PORT)

    wait_until(ready, PATIENCE_S, f"DHT node of z2z on {host.name}", lambda: f":\n{process.log}")
    return process


def perform(terminal: Terminal, lab: Lab) -> Outcome:
    """Build, publish, look, withdraw, look."""
    terminal.step("two subnets, host A on the one, host B on the other, and a router that forwards no multicast")
    first, second = lab.subnet("first", "198.51.100.0/24"), lab.subnet("second", "203.0.113.0/24")
    a, b = lab.host("A", first), lab.host("B", second)
    lab.router("router", first, second)
    b.run("ping", "-c1", "-W2", a.ipv4)
    terminal.show("", f"A {a.ipv4}   B {b.ipv4}   B reaches A by IP (ping)")

    terminal.step("Avahi on both; a music server listens on A")
    avahi_a, avahi_b = lab.start_avahi(a, b)
    a.popen(sys.executable, "-m", "http.server", str(PORT))

    terminal.step(f"z2z on both; all they share is the key {KEY!r}, and B knows one address to begin with")
    exporter = start_z2z(terminal, a, "--export", SERVICE_TYPE, "--key", KEY)
    importer = start_z2z(terminal, b, "--import", "--key", KEY, "--bootstrap", f"{a.ipv4}:{MDHT_PORT}")
    try:
        return _publish_and_withdraw(terminal, b, avahi_a, avahi_b, (a.ipv4,))
    finally:
        terminal.step("what z2z said meanwhile")
        terminal.show("A", exporter.log)
        terminal.show("B", importer.log)


def _publish_and_withdraw(
    terminal: Terminal, b: Host, avahi_a: Avahi, avahi_b: Avahi, addresses: tuple[str, ...]
) -> Outcome:
    watch = avahi_b.watch(SERVICE_TYPE)
    terminal.step(f"Avahi on A announces {INSTANCE!r} as {SERVICE_TYPE} with TXT data; the clock runs")
    started = time.monotonic()
    publication = avahi_a.publish(INSTANCE, SERVICE_TYPE, PORT, TXT)
    terminal.show("A", f"after {time.monotonic() - started:.2f} s the name is probed and announced on A's subnet")
    watch.wait_for(bool, PATIENCE_S)
    visible_s = time.monotonic() - started
    terminal.step(f"B sees it, {visible_s:.2f} s after A began to publish; avahi-browse -rpt {SERVICE_TYPE} on B:")
    printed = avahi_b.browse_raw(SERVICE_TYPE)
    terminal.show("B", printed)
    services = avahi_b.browse(SERVICE_TYPE)
    for address in sorted({service.address for service in services}):
        b.run(sys.executable, "-c", CONNECT, address, str(PORT))
        terminal.show("B", f"a TCP connection to {address} port {PORT} reaches the music server")

    terminal.step("the service is withdrawn on A; the clock runs")
    started = time.monotonic()
    publication.withdraw()
    watch.wait_for(lambda seen: not seen, PATIENCE_S)
    gone_s = time.monotonic() - started
    terminal.step(f"gone from B after {gone_s:.2f} s")
    return Outcome(printed=printed, services=services, addresses=addresses, visible_s=visible_s, gone_s=gone_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration and return its exit status."""
    argparse.ArgumentParser(prog="python -m tools.demo", description=(__doc__ or "").splitlines()[0]).parse_args(argv)
    terminal = Terminal()
    try:
        Host.program("z2z")
        with Lab() as lab:
            outcome = perform(terminal, lab)
    except LabError as error:
        print(f"\nthe demonstration failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; nothing is left behind", file=sys.stderr)
        return 130
    faults = outcome.faults()
    terminal.step("everything is taken down again. What avahi-browse printed on B:\n")
    print(outcome.printed.rstrip())
    print("\n".join(f"FAULT: {fault}" for fault in faults) or "same instance, port, TXT bytes and address as on A")
    print(f"publish to visible {outcome.visible_s:.2f} s (limit {LIMIT_S:g} s)")
    print(f"withdraw to gone {outcome.gone_s:.2f} s (limit {LIMIT_S:g} s)")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

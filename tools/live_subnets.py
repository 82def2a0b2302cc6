"""The live experiment on real sockets: subnets of hosts, one of which is killed now and then (mDHT design, row 13).

Each subnet is a bridge in a network namespace, each host runs `mdht run`, and between them is a router that
forwards no multicast. A host that is killed comes back some seconds later, with its name and the next incarnation.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tools.live_records import LiveRecords
from tools.netlab import Host, Lab, LabError, Process, wait_until

NETWORKS: Final = ("198.51.100.0/26", "198.51.100.64/26", "198.51.100.128/26", "198.51.100.192/26", "203.0.113.0/26")
SERVER_PORT: Final = 27_190
FORM_S: Final = 60.0
"Until all hosts are in one ring."
BACK_S: Final = 7.0
"From a kill until the host is started again: the others have noticed by then."
ASKED_AT_ONCE: Final = 5
PAUSE_S: Final = 0.2
"Between two handfuls of questions for records."
DETECTION_S: Final = 4.5
"2.5 heartbeats and 2 s (mDHT design, section 3)."


class LiveHost:
    """One host, and what its programs have printed, the present one last."""

    def __init__(self, host: Host, words: Sequence[str]) -> None:
        self.host = host
        self.processes: list[Process] = []
        self._words = words

    def start(self) -> None:
        """Run the program, again perhaps."""
        self.processes.append(self.host.popen(Host.program("mdht"), *self._words))

    def lines(self, event: str, process: Process | None = None) -> Iterator[dict[str, Any]]:
        """What a program has said of one kind; the last line may be half written."""
        for text in (process or self.processes[-1]).log.rpartition("\n")[0].splitlines():
            line = json.loads(text) if text.startswith("{") else {}
            if line.get("event") == event:
                yield line

    @property
    def overlay(self) -> dict[str, Any]:
        """How it stands with the overlay, as it has last said."""
        return next(iter([*self.lines("overlay")][-1:]), {})

    @property
    def hid(self) -> str:
        """Its name."""
        return next((str(line["hid"]) for line in self.lines("joins")), "")


@dataclass
class Report:
    """What was seen."""

    formed_s: float
    records: LiveRecords
    kills: int = 0
    structural_changes: int = 0
    "By all hosts together, since the ring was at rest."
    detections_s: list[float] = field(default_factory=list)
    "From a kill until one of the others has called it dead."
    back_s: list[float] = field(default_factory=list)
    "From the start of the program until the host answers for its subnet again."
    undetected: int = 0

    def text(self) -> str:
        """For people."""
        found = sorted(self.detections_s)
        at = _p99(found) if found else float("nan")
        middle = statistics.median(found) if found else float("nan")
        back = statistics.median(self.back_s) if self.back_s else float("nan")
        return (
            f"one ring after {self.formed_s:.1f} s; {self.kills} kills; {self.structural_changes} structural changes; "
            f"a crash is known to another host after {middle:.2f} s (median), {at:.2f} s (p99 of {len(found)}), "
            f"{self.undetected} missed; back in the overlay {back:.2f} s after the program was started (median)"
            f"{self._of_records()}"
        )

    def _of_records(self) -> str:
        records = self.records
        if not records.latencies_s:
            return ""
        found = sorted(records.latencies_s)
        middle, late = statistics.median(found), _p99(found)
        return (
            f"; {records.lost} of {records.count} records lost; {len(found)} gets while hosts were killed: "
            f"{1000.0 * middle:.1f} ms (median), {1000.0 * late:.1f} ms (p99), {records.missed} found nothing; "
            f"{records.looked_up['inf']} lookups among siblings: {self._share('0.005')} within 5 ms, "
            f"{self._share('0.05')} within 50 ms"
        )

    def _share(self, bound: str) -> str:
        return f"{self.records.looked_up[bound] / max(1, self.records.looked_up['inf']):.1%}"


def _p99(ordered: Sequence[float]) -> float:
    return ordered[max(0, round(0.99 * len(ordered)) - 1)]


class Live:
    """The hosts of an open laboratory.

    Args:
        lab: where.
        subnets, hosts: how many, and how many on each.
        protocol: `chord` or `kademlia`.
        seed: of the choice of whom to kill.
    """

    def __init__(
        self, lab: Lab, subnets: int, hosts: int, protocol: str, seed: int, *, replicas: int = 8, records: int = 0
    ) -> None:
        links = [lab.subnet(f"net{number}", NETWORKS[number]) for number in range(subnets)]
        centre = lab.subnet("centre", "203.0.113.64/26")
        self._server = lab.host("server", centre)
        names = [(link, f"n{number}h{place}") for number, link in enumerate(links) for place in range(hosts)]
        words = ["run", "--json", "--overlay", protocol, "--replicas", str(replicas)]
        words += ["--server", f"{self._server.ipv4}:{SERVER_PORT}"]
        self._subnets: dict[str, list[LiveHost]] = {link.name: [] for link in links}
        for link, name in names:
            self._subnets[link.name].append(LiveHost(lab.host(name, link), words))
        lab.router("router", centre, *links)
        self._rng = Random(seed)
        self.records = LiveRecords(records, Random(seed))

    @property
    def hosts(self) -> list[LiveHost]:
        """All of them."""
        return [host for hosts in self._subnets.values() for host in hosts]

    def form(self) -> float:
        """Start all; seconds until they are in one ring, each subnet one node of it."""
        server = self._server.popen(Host.program("dhtboot"), "serve", "--port", str(SERVER_PORT))
        server.wait_for("bootstrap server")
        began = time.monotonic()
        for host in self.hosts:
            host.start()
        wait_until(self.is_formed, FORM_S, "one ring", self.describe)
        return time.monotonic() - began

    def is_formed(self) -> bool:
        """Whether all hosts are in one ring and know the other nodes."""
        told = [host.overlay for host in self.hosts]
        rings = {line.get("ring") for line in told}
        return len(rings) == 1 and all(
            line.get("stage") == "in" and line["neighbours"] >= len(self._subnets) - 1 for line in told
        )

    def describe(self) -> str:
        """What each host has last said."""
        return "".join(f"\n{host.host.name}: {host.overlay}" for host in self.hosts)

    def rest(self, rest_s: float) -> None:
        """Wait until nothing has changed for some time."""
        wait_until(lambda: time.time() - self._last_change() > rest_s, FORM_S + rest_s, "rest", self.describe)

    def _last_change(self) -> float:
        return max(float(line["at"]) for host in self.hosts for line in host.lines("overlay"))

    def changes(self) -> int:
        """Structural changes that all programs together have told so far."""
        told = [[*host.lines("overlay", process)][-1:] for host in self.hosts for process in host.processes]
        return sum(int(line["structural_changes"]) for lines in told for line in lines)

    def kill_one(self, report: Report) -> None:
        """Kill a host of a subnet where another one lives, and start it again."""
        hosts = self._rng.choice([*self._subnets.values()])
        victim = self._rng.choice(hosts)
        hid, others = victim.hid, [host for host in hosts if host is not victim]
        killed_at = time.time()
        victim.processes[-1].kill()
        report.kills += 1
        began = time.monotonic()
        living = [host.host for host in self.hosts if host is not victim]
        while time.monotonic() < began + BACK_S:
            self.records.ask(living, ASKED_AT_ONCE)
            time.sleep(PAUSE_S)
        for other in others:
            deaths = [
                float(line["at"]) - killed_at
                for line in other.lines("member")
                if (line["hid"], line["state"]) == (hid, "dead") and line["at"] >= killed_at
            ]
            report.detections_s += deaths[:1]
            report.undetected += not deaths
        victim.start()
        started_at = time.time()
        wait_until(lambda: victim.overlay.get("stage") == "in", FORM_S, "return to the overlay", self.describe)
        report.back_s.append(float(victim.overlay["at"]) - started_at)


def run(lab: Lab, options: argparse.Namespace) -> Report:
    """All of it."""
    live = Live(
        lab,
        options.subnets,
        options.hosts,
        options.overlay,
        options.seed,
        replicas=options.replicas,
        records=options.records,
    )
    report = Report(live.form(), live.records)
    say(f"one ring of {options.subnets} subnets with {options.hosts} hosts each after {report.formed_s:.1f} s")
    live.rest(options.rest)
    live.records.put([host.host for host in live.hosts])
    say(f"{options.records} records put")
    before = live.changes()
    ends_at = time.monotonic() + options.duration
    while (began := time.monotonic()) < ends_at:
        live.kill_one(report)
        say(f"{report.kills} killed, {live.changes() - before} structural changes")
        time.sleep(max(0.0, options.kill_every - (time.monotonic() - began)))
    report.structural_changes = live.changes() - before
    live.records.count_lost([host.host for host in live.hosts])
    live.records.count_lookups([host.host for host in live.hosts])
    return report


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="live_subnets", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--subnets", type=int, default=4, help="at most 5 (4)")
    parser.add_argument("--hosts", type=int, default=5, help="of each subnet (5)")
    parser.add_argument("--overlay", choices=("kademlia", "chord"), default="kademlia")
    parser.add_argument("--kill-every", type=float, default=20.0, metavar="S", help="seconds from kill to kill (20)")
    parser.add_argument("--duration", type=float, default=600.0, metavar="S", help="of the killing (600)")
    parser.add_argument("--rest", type=float, default=20.0, metavar="S", help="quiet before the first kill (20)")
    parser.add_argument("--records", type=int, default=1000, help="put, asked for and counted (1000)")
    parser.add_argument("--replicas", type=int, default=1, help="nodes that hold one, each at three hosts (1)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    try:
        with Lab() as lab:
            report = run(lab, options)
    except LabError as error:
        print(f"live_subnets: {error}", file=sys.stderr)
        return 1
    print(report.text())
    return 1 if report.structural_changes or report.records.lost else 0


if __name__ == "__main__":
    sys.exit(main())

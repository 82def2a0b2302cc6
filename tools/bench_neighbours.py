"""What a container loses when another publisher's, on the same node, does the worst that it can.

One publisher's module gets packets as fast as its share of the processor lets it treat them, or half as many. Its rate
is measured alone, and while the module of another publisher loops, sleeps, raises or returns rubbish at each of its own
packets, or spins in a thread of its own. The module is `closed`: what it has not treated in time is dropped, and so the
packets that arrive are those that it has treated. All is real: two publishers, the node, signed modules, its containers
with their walls.

    python -m tools.bench_neighbours [--plane netfilter] [--rounds 3] [--seconds 4] [--json]       needs root
"""

import argparse
import itertools
import json
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from netserv.forwarding.base import PLANE_NAMES
from tools.netlab import Host, Lab, LabError, Process
from tools.netlab_chain import chain
from tools.netlab_netserv import Publisher, start_nodes
from tools.netlab_process import end_by_exception

ROOT: Final = Path(__file__).resolve().parent.parent
LOSS_MAX: Final = 0.10
GOOD_PORT, BAD_PORT = 5060, 5070
LOADS: Final = {"half load": 2_500, "overload": 12_000}
"Packets a second for the module that is measured: half of what a quarter of a core treats, and twice of it."
BAD_PER_S: Final = 200
Figures = dict[str, float]
TICK_S: Final = 0.002
SETTLE_S: Final = 0.5
GOOD: Final = """
from netserv.modules.api import ACCEPT, Activator


class Module(Activator):
    def process(self, packet):
        sum(range(3_000))  # some 40 us
        return ACCEPT
"""
BAD: Final = {
    "loops": "while True:\n            pass",
    "sleeps": "time.sleep(1_000)",
    "raises": "raise ValueError",
    "returns rubbish": "return object()",
    "spins in a thread": "return ACCEPT",
}
BAD_MODULE: Final = """
import threading
import time

from netserv.modules.api import ACCEPT, Activator


def spin():
    while True:
        pass


class Module(Activator):
    def start(self, context):
        if {spins}:
            threading.Thread(target=spin, daemon=True).start()

    def process(self, packet):
        {treat}
"""


class Scene:
    """Server with the good publisher, node, agent with the bad one; each sends what the other's module is to treat."""

    def __init__(self, lab: Lab, plane: str) -> None:
        server, node, agent = chain(lab, "server", "node", "agent")
        self.server, self.agent = server, agent
        self._numbers = itertools.count(1)
        self.good, self.bad = Publisher(server, "alice"), Publisher(agent, "mallory")
        (self.node,) = start_nodes((self.good, self.bad), node, plane=plane)
        deploy(self.good, build(self.good, "bench.Good", GOOD, 'failure = "closed"'), agent, GOOD_PORT)

    def rate(self, seconds: float) -> float:
        """Packets a second that the good module lets through."""
        began, before = time.monotonic(), received(self.server)
        time.sleep(seconds)
        passed = (received(self.server) - before) / (time.monotonic() - began)
        modules = self.node.modules()
        if {each["user"]: each["state"] for each in modules}["alice"] != "active":
            raise LabError(f"the module that is measured was stopped: {modules}")
        return passed

    @contextmanager
    def bad_module(self, kind: str) -> Iterator[None]:
        """The bad module is there, and gets packets."""
        name = f"bench.Bad{next(self._numbers)}"
        text = BAD_MODULE.format(spins=kind.startswith("spins"), treat=BAD[kind])
        bundle = build(self.bad, name, text, 'failure = "reload"')
        deploy(self.bad, bundle, self.server, BAD_PORT)
        flood = start_flood(self.server, self.agent, BAD_PORT, BAD_PER_S)
        try:
            yield
        finally:
            flood.stop()
            self.bad.remove(f"{name}_1.0.0", self.server)


def build(publisher: Publisher, name: str, text: str, more: str) -> str:
    """Pack and sign a module of one file; the bundle's."""
    source = publisher.host.directory / name
    source.mkdir()
    (source / "module.toml").write_text(
        f'name = "{name}"\nversion = "1.0.0"\nentry = "treats:Module"\nkind = "packet"\n{more}\n'
    )
    (source / "treats.py").write_text(text)
    publisher.run("module", "build", name, "--key", f"{publisher.user}.pem", "-o", f"{name}.zip")
    return f"{name}.zip"


def deploy(publisher: Publisher, bundle: str, toward: Host, port: int) -> None:
    """Deploy it for packets to a port of the publisher's."""
    last = publisher.deploy(bundle, toward, "--filter-proto", "udp", "--filter-port", str(port))[-1]
    if [node["code"] for node in last["nodes"]] != [200]:
        raise LabError(f"{bundle} is not active: {last}")


def received(host: Host) -> int:
    """Packets that a host has received."""
    (line,) = [line for line in host.run("cat", "/proc/net/dev").stdout.splitlines() if "eth0:" in line]
    return int(line.split(":")[1].split()[1])


def start_flood(host: Host, to: Host, port: int, per_s: int) -> Process:
    """Send packets at a steady rate."""
    words = [sys.executable, "-m", "tools.bench_neighbours", "send", to.ipv4, str(port), str(per_s)]
    return host.popen(*words, env={"PYTHONPATH": str(ROOT)})


def send(address: str, port: int, per_s: int) -> None:
    """Send packets at a steady rate, for ever."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, port))
    begun, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * per_s)
        for _ in range(due - sent):
            try:
                sock.send(bytes(100))
            except ConnectionError:  # nobody listens there, as the kernel of the other end says
                continue
        sent = due
        time.sleep(TICK_S)


def measure(scene: Scene, load: str, rounds: int, seconds: float) -> Figures:
    """Of each kind what is left of the rate, as a ratio to that alone just before; and the rate alone."""
    ratios: dict[str, list[float]] = {kind: [] for kind in BAD}
    alone: list[float] = []
    with ExitStack() as flooded:
        flooded.callback(start_flood(scene.agent, scene.server, GOOD_PORT, LOADS[load]).stop)
        for number in range(1, rounds + 1):
            for kind in BAD:
                print(f"{load}, round {number} of {rounds}: {kind}", file=sys.stderr, flush=True)
                time.sleep(SETTLE_S)
                alone.append(scene.rate(seconds))
                with scene.bad_module(kind):
                    ratios[kind].append(scene.rate(seconds) / alone[-1])
    return {"alone_per_s": statistics.median(alone)} | {kind: statistics.median(each) for kind, each in ratios.items()}


def table(found: dict[str, Figures]) -> list[str]:
    """For people."""
    lines = []
    for load, figures in found.items():
        lines.append(f"{load}, alone {figures['alone_per_s']:,.0f} packets/s; what is left while another module ...")
        for kind in BAD:
            verdict = "yes" if figures[kind] >= 1 - LOSS_MAX else "NO"
            lines.append(f"  {kind:20}{figures[kind]:6.3f}   >= {1 - LOSS_MAX:g}  {verdict}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; status 1 where more is lost than may be."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["send"]:
        send(words[1], int(words[2]), int(words[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plane", choices=("auto", *PLANE_NAMES), default="auto", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of each figure (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(words)
    end_by_exception()
    try:
        with Lab() as lab:
            scene = Scene(lab, options.plane)
            found = {load: measure(scene, load, options.rounds, options.seconds) for load in LOADS}
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found) if options.json else "\n".join(table(found)))
    return 0 if all(figures[kind] >= 1 - LOSS_MAX for figures in found.values() for kind in BAD) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

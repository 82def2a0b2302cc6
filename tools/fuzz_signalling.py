"""Sends broken and hostile datagrams and streams to a running signalling daemon, and sees what that does to it.

    python -m tools.fuzz_signalling [--count 1000000] [--seed N] [--per-s 4000] [--json]

An attacker, a node with a daemon (TCP and TLS) and a receiver are three network namespaces in a row. The datagrams go
to the node and past it, one in fifty is a stream instead, and one in twenty carries a text of the NSLP in a session
that is in order. To what the daemon sends on, the receiver is a hostile next node. It fails if the daemon prints a
traceback, grows by more than a bound, or answers no probe afterwards.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

import trio

from netserv.signaling.control_client import ControlClient
from netserv.signaling.status import Status
from tools.gist_hostile_peer import generate
from tools.gist_hostile_responder import Responder
from tools.netlab import Host, Lab, LabError, Process
from tools.netlab_chain import chain
from tools.netlab_process import end_by_exception

GROWTH_MAX_KIB: Final = 64 * 1024
"Tables that are full, of all kinds: the daemon is allowed that much, whatever the count."
SHOWN_S: Final = 5.0
"Between two looks at its memory, and lines of progress."


class Scene:
    """Attacker, node and receiver; the daemon runs."""

    def __init__(self, lab: Lab) -> None:
        self.attacker, self.node, self.receiver = chain(lab, "attacker", "node", "receiver")
        words = ("signal", "daemon", "--public-probes", "--tls", "--tls-port", "271", "--control", "control")
        self.daemon: Process = self.node.popen(Host.program("netserv"), *words)
        self.daemon.wait_for("is ready")

    def status(self) -> Status:
        """How the daemon stands; its socket is in the file system, which all of a laboratory share."""
        return trio.run(ControlClient(str(self.node.directory / "control")).status)

    def resident_kib(self) -> int:
        """Memory of the daemon."""
        lines = Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))

    def attack(self, count: int, seed: int, per_s: float) -> Process:
        """Start the attacker's program."""
        hosts = (self.attacker.ipv4, self.node.ipv4, self.receiver.ipv4)
        return self._start(self.attacker, "generate", *hosts, str(count), str(seed), str(per_s))

    def answer(self, seed: int) -> Process:
        """Start the hostile program of the receiver."""
        process = self._start(self.receiver, "respond", self.receiver.ipv4, str(seed))
        process.wait_for("ready")
        return process

    def _start(self, host: Host, *words: str) -> Process:
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        return host.popen(sys.executable, "-m", "tools.fuzz_signalling", *words, env=path)

    def probe(self) -> dict[str, Any]:
        """What an honest host is answered."""
        words = ("probe", "--toward", self.receiver.ipv4, "--json")
        done = self.attacker.run(Host.program("netserv"), *words, check=False)
        if done.returncode:
            raise LabError(f"no answer to a probe: {done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def fuzz(scene: Scene, count: int, seed: int, per_s: float, *, progress: bool = False) -> dict[str, Any]:
    """Attack, and report what became of the daemon.

    Args:
        scene: whose daemon is fresh.
        count: of datagrams and streams.
        seed: of all chance.
        per_s: at most so many a second, so that the node looks at nearly all of them.
        progress: say on the terminal how far it is.

    Raises:
        LabError: it has ended, printed a traceback, grown over the bound, or answers no more.
    """
    before_kib, begun = scene.resident_kib(), time.monotonic()
    most_kib, shown, course = before_kib, begun, [before_kib]
    answering = scene.answer(seed)
    attack = scene.attack(count, seed, per_s)
    while attack.poll() is None:
        time.sleep(0.2)
        if scene.daemon.poll() is not None:
            break
        most_kib = max(most_kib, scene.resident_kib())
        if time.monotonic() - shown > SHOWN_S:
            shown = time.monotonic()
            course.append(scene.resident_kib())
            if progress:
                received = scene.status().counters["gist"]["received"]
                print(f"\r{received} datagrams seen, {course[-1]} KiB", end="", file=sys.stderr, flush=True)
    took_s = time.monotonic() - begun
    log = scene.daemon.log
    if scene.daemon.poll() is not None or "Traceback" in log or attack.returncode:
        raise LabError(f"seed {seed}: the daemon or the attacker has failed:\n{log[-4000:]}\n{attack.log[-4000:]}")
    if answering.stop():
        raise LabError(f"seed {seed}: the hostile responder has failed:\n{answering.log[-4000:]}")
    reply = scene.probe()
    status = scene.status()
    report = {
        "seed": seed,
        "seconds": round(took_s, 1),
        **json.loads(attack.log.splitlines()[-1]),
        "next_node": json.loads(answering.log.splitlines()[-1]),
        "before_kib": before_kib,
        "most_kib": most_kib,
        "after_kib": scene.resident_kib(),
        "kib_every_5_s": course,
        "probe_s": reply["elapsed_s"],
        "sessions": status.sessions,
        "associations": status.associations,
        "counters": {
            part: {name: number for name, number in counters.items() if number}
            for part, counters in status.counters.items()
        },
    }
    if most_kib - before_kib > GROWTH_MAX_KIB:
        raise LabError(f"seed {seed}: the daemon has grown from {before_kib} to {most_kib} KiB: {report}")
    return report


def respond(own: str, rng: Random) -> dict[str, int]:
    """Be the hostile next node until SIGTERM; what came."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    responder = Responder(own, rng)
    print("ready", flush=True)
    while not ended:
        responder.serve(0.1)
    return dict(responder.counters)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `generate` and `respond` are the programs that it starts on attacker and receiver."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["generate"]:
        own, node, receiver = words[1:4]
        print(json.dumps(generate(own, node, receiver, int(words[4]), Random(int(words[5])), float(words[6]))))
        return 0
    if words[:1] == ["respond"]:
        print(json.dumps(respond(words[1], Random(int(words[2])))), flush=True)
        return 0
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz_signalling", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="datagrams and streams (1000000)")
    parser.add_argument("--seed", type=int, default=None, help="of all chance (a new one, which is printed)")
    parser.add_argument("--per-s", type=float, default=4_000.0, help="at most so many a second (4000)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    asked = parser.parse_args(words)
    seed = SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    print(f"seed {seed}", file=sys.stderr)
    end_by_exception()
    try:
        with Lab() as lab:
            report = fuzz(Scene(lab), asked.count, seed, asked.per_s, progress=sys.stderr.isatty())
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(report, indent=None if asked.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The signalling daemon under load, in a laboratory of three hosts: left neighbour, node, right neighbour.

The daemon is the real one, and catches what passes it. Its processor time and memory are those that the kernel counts
for its process; the neighbours are processes of their own.
"""

import base64
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from netserv.signaling.gist.addresses import packed
from tools.netlab import Lab, LabError, Process
from tools.netlab_chain import chain
from tools.signalling_bytes import DESTINATIONS, PREFIX, VALIDITY_S
from tools.signalling_load import Plan
from tools.signalling_requests import Requests

ROOT: Final = Path(__file__).resolve().parent.parent
RUN_S: Final = 600.0
WARM_UP_MAX: Final = 500
"Sessions before it is measured, at most a tenth: what is loaded and allocated once is there then."

LOST_MAX: Final = 0.01
"""Of sessions, on a machine so busy that packets get lost, or so fast that the limits against floods are reached; one
that lives is opened again with its next refresh."""

Figures = dict[str, float]


class Scene:
    """The laboratory, with the right neighbour at work."""

    def __init__(self, lab: Lab, validity_s: float = VALIDITY_S) -> None:
        self.left, self.node, self.right = chain(lab, "left", "node", "right")
        self.validity_s = validity_s
        self.path = {"PYTHONPATH": str(ROOT)}
        network = f"{DESTINATIONS}/{PREFIX}"
        lab.ip(f"route replace {network} via {self.gateway}", self.left.namespace)
        lab.ip(f"route replace {network} via {self.right.ipv4}", self.node.namespace)
        lab.ip(f"route replace local {network} dev lo", self.right.namespace)
        program = [sys.executable, "-m", "tools.signalling_load", "right", self.right.ipv4]
        program += [self.left.ipv4, str(validity_s)]
        self.right.popen(*program, env=self.path).wait_for("ready")

    @property
    def gateway(self) -> str:
        """The node's address on the left."""
        return self.node.ipv4

    @contextmanager
    def daemon(self, *words: str) -> Iterator[Process]:
        """The real one."""
        program = self.node.program("netserv")
        process = self.node.popen(program, "signal", "daemon", "--node-id", "node", *words)
        try:
            process.wait_for("is ready")
            yield process
        finally:
            process.stop()

    def start(self, plan: Plan) -> Process:
        """The left neighbour begins."""
        words = [sys.executable, "-m", "tools.signalling_load", "left", msgspec.json.encode(plan).decode()]
        return self.left.popen(*words, env=self.path)

    def run(self, plan: Plan) -> dict[str, Any]:
        """The left neighbour does it all; its last line."""
        return self._last_line(self.start(plan))

    def counted(self) -> dict[str, dict[str, int]]:
        """Counters of the daemon."""
        done = self.node.run(self.node.program("netserv"), "signal", "status", "--json")
        counters: dict[str, dict[str, int]] = json.loads(done.stdout)["counters"]
        return counters

    def _last_line(self, process: Process) -> dict[str, Any]:
        if process.wait(RUN_S):
            raise LabError(process.log)
        line: dict[str, Any] = json.loads(process.log.splitlines()[-1])
        return line


def handshakes(scene: Scene, sessions: int, seed: int) -> Figures:
    """Full handshakes of the daemon as responding node."""
    with scene.daemon("--public-probes") as node:
        plan = Plan(address=scene.left.ipv4, sessions=sessions, seed=seed)
        scene.run(msgspec.structs.replace(plan, sessions=_warm_up(sessions), first=sessions))
        before = cpu_s(node.pid)
        done = scene.run(plan)
        spent = cpu_s(node.pid) - before
        _check(scene.counted()["gist"]["handshakes_as_responder"], sessions + _warm_up(sessions))
    return {
        "handshakes_per_s": sessions / spent,
        "handshake_us": spent / sessions * 1e6,
        "wall_per_s": sessions / done["opened_s"],
    }


def probes(scene: Scene, sessions: int, seed: int) -> Figures:
    """Signed PROBEs through the daemon, each in a session of its own."""
    source = packed(scene.left.ipv4)
    ((name, keys),) = Requests(seed, source, is_signed=True).publishers.items()
    (scene.node.directory / "publishers.toml").write_text(f'{name} = "{base64.b64encode(keys[0]).decode()}"\n')
    with scene.daemon("--publishers", "publishers.toml") as node:
        plan = Plan(address=scene.left.ipv4, sessions=sessions, seed=seed, asks=True, is_signed=True)
        scene.run(msgspec.structs.replace(plan, sessions=_warm_up(sessions), first=sessions))
        before = cpu_s(node.pid)
        done = scene.run(plan)
        spent = cpu_s(node.pid) - before
        _check(scene.counted()["nslp"]["responses"], sessions + _warm_up(sessions))
    return {
        "exchanges_per_s": sessions / spent,
        "exchange_us": spent / sessions * 1e6,
        "wall_per_s": sessions / done["opened_s"],
    }


def standing(scene: Scene, sessions: int, seed: int, seconds: float, *, middle: bool) -> Figures:
    """Many sessions that live: of the daemon as their last node, or in the middle of their paths."""
    plan = Plan(
        address=scene.left.ipv4,
        sessions=sessions,
        seed=seed,
        per_s=700.0 if middle else 2_000.0,
        asks=middle,
        long=True,
        settle_s=0.75 * scene.validity_s,
        measure_s=seconds,
        validity_s=scene.validity_s,
    )
    with scene.daemon("--public-probes") as node:
        scene.run(msgspec.structs.replace(plan, sessions=_warm_up(sessions), first=sessions, settle_s=0.0))
        before = resident_bytes(node.pid)
        left = scene.start(plan)
        left.wait_for("measuring", RUN_S)
        begun, spent = time.monotonic(), cpu_s(node.pid)
        left.wait_for("measured", RUN_S)
        spent, took = cpu_s(node.pid) - spent, time.monotonic() - begun
        resident = resident_bytes(node.pid) - before
        if left.wait(RUN_S):
            raise LabError(left.log)
        opened, *_, measured = map(json.loads, (line for line in left.log.splitlines() if line.startswith("{")))
        status = json.loads(scene.node.run(scene.node.program("netserv"), "signal", "status", "--json").stdout)
        rows = sessions * (2 if middle else 1)
        if not rows * (1.0 - LOST_MAX) <= status["sessions"] <= rows + 2 * _warm_up(sessions):
            raise LabError(f"{status['sessions']} rows stand, not {rows}: {status['counters']}")
    return {
        "rows": status["sessions"],
        "bytes_per_session": resident / sessions,
        "core_share": spent / took,
        "opened_per_s": sessions / opened["opened_s"],
        **measured,
    }


def _warm_up(sessions: int) -> int:
    return min(WARM_UP_MAX, sessions // 10)


def cpu_s(pid: int) -> float:
    """Processor time of a process of one thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def resident_bytes(pid: int) -> int:
    """Its memory."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


def _check(found: int, wanted: int) -> None:
    # At full speed the limits against floods, in the kernel, drop one message or the other.
    if not wanted * (1.0 - LOST_MAX) <= found <= wanted:
        raise LabError(f"{found} of {wanted} were done")

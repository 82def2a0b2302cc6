"""How fast packets go through modules, as a ratio to a plain router with netfilter rules in the same run.

A generator in the kernel (XDP live frames) sends, a router in its own namespace forwards, an interface counts. All of
it runs on one processor, the generator only when nobody else has something to do, so that little is lost. Rates are
packets per second of the processor time of all that takes part, the generator included: who else uses the machine does
not matter much. Rounds of all configurations follow each other; medians are shown.

    python -m tools.bench_packetpath [--rounds 5] [--seconds 1] [--bytes 64,340] [--only xdp] [--json]
"""

import argparse
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Final, TypeAlias

import trio

from netserv.errors import SystemRefusedError
from netserv.forwarding import bpf
from netserv.forwarding.base import PlaneConfig
from netserv.forwarding.bpf_assembler import R0, R1, R2, R3, Assembler, W
from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.plane import BrokerPlane
from netserv.forwarding.ring import ACCEPT, ACCEPT_FLOW, CHANGED, BoxEnd, Ring
from netserv.signaling.transport import packet
from tools.netlab import Lab, LabError
from tools.netlab_host import HOST_SETTINGS, ROUTER_SETTINGS, environment
from tools.netlab_process import Process, end_by_exception

PORT: Final = 5060
ENDS: Final = {
    "s0": "02:00:00:00:00:01",
    "r0": "02:00:00:00:00:02",
    "r1": "02:00:00:00:00:03",
    "d0": "02:00:00:00:00:04",
}
NOBODY: Final = "02:00:00:00:00:99"
"Hardware address of the hosts behind the ends: frames to it are counted and then dropped by the first look at them."
SENDER: Final = "10.1.0.2"
RECEIVER: Final = "10.2.0.2"
SETTLE_S: Final = 0.03
_REDIRECT: Final = 23
_SCHED_SETATTR: Final = 314 if os.uname().machine == "x86_64" else 274
_HEADERS_BYTES: Final = 44
_ETHTOOL: Final = 0x8946
_SET_GRO: Final = 0x2C
_SET_CHECKSUMS: Final = 0x17
CONFIGURATIONS: Final = {
    "plain": ("none", ""),
    "unasked": ("both", "unasked"),
    "user space": ("both", "absent"),
    "box": ("both", "accept"),
    "NetMonitor": ("both", "monitor"),
    "KeepAlive": ("both", "keep_alive"),
    "cached": ("xdp", "flow"),
}
_REPLY: Final = b"SIP/2.0 200 OK\r\nCSeq: 1 NOTIFY\r\n\r\n"
_REPLY_BYTES: Final = 28 + len(_REPLY)
_REPLY_HEAD: Final = b"E\0" + _REPLY_BYTES.to_bytes(2) + b"\0\0\0\0\x40\x11\0\0"
_REPLY_TAIL: Final = (8 + len(_REPLY)).to_bytes(2) + b"\0\0" + _REPLY
KEEP_ALIVE: Final = b"NOTIFY sip:server SIP/2.0\r\nEvent: keep-alive\r\n\r\n"


def frame(size: int) -> bytes:
    """A frame of the flow whose IP packet has so many bytes."""
    payload = KEEP_ALIVE.ljust(size - 28, b"x")[: size - 28]
    ends = [(socket.inet_aton(each), port) for each, port in ((SENDER, 4_000), (RECEIVER, PORT))]
    header = bytes.fromhex((ENDS["r0"] + ENDS["s0"]).replace(":", "")) + b"\x08\x00"
    return header + packet.build(ends[0], ends[1], payload, ttl=64)


def _redirect_to(interface: int, sent: bytes) -> int:
    """A program that sends a frame anew: its memory is used again and again, and routers write into headers."""
    code = Assembler()
    code.load(W, R2, R1, 0)
    code.load(W, R3, R1, 4)
    code.move(R1, R2)
    code.operate("+=", R1, _HEADERS_BYTES)
    code.jump(">", R1, R3, "drop")
    for at in range(0, _HEADERS_BYTES, 4):
        code.store(W, R2, at, int.from_bytes(sent[at : at + 4], "little"))
    code.move(R1, interface)
    code.move(R2, 0)
    code.call(_REDIRECT)
    code.exit()
    code.label("drop")
    code.move(R0, 1)
    code.exit()
    return bpf.load_xdp(code.assemble())


def _packets() -> tuple[int, int]:
    """Packets that the ends have sent and received."""
    lines = [line.replace(":", " ").split() for line in Path("/proc/self/net/dev").read_text().splitlines()]
    numbers = {line[0]: line for line in lines}
    return int(numbers["s0"][10]), int(numbers["s0"][2]) + int(numbers["d0"][2])


def _give_way() -> None:
    """Have what treats packets go before what makes more of them, and interrupt it within 0.1 ms."""
    with suppress(OSError):  # sessions are groups of their own, which share alike
        os.setsid()
        Path("/proc/self/autogroup").write_text("19")
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_BATCH, 0, 19, 0, 100_000, 0, 0)
    ctypes.CDLL(None).syscall(_SCHED_SETATTR, 0, attributes, 0)


def generate(seconds: float, size: int) -> int:
    """Send for a while, whenever nobody else has something to do, and print how many were sent and came."""
    _give_way()
    program = _redirect_to(socket.if_nametoindex("s0"), frame(size))
    signal.signal(signal.SIGALRM, lambda *_: None)
    before, begin, used = _packets(), time.perf_counter(), time.process_time()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with suppress(SystemRefusedError):  # the alarm ends it
        bpf.run_live(program, frame(size), 0xFFFFFFFF)
    used = time.process_time() - used
    elapsed = time.perf_counter() - begin
    time.sleep(SETTLE_S)
    sent, came = (after - first for after, first in zip(_packets(), before, strict=True))
    print(json.dumps({"sent": sent, "came": came, "elapsed_s": elapsed, "used_s": used}), flush=True)
    return 0


Taken: TypeAlias = list[tuple[int, int, memoryview]]


def _accept(box: BoxEnd, packets: Taken) -> None:
    answer = box.answer
    for slot, _, _ in packets:
        answer(slot, ACCEPT)


def _flow(box: BoxEnd, packets: Taken) -> None:
    for slot, _, _ in packets:
        box.answer(slot, ACCEPT_FLOW)


def _monitor(counts: dict[tuple[bytes, int], int]) -> Callable[[BoxEnd, Taken], None]:
    def treat(box: BoxEnd, packets: Taken) -> None:
        answer = box.answer
        for slot, _, view in packets:
            key = (view[12:20].tobytes(), view[8])
            counts[key] = counts.get(key, 0) + 1
            answer(slot, ACCEPT)

    return treat


def _keep_alive(box: BoxEnd, packets: Taken) -> None:
    answer = box.answer
    for slot, _, view in packets:
        packet = view[:40].tobytes()
        if packet.startswith(b"NOTIFY ", 28):
            ends = packet[16:20] + packet[12:16] + packet[22:24] + packet[20:22]
            view[:_REPLY_BYTES] = _REPLY_HEAD + ends + _REPLY_TAIL
            answer(slot, CHANGED, _REPLY_BYTES)
        else:
            answer(slot, ACCEPT)


def run_box(module: str, memory: int, wake: int, broker: int) -> None:
    """A container without walls that runs one of the modules."""
    box = BoxEnd(memory, wake, broker)
    treat = {"accept": _accept, "flow": _flow, "monitor": _monitor({}), "keep_alive": _keep_alive}[module]
    poll = select.poll()
    poll.register(box.fileno(), select.POLLIN)
    print("ready", flush=True)
    while True:
        packets = box.take(256)
        treat(box, packets)
        box.flush()
        if not packets:  # only then it is said that this end sleeps, and a wake-up comes
            poll.poll()


async def run_node(plane: str, module: str) -> None:
    """A plane with one filter, until SIGTERM."""
    wanted = PacketFilter(
        proto="udp", ports=(9 if module == "unasked" else PORT,), destination=ip_network("10.2.0.0/24")
    )
    boxed = module not in {"unasked", "absent"}
    async with BrokerPlane(plane, PlaneConfig(interfaces=("r0", "r1") if plane == "xdp" else ())) as opened:
        ring = Ring.create()
        box = None
        if boxed:
            words = [sys.executable, "-m", "tools.bench_packetpath", "box", module, *map(str, ring.box_descriptors)]
            box = await trio.to_thread.run_sync(
                lambda: subprocess.Popen(words, pass_fds=ring.box_descriptors, stdout=subprocess.PIPE)
            )
            assert box.stdout is not None
            await trio.to_thread.run_sync(box.stdout.readline)
        number = await opened.install(wanted, ring if boxed else None, "open", (ip_network("10.2.0.0/24"),))
        await trio.sleep(0.1)
        print(f"ready {opened.broker_pid} {box.pid if box else ''}", flush=True)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
        print(json.dumps((await opened.counters())[number]), flush=True)
        if box is not None:
            box.kill()
            box.wait()


def offload(interface: str, what: str = "gro") -> None:
    """Set what an interface does by itself, as ethtool(8) does.

    Args:
        interface: its name.
        what: `gro`: it polls, so that frames of XDP can be redirected to the other end of it; `checksums`: senders here
            make their checksums themselves.
    """
    value = (ctypes.c_uint32 * 2)(*{"gro": (_SET_GRO, 1), "checksums": (_SET_CHECKSUMS, 0)}[what])
    request = struct.pack("=16sQ16x", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _ETHTOOL, request)


class Scene:
    """Two namespaces: the ends, and the router between them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.processor = (os.cpu_count() or 1) - 1
        comms = [
            path for path in Path("/proc").glob("[0-9]*/comm") if path.read_text() == f"ksoftirqd/{self.processor}\n"
        ]
        self.softirqs = int(comms[0].parent.name)
        self.ends, self.router = f"{lab.name}-ends", f"{lab.name}-router"
        lab.create_namespace(self.ends, HOST_SETTINGS)
        lab.create_namespace(self.router, ROUTER_SETTINGS)
        for near, far in (("s0", "r0"), ("d0", "r1")):
            lab.ip(
                f"link add {near} address {ENDS[near]} netns {self.ends} type veth peer name {far} address {ENDS[far]}"
                f" netns {self.router}"
            )
        lab.ip("link set s0 up\nlink set d0 up", self.ends)
        lab.ip(
            "link set r0 up\nlink set r1 up\naddress add 10.1.0.1/24 dev r0\naddress add 10.2.0.1/24 dev r1\n"
            f"neighbour add {SENDER} lladdr {NOBODY} dev r0\nneighbour add {RECEIVER} lladdr {NOBODY} dev r1",
            self.router,
        )
        for namespace, names in ((self.ends, ("s0", "d0")), (self.router, ("r0", "r1"))):
            for name in names:
                self.run(namespace, "offload", name)
        # Configuration 2 of the thesis: a router whose netfilter has rules to look at.
        for rule in (
            "-t mangle -A PREROUTING -p tcp --dport 9 -j ACCEPT",
            "-t filter -A FORWARD -p tcp --dport 9 -j DROP",
        ):
            lab.run([*lab.entry(self.router), "iptables", *rule.split()])

    def words(self, namespace: str, *arguments: str) -> list[str]:
        """A program of this module, in a namespace and on the one processor."""
        mine = [sys.executable, "-m", "tools.bench_packetpath", *arguments]
        return [*self.lab.entry(namespace), "taskset", "-c", str(self.processor), *mine]

    def run(self, namespace: str, *arguments: str) -> str:
        """Run one to its end."""
        return self.lab.run(self.words(namespace, *arguments), env=self.environment, timeout=60).stdout

    @property
    def environment(self) -> dict[str, str]:
        """Of the programs."""
        return environment(self.lab.directory, "") | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def measure(self, plane: str, module: str, seconds: float, size: int) -> dict[str, float]:
        """One configuration once."""
        node, pids = None, [self.softirqs]
        if plane != "none":
            log = self.lab.directory / "node.log"
            log.unlink(missing_ok=True)
            words = self.words(self.router, "node", plane, module)
            node = Process(words, log, env=self.environment, stdin=None, stdout=None)
            self.lab.processes.append(node)
            pids += map(int, node.wait_for("ready").split()[1:])
        before = sum(map(_run_s, pids))
        said: dict[str, float] = json.loads(self.run(self.ends, "generate", str(seconds), str(size)))
        used = said["used_s"] + sum(map(_run_s, pids)) - before
        if node is not None:
            node.terminate()
            node.wait(20)
            if os.environ.get("BENCH_COUNTERS"):
                print(said, used, node.log.splitlines()[-1], file=sys.stderr)
        return {"per_s": said["came"] / used, "lost": 1 - said["came"] / said["sent"]}


def _run_s(pid: int) -> float:
    """Processor time of a process."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the other words are the programs that it starts in the laboratory."""
    words = list(sys.argv[1:] if argv is None else argv)
    match words[:1]:
        case ["generate"]:
            return generate(float(words[1]), int(words[2]))
        case ["box"]:
            run_box(words[1], *map(int, words[2:5]))
        case ["node"]:
            trio.run(run_node, words[1], words[2])
            return 0
        case ["offload"]:
            offload(*words[1:])
            return 0
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench_packetpath", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of traffic in each round")
    parser.add_argument("--bytes", default="64,340", help="of IP packets")
    parser.add_argument("--only", default="", help="planes or configurations, separated by commas")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    end_by_exception()
    try:
        found = measure_all(arguments)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(found))
        return 0
    show(found)
    return 0


def measure_all(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All configurations in turns; medians of their ratios to the plain router of the same round."""
    only = set(arguments.only.split(",")) - {""}
    ways = [
        (name, plane, module)
        for name, (planes, module) in CONFIGURATIONS.items()
        for plane in (("netfilter", "xdp") if planes == "both" else (planes,))
        if not only or {name, plane, f"{plane} {name}"} & only or plane == "none"
    ]
    found: dict[str, dict[str, list[float]]] = {}
    with Lab() as lab:
        scene = Scene(lab)
        for number in range(arguments.rounds):
            for size in map(int, arguments.bytes.split(",")):
                plain = 0.0
                for name, plane, module in ways:
                    print(
                        f"\rround {number + 1}: {size} bytes, {plane} {name:<12}", end="", file=sys.stderr, flush=True
                    )
                    said = scene.measure(plane, module, arguments.seconds, size)
                    plain = said["per_s"] if plane == "none" else plain
                    into = found.setdefault(f"{size} {plane} {name}", {"per_s": [], "ratio": [], "lost": []})
                    into["per_s"].append(said["per_s"])
                    into["ratio"].append(said["per_s"] / plain)
                    into["lost"].append(said["lost"])
    print(file=sys.stderr)
    return {key: {name: statistics.median(values) for name, values in each.items()} for key, each in found.items()}


def show(found: dict[str, dict[str, float]]) -> None:
    """A table."""
    print(f"{'bytes plane configuration':<32} {'packets/s':>11} {'ratio':>6} {'lost':>7}")
    for key, each in found.items():
        print(f"{key:<32} {each['per_s']:11,.0f} {each['ratio']:6.2f} {each['lost']:7.2%}")


if __name__ == "__main__":
    sys.exit(main())

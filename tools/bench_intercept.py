"""How many packets a second each interceptor catches and sends on, with a loop above it that only changes a byte.

Sender, node and receiver are three namespaces in a row; the sender floods, the receiver's kernel counts. Rounds of all
ways follow each other, so that a machine that is busy with other things is so for each of them; medians are shown. The
processor time per packet is the figure to compare: it does not depend on who else is running.

    python -m tools.bench_intercept [--rounds 5] [--seconds 2] [--bytes 340] [--json]
"""

import argparse
import json
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import trio

from netserv.signaling.gist.addresses import GIST_PORT
from netserv.signaling.transport.choice import Method, intercepting
from netserv.signaling.transport.intercept import InterceptConfig, Interceptor
from netserv.signaling.transport.udp import UdpPort
from tools.netlab import Host, Lab, LabError
from tools.netlab_chain import chain
from tools.netlab_process import end_by_exception

WAYS: Final = ("tproxy", "nfqueue", "none")
"`none`: the node is a plain router."
HEAD: Final = bytes.fromhex("4e04bda5012000017fc08040")
SETTLE_S: Final = 0.3
"For what still waits in queues when the sender has ended."


def flood(destination: str, seconds: float, size: int) -> int:
    """Send Queries as fast as one process can, and print how many."""
    payload, sent, end = HEAD.ljust(size, b"x"), 0, time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((destination, GIST_PORT))
        while time.monotonic() < end:
            for _ in range(100):
                try:
                    sock.send(payload)
                except ConnectionError:  # the receiver's kernel speaks
                    continue
            sent += 100
    print(json.dumps({"sent": sent}), flush=True)
    return 0


async def _loop(interceptor: Interceptor) -> None:
    while True:
        await interceptor.ready()
        while (packet := interceptor.take()) is not None:
            payload = packet.payload
            interceptor.forward(packet, b"%b%c%b" % (payload[:5], payload[5] - 1, payload[6:]))


async def _node(method: str) -> None:
    async with AsyncExitStack() as opened:
        port = opened.enter_context(UdpPort())
        interceptor = await opened.enter_async_context(
            intercepting(Method(method), InterceptConfig(newcomers_per_s=0), port)
        )
        nursery = await opened.enter_async_context(trio.open_nursery())
        nursery.start_soon(_loop, interceptor)
        before = time.process_time()
        print("ready", flush=True)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
        spent = time.process_time() - before
        print(json.dumps({"cpu_s": spent, **interceptor.counters}), flush=True)
        nursery.cancel_scope.cancel()


def _received(host: Host) -> int:
    """Packets that the receiver's kernel has counted, and dropped."""
    lines = host.run("iptables", "-t", "raw", "-L", "PREROUTING", "-v", "-x", "-n").stdout.splitlines()
    return next(int(line.split()[0]) for line in lines if "DROP" in line)


def _round(way: str, hosts: tuple[Host, Host, Host], seconds: float, size: int) -> dict[str, float]:
    sender, node, receiver = hosts
    me = [sys.executable, "-m", "tools.bench_intercept"]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = None
    if way != "none":
        process = node.popen(*me, "node", way, env=path)
        process.wait_for("ready")
    before = _received(receiver)
    done = sender.run(*me, "flood", receiver.ipv4, str(seconds), str(size), env=path, timeout=seconds + 30)
    if process is None:
        return {"per_s": (_received(receiver) - before) / seconds, "us": 0.0, "sent_per_s": _sent(done.stdout, seconds)}
    time.sleep(SETTLE_S)
    process.stop()
    counted = json.loads(process.log.splitlines()[-1])
    came = _received(receiver) - before
    if counted["caught"] == 0 or came < counted["forwarded"] * 0.99:
        raise LabError(f"{way}: {came} packets came of {counted}")
    return {
        "per_s": counted["forwarded"] / seconds,
        "us": counted["cpu_s"] / counted["caught"] * 1e6,
        "sent_per_s": _sent(done.stdout, seconds),
    }


def _sent(text: str, seconds: float) -> float:
    return float(json.loads(text)["sent"]) / seconds


def measure(rounds: int, seconds: float, size: int) -> dict[str, dict[str, float]]:
    """Run all ways in turns; the medians of each."""
    with Lab() as lab:
        sender, node, receiver = chain(lab, "sender", "node", "receiver")
        receiver.run("iptables", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", str(GIST_PORT), "-j", "DROP")
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS:
                found[way].append(_round(way, (sender, node, receiver), seconds, size))
                print(f"\rround {number + 1} of {rounds}: {way:<8}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    return {
        way: {name: statistics.median(each[name] for each in results) for name in results[0]}
        for way, results in found.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; `node` and `flood` are the programs that it starts in the laboratory."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["flood"]:
        return flood(words[1], float(words[2]), int(words[3]))
    if words[:1] == ["node"]:
        trio.run(_node, words[1])
        return 0
    parser = argparse.ArgumentParser(prog="python -m tools.bench_intercept", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of flood in each round")
    parser.add_argument("--bytes", type=int, default=340, help="of UDP payload")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    end_by_exception()
    try:
        medians = measure(arguments.rounds, arguments.seconds, arguments.bytes)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(medians))
        return 0
    print(f"medians of {arguments.rounds} rounds, {arguments.bytes} bytes of payload")
    for way, figures in medians.items():
        cost = f"{figures['us']:6.1f} us of processor time each" if figures["us"] else "plain router"
        print(f"{way:<8} {figures['per_s']:9,.0f} packets/s sent on   {cost}   (flood {figures['sent_per_s']:,.0f}/s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How long `find --block --near` takes among many nodes' records in a real DHT, and whether it finds the nearest.

Four hosts of four subnets run `mdht run`. The records, each written by its own node's key, and the nodes' answers to
PING come from a fifth one, which has an address in another /24 for each node. Searches go through the first host's
node, one after the other, from random places; what they find is compared with all records by brute force.

    python -m tools.bench_discovery_dht [--nodes 1000] [--trials 100] [--quick] [--json]
"""

import argparse
import json
import os
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import trio

from mdht.api import Mdht
from mdht.config import MdhtConfig
from mdht.node import open_mdht
from mdht.signing import SigningKey
from netserv_discovery.dht_settings import DhtSettings
from netserv_discovery.find import Finder, open_finder
from netserv_discovery.keys import keys_of
from netserv_discovery.location import Location, distance_km
from netserv_discovery.ping import Responder
from netserv_discovery.ping_io import DATAGRAM_MAX
from netserv_discovery.record import NodeRecord, encode, split
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import Wanted
from tools.netlab import Host, Lab, LabError, Process
from tools.netlab_process import end_by_exception

LIMIT: Final = 5
NEED: Final = "ffmpeg>=5"
PING_PORT: Final = 5_000
ISSUED: Final = int(time.time())
LEASE_S: Final = 3_600
PUTS_AT_ONCE: Final = 24
ADDRESSES: Final = "20.0.0.0/8"
"""Of the nodes; nothing leaves the laboratory. They and the hosts are of public ranges, as on the internet: hosts with
addresses for documentation do not tell those to hosts that have others."""
QUICK: Final = (200, 40)
"Nodes and trials."
WITHIN_KM: Final = 0.001
"Nodes at equal distance may stand in any order."


def nodes_of(seed: int, count: int, issued: int) -> list[tuple[SigningKey, NodeRecord]]:
    """The same nodes for the same seed: places all over the inhabited latitudes, three of four with what is wanted."""
    rng = Random(seed)
    found = []
    for number in range(count):
        key = SigningKey.from_seed(rng.randbytes(32))
        record = NodeRecord(
            public_key=key.public_key,
            node_id=f"node-{number}",
            addresses=(bytes((20, number >> 8, number & 255, 1)),),
            ping_port=PING_PORT,
            blocks=(Offer("ffmpeg", rng.choice(("4.4", "5.1", "6.0", "7.0"))),),
            location=Location(rng.uniform(-55, 70), rng.uniform(-180, 180)),
            operator=f"Operator {number}",
            issued=issued,
            expires=issued + LEASE_S,
        )
        found.append((key, record))
    return found


# ---- the host of all nodes ---------------------------------------------------------------------------------------


async def crowd(seed: int, count: int, issued: int, entry: str) -> None:
    """Put the nodes' records, then answer PINGs until killed."""
    nodes = nodes_of(seed, count, issued)
    config = MdhtConfig(port=0, bootstrap=(entry,), presence=False)
    async with open_mdht(config, SigningKey.generate()) as node, trio.open_nursery() as nursery:
        for key, record in nodes:
            nursery.start_soon(_answer, key, str(record.ip_addresses[0]))
        while node.status().contacts < 3:  # noqa: ASYNC110 - the node has no event for it
            await trio.sleep(0.05)
        limiter, done, begun = trio.CapacityLimiter(PUTS_AT_ONCE), Counter[str](), time.monotonic()
        async with trio.open_nursery() as putting:
            for key, record in nodes:
                await limiter.acquire_on_behalf_of(key)
                putting.start_soon(_put, Mdht(node.hosts, key), key, record, limiter, done)
        told = {"puts": done["puts"], "refused": done["refused"], "put_s": time.monotonic() - begun}
        print(json.dumps(told), flush=True)


async def _put(writer: Mdht, key: SigningKey, record: NodeRecord, limiter: trio.CapacityLimiter, done: Any) -> None:
    data = encode(split(record)[0], key)
    for place in keys_of(record):
        while not (await writer.put(place.key, data, ttl_s=LEASE_S)).stored:
            done["refused"] += 1  # over the rate of one source: all nodes are behind one host here
            await trio.sleep(0.5)
        done["puts"] += 1
    limiter.release_on_behalf_of(key)


async def _answer(key: SigningKey, address: str) -> None:
    responder = Responder(key, Random(address), trio.current_time())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, PING_PORT))
        sock.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(sock)
            data, source = sock.recvfrom(DATAGRAM_MAX)
            answer = responder.receive(data, source, trio.current_time())
            if answer is not None:
                sock.sendto(answer, source)


# ---- the host that asks ------------------------------------------------------------------------------------------


async def search(seed: int, count: int, issued: int, trials: int) -> None:
    """Search from random places, and say how long each took and whether it was right."""
    need = parse_need(NEED)
    records = [record for _, record in nodes_of(seed, count, issued) if need.met_by(record.blocks)]
    rng = Random(seed + 1)
    async with open_finder(DhtSettings()) as finder:
        for _ in range(trials):
            place = Location(rng.uniform(-60, 75), rng.uniform(-180, 180))
            if rng.random() < 0.5:  # half of the users are near a node
                place = rng.choice(records).location or place
            print(json.dumps(await _trial(finder, records, place)), flush=True)


async def _trial(finder: Finder, records: list[NodeRecord], place: Location) -> dict[str, Any]:
    begun, spent = time.perf_counter(), time.process_time()
    done = await finder.find(Wanted(blocks=(parse_need(NEED),), near=place, limit=LIMIT))
    elapsed_s, spent_s = time.perf_counter() - begun, time.process_time() - spent
    right = sorted(distance_km(place, each.location) for each in records if each.location)[:LIMIT]
    found = [each.distance_km or 0.0 for each in done.found]
    nearest = bool(found) and abs(found[0] - right[0]) <= WITHIN_KM
    every = len(found) == LIMIT and all(abs(a - b) <= WITHIN_KM for a, b in zip(sorted(found), right, strict=True))
    return {
        "ms": elapsed_s * 1000.0,
        "cpu_ms": spent_s * 1000.0,
        "nearest": nearest,
        "all": every,
        "certain": done.certain,
        "confirmed": sum(each.trust.name == "CONFIRMED" for each in done.found),
        "keys": done.gets,
        "rounds": done.rounds,
        "pings": done.pings,
    }


# ---- the laboratory ----------------------------------------------------------------------------------------------


def measure(count: int, trials: int, seed: int) -> dict[str, Any]:
    """Build it, fill it, search in it."""
    with Lab() as lab:
        links = [lab.subnet(f"s{number}", f"45.0.{number}.0/24") for number in range(5)]
        hosts = [lab.host(f"h{number}", link) for number, link in enumerate(links)]
        router = lab.router("router", *links)
        *dht, full = hosts
        lab.ip(f"route add {ADDRESSES} via {full.ipv4}", router.namespace)
        lab.ip(f"route add local {ADDRESSES} dev lo", full.namespace)
        daemons = [host.popen(host.program("mdht"), "run", *_entry(host, dht[0])) for host in dht]
        for daemon in daemons:
            daemon.wait_for("host ")
        print(f"{count} nodes put their records ...", end="", file=sys.stderr, flush=True)
        issued = ISSUED
        words = ("crowd", str(seed), str(count), str(issued), dht[0].ipv4)
        others = _program(full, *words)
        filled: dict[str, Any] = json.loads(others.wait_for('"puts"', 60.0 + count).splitlines()[-1])
        print(f" {filled['puts']} records; searching", file=sys.stderr, flush=True)
        before = [processor_s(each) for each in (*daemons, others)]
        done = dht[0].run(*_words("search", str(seed), str(count), str(issued), str(trials)), env=_path(), timeout=600)
        spent = [processor_s(each) - b for each, b in zip((*daemons, others), before, strict=True)]
        results = [json.loads(line) for line in done.stdout.splitlines()]
        filled |= {"node_cpu_ms": spent[0] / trials * 1000, "others_cpu_ms": sum(spent[1:]) / trials * 1000}
        status = json.loads(dht[0].run(dht[0].program("mdht"), "status", "--json").stdout)
        return _summary(results) | filled | {"nodes": count, "held": status["records"]}


def _entry(host: Host, first: Host) -> tuple[str, ...]:
    return () if host is first else ("--bootstrap", first.ipv4)


def processor_s(process: Process) -> float:
    """Processor time that a program has used so far (proc(5): fields 14 and 15 of `stat`)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    times = sorted(each["ms"] for each in results)
    return {
        "trials": len(results),
        "p50_ms": statistics.median(times),
        "p90_ms": times[int(0.9 * (len(times) - 1))],
        "max_ms": times[-1],
        "cpu_ms": statistics.mean(each["cpu_ms"] for each in results),
        "nearest": sum(each["nearest"] for each in results),
        "all": sum(each["all"] for each in results),
        "certain": sum(each["certain"] for each in results),
        "confirmed": statistics.mean(each["confirmed"] for each in results),
        "keys": statistics.mean(each["keys"] for each in results),
        "rounds": dict(Counter(each["rounds"] for each in results)),
        "pings": statistics.mean(each["pings"] for each in results),
    }


def _words(*words: str) -> list[str]:
    return [sys.executable, "-m", "tools.bench_discovery_dht", *words]


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


def _program(host: Host, *words: str) -> Process:
    return host.popen(*_words(*words), env=_path())


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    trials, put_ms = result["trials"], result["put_s"] * 1000 / result["puts"]
    others = f"{result['others_cpu_ms']:.1f} ms in all others"
    return [
        f"find --block '{NEED}' --near ... --limit {LIMIT}, among the records of {result['nodes']} nodes",
        f"  records   {result['puts']}, put at {put_ms:.1f} ms each; the node that is asked holds {result['held']}",
        f"  time      p50 {result['p50_ms']:.1f} ms, p90 {result['p90_ms']:.1f} ms, longest {result['max_ms']:.1f} ms",
        f"  processor {result['cpu_ms']:.1f} ms here, {result['node_cpu_ms']:.1f} ms in the node asked, {others}",
        f"  right     the nearest in {result['nearest']} of {trials} trials, all {LIMIT} in {result['all']}",
        f"  certain   by its own word in {result['certain']}; {result['confirmed']:.1f} of {LIMIT} answered PING",
        f"  effort    {result['keys']:.1f} keys, {result['pings']:.1f} pings; searches by rounds: {result['rounds']}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; `crowd` and `search` are the programs that it starts in the laboratory."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["crowd"]:
        trio.run(crowd, int(words[1]), int(words[2]), int(words[3]), words[4])
        return 0
    if words[:1] == ["search"]:
        trio.run(search, int(words[1]), int(words[2]), int(words[3]), int(words[4]))
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench_discovery_dht", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK[0]} nodes and {QUICK[1]} trials")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    count, trials = QUICK if arguments.quick else (arguments.nodes, arguments.trials)
    end_by_exception()
    try:
        result = measure(count, trials, arguments.seed)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(result))
        return 0
    print("\n".join(lines(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

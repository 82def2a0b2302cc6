"""What finding a node costs in processor time: records read and verified, and whole searches in a store in memory.

`python -m tools.bench_discovery`; medians over several rounds, each of another seed.
"""

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from mdht.signing import SigningKey
from netserv_discovery.finder import AskPing, Done, FindEffect, Get, Search, Value
from netserv_discovery.keys import keys_of
from netserv_discovery.location import Location
from netserv_discovery.ping import Measured, Outcome
from netserv_discovery.record import NodeRecord, check_signature, decode, encode, made_name
from netserv_discovery.versions import Need, Offer
from netserv_discovery.want import Wanted

UNIX: Final = 1_750_000_000
SEARCHES: Final = 50
BLOCKS: Final = ("ffmpeg", "http", "sip", "geoip", "stun")

Store = dict[bytes, list[Value]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench_discovery", description="Measure how nodes are found.")
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    rounds = [measured(options.nodes, Random(seed)) for seed in range(options.rounds)]
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        print(f"{name:<44} {statistics.median(values):>10,.1f}   ({min(values):,.1f} to {max(values):,.1f})")
    return 0


def measured(nodes: int, rng: Random) -> dict[str, float]:
    """One round."""
    keys = [SigningKey.from_seed(rng.randbytes(32)) for _ in range(nodes)]
    records = [record(key, rng) for key in keys]
    pairs = list(zip(records, keys, strict=True))
    signed = [encode(each, key) for each, key in pairs]
    found = {
        "record [B]": statistics.mean(map(len, signed)),
        "encode and sign [us]": micros(lambda at: encode(*pairs[at]), nodes),
        "decode without its signature [us]": micros(lambda at: decode(signed[at], UNIX, verified=False), nodes),
        "verify the signature [us]": micros(lambda at: check_signature(records[at], signed[at]), nodes),
    }
    store: Store = defaultdict(list)
    for (each, key), data in zip(pairs, signed, strict=True):
        for place in keys_of(each):
            store[place.key].append(Value(key.public_key, data))
    for ping in (False, True):
        took, gets = searches(store, rng, ping=ping)
        what = "with PING" if ping else "without PING"
        found[f"search {what}, median [ms of processor]"] = statistics.median(took) * 1e3
        found[f"search {what}, longest [ms of processor]"] = max(took) * 1e3
        found[f"search {what}, keys asked"] = statistics.mean(gets)
    return found


def record(key: SigningKey, rng: Random) -> NodeRecord:
    """A node anywhere on the sphere, with two blocks."""
    return NodeRecord(
        public_key=key.public_key,
        node_id=made_name(key.public_key),
        addresses=(bytes([80, *rng.randbytes(3)]),),
        ping_port=4_270,
        blocks=tuple(Offer(name, f"{rng.randrange(3, 8)}.0") for name in rng.sample(BLOCKS, 2)),
        location=anywhere(rng),
        operator="Columbia University",
        issued=UNIX - 10,
        expires=UNIX + 290,
    )


def anywhere(rng: Random) -> Location:
    """A place, each square kilometre as likely as any other."""
    return Location(math.degrees(math.asin(rng.uniform(-1, 1))), rng.uniform(-180, 180))


def micros(call: Callable[[int], object], count: int) -> float:
    """Microseconds of one call."""
    started = time.process_time()
    for at in range(count):
        call(at)
    return (time.process_time() - started) / count * 1e6


def searches(store: Store, rng: Random, *, ping: bool) -> tuple[list[float], list[int]]:
    """Processor seconds of each search, and its keys."""
    took, gets = [], []
    for _ in range(SEARCHES):
        wanted = Wanted(blocks=(Need("ffmpeg"),), near=anywhere(rng), ping=ping)
        started = time.process_time()
        gets.append(search(store, wanted).gets)
        took.append(time.process_time() - started)
    return took, gets


def search(store: Store, wanted: Wanted) -> Done:
    """One search; whatever is asked is answered at once."""
    core = Search(wanted)
    queue: list[FindEffect] = core.start(0.0, UNIX)
    while core.done is None:
        match queue.pop(0):
            case Get(key=key):
                queue += core.values(key, store.get(key, ()), 0.0)
            case AskPing(target=target):
                outcome = Measured(target=target, outcome=Outcome.ANSWERED, rtt_s=0.01, load=1)
                queue += core.measured(outcome, 0.0)
            case Done():
                break
    assert core.done is not None
    return core.done


if __name__ == "__main__":
    raise SystemExit(main())

"""Options that describe a scenario, shared by the commands that run one, and what this machine can hold."""

import argparse
import math
import re
from pathlib import Path
from typing import Final

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.cli_options import number, span, whole
from dhtboot.errors import LocalProtocolError
from dhtboot.sim.config import Churn, Crash, Partition, ProtocolName, Scenario

PROTOCOLS: Final[tuple[ProtocolName, ...]] = ("chord", "kademlia")
NODES_MAX: Final = 10_000_000
"More addresses than that the simulated network does not have."
BYTES_PER_NODE: Final = {"chord": 16_000, "kademlia": 64_000}
"Resident memory per node, measured (docs/bootstrap.md), rounded up."
BASE_BYTES: Final = 100_000_000
HOUR_S: Final = 3600.0


def add_scenario_options(parser: argparse.ArgumentParser) -> None:
    """Add everything that describes the network, the protocol's settings and the run."""
    default = Scenario()
    _add_network(parser, default)
    _add_protocol(parser)
    _add_run(parser, default)


def _add_network(parser: argparse.ArgumentParser, default: Scenario) -> None:
    network = parser.add_argument_group("network")
    network.add_argument("--delay", type=number(0.1, 10_000), default=50.0, metavar="MS", help="mean packet delay (50)")
    network.add_argument("--jitter", type=number(0, 10_000), default=5.0, metavar="MS", help="its deviation (5)")
    network.add_argument("--loss", type=number(0, 0.99), default=0.0, metavar="P", help="share of packets lost (0)")
    network.add_argument("--churn", type=_churn, metavar="KIND:S", help="exponential:84 or pareto:84 (median life, s)")
    network.add_argument(
        "--lease",
        type=number(2, 1e6, " s"),
        default=default.lease_s,
        metavar="S",
        help="of the bootstrap server's list (for ever); with churn a few seconds less than the median life",
    )
    network.add_argument(
        "--partition", type=_partition, action="append", default=[], metavar="A-B:P", help="cut off a share from A to B"
    )
    network.add_argument(
        "--crash", type=_crash, action="append", default=[], metavar="T:P[:R]", help="at T a share dies, back after R"
    )


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    protocol = parser.add_argument_group("protocol")
    protocol.add_argument("--join", choices=("aggressive", "standard"), default="aggressive", help="Chord's join")
    protocol.add_argument("--lookup", choices=("iterative", "recursive"), default="iterative", help="Chord's lookups")
    protocol.add_argument(
        "--stabilize", type=span(0.1, HOUR_S, " s"), default=(5.0, 5.0), metavar="S[-S]", help="Chord's period (5)"
    )
    protocol.add_argument(
        "--fix-fingers", type=span(0.1, HOUR_S, " s"), default=(10.0, 10.0), metavar="S[-S]", help="the other one (10)"
    )
    protocol.add_argument(
        "--settings", choices=("thesis", "live"), default="thesis", help="those of the experiments, or of live nodes"
    )


def _add_run(parser: argparse.ArgumentParser, default: Scenario) -> None:
    run = parser.add_argument_group("run")
    run.add_argument(
        "--duration", type=number(1, 1e6, " s"), default=default.duration_s, metavar="S", help="virtual seconds (50)"
    )
    run.add_argument("--until-converged", action="store_true", help="end when 95 %% are delivered; exit 3 if never")
    run.add_argument(
        "--interval", type=number(0.1, HOUR_S, " s"), default=default.interval_s, metavar="S", help="of the rates (5)"
    )
    run.add_argument(
        "--query-interval",
        type=number(0.01, HOUR_S, " s"),
        default=default.query_interval_s,
        metavar="S",
        help="between two test queries of a node (1)",
    )
    run.add_argument("--encode", action="store_true", help="encode and decode each message, as sockets do")


def scenario_of(
    options: argparse.Namespace, protocol: ProtocolName, nodes: int, seed: int, snapshots_s: tuple[float, ...] = ()
) -> Scenario:
    """The scenario that the options describe.

    Raises:
        LocalProtocolError: they make no sense together, or do not fit into this machine's memory.
    """
    base = Scenario()
    chord = ChordConfig.thesis() if options.settings == "thesis" else ChordConfig()
    kademlia = base.kademlia if options.settings == "thesis" else type(base.kademlia)()
    try:
        scenario = Scenario(
            protocol=protocol,
            nodes=nodes,
            rate_per_s=options.rate,
            seed=seed,
            duration_s=options.duration,
            until_converged=options.until_converged,
            chord=msgspec.structs.replace(
                chord,
                join=options.join,
                lookup=options.lookup,
                stabilize_min_s=options.stabilize[0],
                stabilize_max_s=options.stabilize[1],
                fix_fingers_min_s=options.fix_fingers[0],
                fix_fingers_max_s=options.fix_fingers[1],
            ),
            kademlia=kademlia,
            delay_s=options.delay / 1000.0,
            delay_deviation_s=options.jitter / 1000.0,
            loss=options.loss,
            query_interval_s=options.query_interval,
            interval_s=options.interval,
            churn=options.churn,
            partitions=tuple(options.partition),
            crashes=tuple(options.crash),
            snapshots_s=snapshots_s,
            lease_s=options.lease,
            encode=options.encode,
        )
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error
    check_memory(scenario)
    return scenario


def check_memory(scenario: Scenario, jobs: int = 1) -> None:
    """Refuse what this machine's memory cannot hold.

    Raises:
        LocalProtocolError: it cannot; the text says what it can.
    """
    free = available_bytes()
    fit = _fit(free / jobs, scenario.protocol)
    present = min(scenario.nodes, math.ceil(scenario.rate_per_s * scenario.duration_s) + 1)
    if present > fit:
        raise LocalProtocolError(
            f"{present:,} {scenario.protocol} nodes need about "
            f"{(BASE_BYTES + present * BYTES_PER_NODE[scenario.protocol]) / 1e9:.1f} GB a run; "
            f"{free / 1e9:.1f} GB are free here, enough for {fit:,} nodes" + (f" in each of {jobs} jobs" * (jobs > 1))
        )


def _fit(free_bytes: float, protocol: ProtocolName) -> int:
    return max(0, int((free_bytes - BASE_BYTES) / BYTES_PER_NODE[protocol]))


def _fitting() -> str:
    free = available_bytes()
    fit = " or ".join(f"{_fit(free, protocol):,} of {protocol}" for protocol in PROTOCOLS)
    return f"{free / 1e9:.1f} GB are free here, enough for {fit}"


def available_bytes() -> int:
    """Memory that can be used without swapping, as the kernel sees it."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    if not found:
        raise LocalProtocolError("/proc/meminfo does not say how much memory is available; dhtboot needs Linux")
    return int(found[1]) * 1024


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Add nodes, rate and seed of a single run."""
    parser.add_argument(
        "--nodes", type=whole(1, NODES_MAX, _fitting), default=10_000, metavar="N", help="nodes (10,000)"
    )
    parser.add_argument("--seed", type=whole(0, 1 << 62), default=1, metavar="N", help="of all chance (1)")
    add_rate_option(parser)


def add_rate_option(parser: argparse.ArgumentParser) -> None:
    """Add the rate of arrivals."""
    parser.add_argument(
        "--rate", type=number(0.001, 1e6, " a second"), default=1000.0, metavar="R", help="arrivals a second (1,000)"
    )


def _churn(text: str) -> Churn:
    kind, _, median = text.partition(":")
    try:
        return msgspec.convert({"distribution": kind, "median_s": float(median)}, Churn)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not exponential:SECONDS or pareto:SECONDS") from error


def _partition(text: str) -> Partition:
    found = re.fullmatch(r"([0-9.]+)-([0-9.]+):([0-9.]+)", text)
    try:
        start, end, share = (float(part) for part in found.groups()) if found else (0.0, 0.0, 0.0)
        return Partition(start_s=start, end_s=end, share=share)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not START-END:SHARE, as in 20-40:0.5") from error


def _crash(text: str) -> Crash:
    parts = text.split(":")
    try:
        at, share, *rest = (float(part) for part in parts)
        return Crash(at_s=at, share=share, restart_s=rest[0] if rest else None)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not TIME:SHARE or TIME:SHARE:RESTART, as in 30:0.2:10"
        ) from error

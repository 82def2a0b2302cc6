"""`dhtboot live`: the scenario on real sockets, beside what the simulator says of it."""

import argparse
import signal
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from dhtboot import results
from dhtboot.cli_options import INTERRUPTED, TERMINATED, Commands, add_command, directory, number, whole
from dhtboot.cli_progress import Bar
from dhtboot.cli_scenario import PROTOCOLS
from dhtboot.live import LiveResult, LiveRun
from dhtboot.sim.config import Scenario
from dhtboot.sim.metrics import convergence_s
from dhtboot.sim.result import Interval, RunResult
from dhtboot.sim.scenario import simulate

NODES_MAX: Final = 2_000
"Beyond it one process spends more time on the packets than there is."

_EXAMPLES: Final = """\
examples:
  dhtboot live --nodes 200                       200 Chord nodes with sockets of their own, and the prediction
  dhtboot live --nodes 200 --rate 1000 --interval 5   all at once, as in the thesis
  dhtboot live --protocol kademlia --nodes 100 --duration 30
  dhtboot live --nodes 200 --out live            the curve over the simulated ones, as PNG and SVG

exit status: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM
"""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A live run beside simulated ones with the delays that were measured."""

    scenario: Scenario
    live: LiveResult
    simulated: tuple[RunResult, ...]
    live_convergence_s: float | None
    simulated_convergence_s: float | None
    "Median over the seeds."


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    parser = add_command(
        commands,
        "live",
        run,
        summary="run an overlay on real sockets of this machine",
        description="Run nodes on real UDP sockets of this machine, with a delay like a long way's, and compare the "
        "outcome to simulations with the delays that were measured.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, default="chord", help="which overlay (chord)")
    parser.add_argument("--nodes", type=whole(2, NODES_MAX), default=200, metavar="N", help="nodes (200)")
    parser.add_argument("--rate", type=number(0.1, 10_000), default=40.0, metavar="R", help="arrivals a second (40)")
    parser.add_argument("--seed", type=whole(0, 1 << 62), default=1, metavar="N", help="of all chance (1)")
    parser.add_argument("--duration", type=number(1, 3600, " s"), default=20.0, metavar="S", help="seconds (20)")
    parser.add_argument("--interval", type=number(0.1, 60, " s"), default=1.0, metavar="S", help="of the rates (1)")
    parser.add_argument("--delay", type=number(0.1, 10_000), default=50.0, metavar="MS", help="injected delay (50)")
    parser.add_argument("--jitter", type=number(0, 10_000), default=5.0, metavar="MS", help="its deviation (5)")
    parser.add_argument("--predictions", type=whole(1, 100), default=5, metavar="N", help="simulated seeds (5)")
    parser.add_argument("--out", type=directory, metavar="DIR", help="write result and drawing there")
    parser.add_argument("--json", action="store_true", help="print the whole result as one line of JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(options: argparse.Namespace) -> int:
    """Run live, simulate, compare; return the exit status."""
    scenario = Scenario(
        protocol=options.protocol,
        nodes=options.nodes,
        rate_per_s=options.rate,
        seed=options.seed,
        duration_s=options.duration,
        interval_s=options.interval,
        delay_s=options.delay / 1000.0,
        delay_deviation_s=options.jitter / 1000.0,
    )
    live, status = trio.run(_live, scenario, options.quiet)
    if status:
        print(f"stopped after {len(live.intervals) * scenario.interval_s:g} s", file=sys.stderr)
        return status
    measured = msgspec.structs.replace(scenario, delay_s=live.delay_s, delay_deviation_s=live.delay_deviation_s)
    simulated = tuple(
        simulate(msgspec.structs.replace(measured, seed=options.seed + at)) for at in range(options.predictions)
    )
    times = [result.convergence_s for result in simulated if result.convergence_s is not None]
    found = Comparison(
        scenario=scenario,
        live=live,
        simulated=simulated,
        live_convergence_s=convergence_s(live.intervals, scenario, right=False),
        simulated_convergence_s=statistics.median(times) if times else None,
    )
    if options.json:
        print(msgspec.json.encode(found).decode(), flush=True)
    else:
        print("\n".join(_report(found)), flush=True)
    if options.out:
        _write(found, options.out)
    return 0


async def _live(scenario: Scenario, quiet: bool) -> tuple[LiveResult, int]:
    status = 0
    with Bar("live", scenario.duration_s, quiet=quiet) as bar:

        def on_interval(interval: Interval) -> None:
            bar.update(interval.start_s + scenario.interval_s, f"s, {interval.joined} of {interval.alive} joined")

        live = LiveRun(scenario, on_interval)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    nonlocal status
                    async for received in signals:
                        status = INTERRUPTED if received == signal.SIGINT else TERMINATED
                        live.stop.cancel()

                nursery.start_soon(watch)
                result = await live.run()
                nursery.cancel_scope.cancel()
    return result, status


def _report(found: Comparison) -> list[str]:
    lines = [f"{'s':>6} {'live':>7} {'simulated (median)':>19}"]
    for at, interval in enumerate(found.live.intervals):
        simulated = [r.intervals[at].delivery_rate for r in found.simulated if at < len(r.intervals)]
        end = interval.start_s + found.scenario.interval_s
        middle = f"{statistics.median(simulated):.1%}" if simulated else "-"
        lines.append(f"{end:>6g} {interval.delivery_rate:>7.1%} {middle:>19}")
    live, predicted = found.live_convergence_s, found.simulated_convergence_s
    delay = f"{found.live.delay_s * 1e3:.1f} ms, deviation {found.live.delay_deviation_s * 1e3:.1f} ms"
    apart = f"{abs(live - predicted) / predicted:.0%} apart" if live and predicted else "not both"
    return [
        *lines,
        f"one-way delay as measured: {delay}",
        f"95 % delivered: live {live} s, simulated {predicted} s: {apart}",
        f"datagrams: {', '.join(f'{name} {count}' for name, count in sorted(found.live.datagrams.items()))}",
    ]


def _write(found: Comparison, out: Path) -> None:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    out.mkdir(parents=True, exist_ok=True)
    base = f"live-{results.name_of(found.scenario)}"
    results.write(out / f"{base}.json", msgspec.json.encode(found))
    for kind, data in plotting.files(_draw(found, plotting)).items():
        print(f"wrote {results.write(out / f'{base}.{kind}', data)}", file=sys.stderr)


def _draw(found: Comparison, plotting: Any) -> Any:
    title = f"{found.scenario.protocol}, {found.scenario.nodes} nodes on real sockets and in the simulator"
    drawing, plot = plotting.axes(title, "time (s)", "delivered per sent")

    def curve(intervals: Sequence[Interval], **style: Any) -> None:
        ends = [interval.start_s + found.scenario.interval_s for interval in intervals]
        plot.plot(ends, [interval.delivery_rate for interval in intervals], **style)

    for at, result in enumerate(found.simulated):
        curve(result.intervals, color=plotting.COLOURS[0], alpha=0.4, label=None if at else "simulated")
    curve(found.live.intervals, color=plotting.COLOURS[1], marker="o", markersize=3, label="live")
    plot.axhline(0.95, color=plotting.GREY, linestyle=":", label="95 %")
    plot.set_ylim(bottom=0)
    plot.legend(loc="lower right")
    return drawing

"""`dhtboot serve`: the bootstrap server on UDP."""

import argparse
import math
import os
import random
import signal
from typing import Final

import msgspec
import trio

from dhtboot.bootstrap import BootstrapServer
from dhtboot.bootstrap_config import BootstrapConfig
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.cli_options import INTERRUPTED, Commands, add_command, host, network, port, print_json, seconds
from dhtboot.ids import format_address
from dhtboot.udp import UdpDriver, open_sockets
from dhtboot.wire import Codec

DEFAULT_PORT: Final = 27185
"Beside the 27183 and 27184 of `mdht`, so that both run on one host."

_EXAMPLES: Final = """\
examples:
  dhtboot serve                                   on all addresses, UDP port 27185
  dhtboot serve --host 127.0.0.1 --port 0 --json  on any free port of this host, for a script
  dhtboot serve --status-interval 60              a line about the nodes every minute
  kill -USR1 PID                                  such a line at once

exit status: 0 ended by SIGTERM, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C
"""


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    serve = add_command(
        commands,
        "serve",
        run,
        summary="run a bootstrap server",
        description="Run a bootstrap server: it tells nodes that want to join about one that has joined.",
        examples=_EXAMPLES,
    )
    serve.add_argument("--host", type=host, metavar="ADDRESS", help="numeric address to bind (all, IPv4 and IPv6)")
    serve.add_argument("--port", type=port, default=DEFAULT_PORT, help=f"UDP port, 0 for any ({DEFAULT_PORT})")
    serve.add_argument("--network", type=network, default="z2z", help="name of the overlay to serve (z2z)")
    serve.add_argument(
        "--lease", type=seconds, default=BootstrapConfig().lease_s, metavar="S", help="seconds without a report (600)"
    )
    serve.add_argument(
        "--status-interval", type=seconds, default=math.inf, metavar="S", help="seconds between status lines (never)"
    )
    serve.add_argument("--json", action="store_true", help="print the line of readiness as JSON too")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; return the exit status."""
    return trio.run(_serve, options)


async def _serve(options: argparse.Namespace) -> int:
    """Serve until a signal; return the exit status."""
    config = BootstrapConfig(lease_s=options.lease)
    codec = Codec(BootstrapPacket, network=options.network)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGUSR1) as signals:
        async with (
            open_sockets(options.host or "", options.port, fall_back=False) as sockets,
            trio.open_nursery() as nursery,
        ):
            server = BootstrapServer(config, random.SystemRandom(), trio.current_time())
            driver = UdpDriver(server, codec, sockets, lambda _effect: None)
            nursery.start_soon(driver.run)
            nursery.start_soon(_report_status, server, driver, options.status_interval)
            _report_ready(options, driver)
            async for number in signals:
                if number != signal.SIGUSR1:
                    nursery.cancel_scope.cancel()
                    return INTERRUPTED if number == signal.SIGINT else 0
                _print_status(server, driver)
    raise AssertionError("signals never end")


async def _report_status(server: BootstrapServer, driver: UdpDriver, interval_s: float) -> None:
    while True:
        await trio.sleep(interval_s)
        _print_status(server, driver)


def _report_ready(options: argparse.Namespace, driver: UdpDriver) -> None:
    addresses = [format_address(address) for address in driver.addresses]
    if options.json:
        print_json({"event": "ready", "network": options.network, "addresses": addresses, "pid": os.getpid()})
    else:
        print(f"bootstrap server of network {options.network} at {', '.join(addresses)}", flush=True)


def _print_status(server: BootstrapServer, driver: UdpDriver) -> None:
    status = msgspec.to_builtins(server.status(trio.current_time()))
    print_json({"event": "status", **status, "datagrams": dict(driver.counters)})

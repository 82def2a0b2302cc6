"""The command `dhtboot`: the bootstrap server on UDP."""

import argparse
import importlib.metadata
import ipaddress
import logging
import math
import os
import random
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import trio

from dhtboot.bootstrap import BootstrapConfig, BootstrapServer
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.errors import DhtbootError
from dhtboot.ids import format_address
from dhtboot.udp import UdpDriver, open_sockets
from dhtboot.wire import Codec

FAILED: Final = 1
INTERRUPTED: Final = 130
DEFAULT_PORT: Final = 27184
"Beside the 27183 of `mdht`, so that both run on one host."

_EXAMPLES: Final = """\
examples:
  dhtboot serve                                   on all addresses, UDP port 27184
  dhtboot serve --host 127.0.0.1 --port 0 --json  on any free port of this host, for a script
  dhtboot serve --status-interval 60              a line about the nodes every minute
  kill -USR1 PID                                  such a line at once

exit status: 0 ended by SIGTERM, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 ended by SIGTERM, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.
    """
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:  # after help, version or a usage message
        return int(stop.code or 0)
    level = logging.DEBUG if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="dhtboot: %(message)s", stream=sys.stderr)
    status = FAILED
    try:
        status = trio.run(_serve, options)
    except* KeyboardInterrupt:  # before signals were watched
        status = INTERRUPTED
    except* BrokenPipeError:
        # The reader of our output left; what is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except* DhtbootError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print(f"dhtboot: {error}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dhtboot",
        description="Tools around overlays that come into being from nothing.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dhtboot {importlib.metadata.version('z2z')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run a bootstrap server",
        description="Run a bootstrap server: it tells nodes that want to join about one that has joined.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--host", type=_host, metavar="ADDRESS", help="numeric address to bind (all, IPv4 and IPv6)")
    serve.add_argument("--port", type=_port, default=DEFAULT_PORT, help=f"UDP port, 0 for any ({DEFAULT_PORT})")
    serve.add_argument("--network", type=_network, default="z2z", help="name of the overlay to serve (z2z)")
    serve.add_argument(
        "--lease", type=_seconds, default=BootstrapConfig().lease_s, metavar="S", help="seconds without a report (600)"
    )
    serve.add_argument(
        "--status-interval", type=_seconds, default=math.inf, metavar="S", help="seconds between status lines (never)"
    )
    serve.add_argument("--json", action="store_true", help="print the line of readiness as JSON too")
    serve.add_argument("-v", "--verbose", action="store_true", help="tell of each refused datagram")
    return parser


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
        _print_json({"event": "ready", "network": options.network, "addresses": addresses, "pid": os.getpid()})
    else:
        print(f"bootstrap server of network {options.network} at {', '.join(addresses)}", flush=True)


def _print_status(server: BootstrapServer, driver: UdpDriver) -> None:
    status = msgspec.to_builtins(server.status(trio.current_time()))
    _print_json({"event": "status", **status, "datagrams": dict(driver.counters)})


def _print_json(fields: dict[str, Any]) -> None:
    print(msgspec.json.encode(fields).decode(), flush=True)


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a numeric IPv4 or IPv6 address") from error


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0..65535")
    return int(text)


def _network(text: str) -> str:
    if not 1 <= len(text) <= 64 or not text.isprintable():
        raise argparse.ArgumentTypeError("a network's name has 1 to 64 printable characters")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1.0 <= seconds <= 86_400.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..86400 seconds (a day)")
    return seconds

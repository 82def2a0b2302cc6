"""The command `netserv-discovery`."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Final

import trio

from dhtboot.one_line_parser import OneLineParser
from mdht.errors import MdhtError
from mdht.journal import set_up_logging
from netserv_discovery import cli_console
from netserv_discovery.errors import DiscoveryError
from z2z.errors import Z2zError

log = logging.getLogger(__name__)

FAILED: Final = 1
INTERRUPTED: Final = 130
_EXPECTED: Final = (DiscoveryError, MdhtError, Z2zError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 1 failed, 130 stopped by Ctrl-C; wrong usage exits with 2.
    """
    parser = OneLineParser(prog="netserv-discovery", description="NetServ nodes and their building blocks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    console = commands.add_parser(
        "console",
        help="show nodes, subnets and services on a page in the browser, until stopped",
        epilog=cli_console.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli_console.add_arguments(console)
    options = parser.parse_args(sys.argv[1:] if argv is None else argv)
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    set_up_logging("netserv-discovery", sys.stderr, levels[min(options.verbose, 2)])
    try:
        return trio.run(_until_signalled, options)
    except* _EXPECTED as group:
        _complain(group)
    return FAILED


def _complain(error: BaseException) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    log.error("%s", error)


async def _until_signalled(options: argparse.Namespace) -> int:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cli_console.run, options)
            async for number in signals:
                nursery.cancel_scope.cancel()
                return INTERRUPTED if number == signal.SIGINT else 0
    return FAILED

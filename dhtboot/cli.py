"""The command `dhtboot`: overlays that come into being from nothing, served, simulated, drawn and run for real."""

import argparse
import importlib.metadata
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from dhtboot import cli_completion, cli_figure, cli_live, cli_run, cli_serve, cli_sweep
from dhtboot.cli_options import FAILED, INTERRUPTED
from dhtboot.errors import DhtbootError
from dhtboot.one_line_parser import OneLineParser

_EPILOG: Final = """\
examples:
  dhtboot run chord --nodes 10000 --rate 1000     how 10,000 nodes form a ring, in virtual time
  dhtboot figure 2.1a                             a figure of the thesis, from fresh runs
  dhtboot sweep --nodes 1000,10000 --seeds 1-5    a grid of runs over all processor cores
  dhtboot live --nodes 200                        the same on real sockets of this machine
  dhtboot serve                                   a bootstrap server on UDP port 27185

`dhtboot COMMAND --help` tells more.
exit status: 0 done, 1 failed, 2 wrong usage, 3 not converged, 130 stopped by Ctrl-C, 143 by SIGTERM
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status, as the help says.
    """
    try:
        parser = whole_parser()
        options = parser.parse_args(argv)
    except SystemExit as stop:  # after help, version or a usage message
        return int(stop.code or 0)
    if options.command == "completion":
        return cli_completion.run(options, parser)
    level = logging.DEBUG if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="dhtboot: %(message)s", stream=sys.stderr)
    status = FAILED
    try:
        status = options.run(options)
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


def whole_parser() -> OneLineParser:
    """All that the command line may say."""
    parser = OneLineParser(
        prog="dhtboot",
        description="Overlays that come into being from nothing: a bootstrap server, a simulator, experiments.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dhtboot {importlib.metadata.version('z2z')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (cli_run, cli_figure, cli_sweep, cli_live, cli_serve):
        module.add_parser(commands)
    cli_completion.add_command(commands.add_parser, "dhtboot")
    return parser

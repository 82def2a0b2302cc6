"""The command `netserv-discovery`: NetServ nodes and their building blocks, advertised and found."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from dhtboot import cli_completion
from mdht.cli_running import run_command
from mdht.errors import MdhtError
from netserv_discovery import cli_advertise, cli_console, cli_find, cli_index
from netserv_discovery.cli_options import parse_arguments, whole_parser
from netserv_discovery.errors import DiscoveryError
from z2z.errors import Z2zError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 1 failed or nothing found, 130 stopped by Ctrl-C; wrong usage exits with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names are UTF-8, terminals may not be
            stream.reconfigure(errors="backslashreplace")
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    if options.command == "completion":
        return cli_completion.run(options, whole_parser())
    return run_command(
        "netserv-discovery",
        partial(_command, options),
        verbose=options.verbose,
        expected=(DiscoveryError, MdhtError, Z2zError),
        lasts=options.lasting(options),
    )


async def _command(options: argparse.Namespace) -> int:
    match options.command:
        case "advertise":
            return await cli_advertise.run(options)
        case "console":
            return await cli_console.run(options)
        case "find":
            return await cli_find.run(options)
        case _:
            return await cli_index.run(options)

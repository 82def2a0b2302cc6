"""The command `netserv`: signalling along paths, from a terminal."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from dhtboot import cli_completion
from mdht.cli_running import run_command
from mdht.errors import MdhtError
from netserv import cli_ask, cli_config, cli_daemon, cli_deploy, cli_key, cli_module, cli_status
from netserv.cli_options import parse_arguments, whole_parser
from netserv.errors import NetservError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 1 failed or nobody answered, 130 stopped by Ctrl-C; wrong usage exits with 2.
    """
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    if options.command == "completion":
        return cli_completion.run(options, whole_parser())
    if options.command == "gist-dump":
        from netserv import cli_dump  # noqa: PLC0415 - reads captures, and the library for that is slow to import

        return cli_dump.run(options)
    return run_command(
        "netserv",
        partial(_command, options),
        verbose=getattr(options, "verbose", 0),
        expected=(NetservError, MdhtError),
        lasts=options.command in {"run", "signal", "app"} or getattr(options, "keep", False),
    )


async def _command(options: argparse.Namespace) -> int:
    match options.command:
        case "key":
            return cli_key.run(options)
        case "module":
            return cli_module.run(options)
        case "config":
            return cli_config.run(options)
        case "run":
            from netserv import cli_run  # noqa: PLC0415 - all of a node

            return await cli_run.run(options)
        case "status":
            return await cli_status.run(options)
        case "deploy" | "remove":
            return await cli_deploy.run(options)
        case "app":
            from netserv import cli_app  # noqa: PLC0415 - what only applications need takes a tenth of a second

            return await cli_app.run(options)
        case "bench":
            from netserv import cli_bench  # noqa: PLC0415 - all of a node, and the figures

            return await cli_bench.run(options)
        case "probe" | "send":
            return await cli_ask.run(options)
        case _ if options.action == "daemon":
            return await cli_daemon.run(options)
        case _:
            return await cli_status.run(options)

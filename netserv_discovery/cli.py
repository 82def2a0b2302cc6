"""The command `netserv-discovery`: NetServ nodes and their building blocks, advertised and found."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import trio

from dhtboot import cli_completion
from mdht.errors import MdhtError
from mdht.journal import set_up_logging
from netserv_discovery import cli_advertise, cli_console, cli_find, cli_index
from netserv_discovery.cli_options import parse_arguments, whole_parser
from netserv_discovery.errors import DiscoveryError
from z2z.errors import Z2zError

log = logging.getLogger(__name__)

FAILED: Final = 1
INTERRUPTED: Final = 130
_EXPECTED: Final = (DiscoveryError, MdhtError, Z2zError, BrokenPipeError)


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
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    set_up_logging("netserv-discovery", sys.stderr, levels[min(options.verbose, 2)])
    try:
        return trio.run(_until_signalled, options)
    except KeyboardInterrupt:  # before signals were watched, or a second one during the clean-up
        return INTERRUPTED


async def _until_signalled(options: argparse.Namespace) -> int:
    """Run the command; Ctrl-C and SIGTERM let it clean up."""
    outcome = FAILED
    caught: list[int] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, nursery.cancel_scope, caught)
        outcome = await _guarded(options)
        nursery.cancel_scope.cancel()
    if not caught:
        return outcome
    if caught[0] == signal.SIGINT:
        return INTERRUPTED
    # For what runs until stopped SIGTERM is the regular end; anything else did not get done.
    return 0 if options.lasting(options) else FAILED


async def _watch_signals(
    scope: trio.CancelScope, caught: list[int], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            caught.append(number)
            scope.cancel()
            return


async def _guarded(options: argparse.Namespace) -> int:
    """Run the command; what may go wrong is one line on stderr and status 1."""
    try:
        match options.command:
            case "advertise":
                return await cli_advertise.run(options)
            case "console":
                return await cli_console.run(options)
            case "find":
                return await cli_find.run(options)
            case _:
                return await cli_index.run(options)
    except _EXPECTED as error:
        _complain(error)
    except BaseExceptionGroup as group:  # an expected error that passed through a nursery
        expected, rest = group.split(_EXPECTED)
        if rest is not None:
            raise rest from group
        _complain(expected)
    return FAILED


def _complain(error: BaseException | None) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokenPipeError):
        # The reader of our output left (`netserv-discovery find ... | head`); what is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        log.error("%s", error)

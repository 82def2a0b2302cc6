"""The command `netserv`: signalling along paths, from a terminal."""

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
from netserv import cli_ask, cli_daemon, cli_dump, cli_key, cli_status
from netserv.cli_options import parse_arguments, whole_parser
from netserv.errors import NetservError

log = logging.getLogger(__name__)

FAILED: Final = 1
INTERRUPTED: Final = 130
_EXPECTED: Final = (NetservError, MdhtError, BrokenPipeError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 1 failed or nobody answered, 130 stopped by Ctrl-C; wrong usage exits with 2.
    """
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    if options.command == "completion":
        return cli_completion.run(options, whole_parser())
    if options.command == "gist-dump":
        return cli_dump.run(options)
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    set_up_logging("netserv", sys.stderr, levels[min(getattr(options, "verbose", 0), 2)])
    try:
        if options.command == "key":
            return cli_key.run(options)
        return trio.run(_until_signalled, options)
    except _EXPECTED as error:
        _complain(error)
        return FAILED
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
    # For a daemon SIGTERM is the regular end; anything else did not get done.
    return 0 if options.command == "signal" else FAILED


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
            case "probe" | "send":
                return await cli_ask.run(options)
            case _ if options.action == "daemon":
                return await cli_daemon.run(options)
            case _:
                return await cli_status.run(options)
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
        # The reader of our output left (`netserv probe ... | head`); what is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        log.error("%s", error)

"""How a command of the suite runs: until it is done or a signal comes; what may go wrong is one line on stderr."""

import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from mdht.journal import set_up_logging

log = logging.getLogger(__name__)

FAILED: Final = 1
INTERRUPTED: Final = 130
_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)


def run_command(
    program: str,
    work: Callable[[], Awaitable[int]],
    *,
    verbose: int,
    expected: tuple[type[Exception], ...],
    lasts: bool,
) -> int:
    """Run a command; Ctrl-C and SIGTERM let it clean up.

    Args:
        program: stands before each line of its log.
        work: what it does; returns its exit status.
        verbose: times that `-v` was given.
        expected: errors that are no bugs: each is one line and status 1.
        lasts: it runs until it is stopped, so that SIGTERM is its regular end; anything else did not get done.

    Returns:
        The status of `work`, 1 failed, 130 stopped by Ctrl-C.
    """
    set_up_logging(program, sys.stderr, _LEVELS[min(verbose, 2)])
    try:
        return trio.run(_until_signalled, work, (*expected, BrokenPipeError), lasts)
    except KeyboardInterrupt:  # before signals were watched, or a second one during the clean-up
        return INTERRUPTED


async def _until_signalled(
    work: Callable[[], Awaitable[int]], expected: tuple[type[Exception], ...], lasts: bool
) -> int:
    outcome = FAILED
    caught: list[int] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, nursery.cancel_scope, caught)
        outcome = await _guarded(work, expected)
        nursery.cancel_scope.cancel()
    if not caught:
        return outcome
    if caught[0] == signal.SIGINT:
        return INTERRUPTED
    return 0 if lasts else FAILED


async def _watch_signals(
    scope: trio.CancelScope, caught: list[int], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            caught.append(number)
            scope.cancel()
            return


async def reread_on_hangup(
    reread: Callable[[], None],
    expected: tuple[type[Exception], ...],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Read settings again with each SIGHUP, until cancelled.

    Args:
        reread: does it; raises if they are wrong, and has changed nothing then.
        expected: what it raises.
        task_status: told when signals are taken.
    """
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _number in signals:
            try:
                reread()
            except expected as error:
                log.error("%s; what was read before stays", error)  # noqa: TRY400 - its text says all


async def _guarded(work: Callable[[], Awaitable[int]], expected: tuple[type[Exception], ...]) -> int:
    try:
        return await work()
    except expected as error:
        _complain(error)
    except BaseExceptionGroup as group:  # an expected error that passed through a nursery
        found, rest = group.split(expected)
        if rest is not None:
            raise rest from group
        _complain(found)
    return FAILED


def _complain(error: BaseException | None) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokenPipeError):
        # The reader of our output left (`mdht listen KEY | head`); what is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        log.error("%s", error)

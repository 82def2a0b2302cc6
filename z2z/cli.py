"""The command `z2z`."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

import trio

from dhtboot import cli_completion
from mdht.errors import MdhtError
from mdht.metrics_http import MetricsServer
from mdht.service_manager import of_this_process
from mdht.signing import SigningKey
from z2z.bridge import Bridge, BridgeConfig
from z2z.cli_identity import identity
from z2z.cli_identity_options import IdentityOptions
from z2z.cli_look import browse, status
from z2z.cli_look_options import BrowseOptions, StatusOptions
from z2z.cli_options import (
    BridgeOptions,
    CompletionOptions,
    Options,
    parse_arguments,
)
from z2z.cli_output import Terminal, set_up_logging
from z2z.cli_units import install_units
from z2z.cli_units_options import UnitsOptions
from z2z.cover import PLAIN, Secret
from z2z.errors import Z2zError
from z2z.prometheus import exposition
from z2z.reports import headline
from z2z.seal import Site, site_id

log = logging.getLogger(__name__)

INTERRUPTED: Final = 130
"Exit status after Ctrl-C, as shells have it (128 + SIGINT)."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    Args:
        argv: arguments without the program's name; those of the process if None.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names are UTF-8, terminals may not be
            stream.reconfigure(errors="backslashreplace")
    try:
        options = parse_arguments(list(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    set_up_logging(options.verbosity)
    try:
        return trio.run(_run, options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseExceptionGroup as group:
        expected, rest = group.split((Z2zError, MdhtError))
        if rest is not None or expected is None:
            raise
        error: BaseException = expected
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        log.error("%s", error)  # noqa: TRY400 - one line is what the user gets
    except (Z2zError, MdhtError) as error:
        log.error("%s", error)  # noqa: TRY400 - as above
    return 1


async def _run(options: Options) -> int:
    """Run one command until it is done or a signal ends it."""
    stop = _Stop()
    code = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(stop.watch)
        match options:
            case BridgeOptions():
                code = await _bridge(options, stop)
            case BrowseOptions():
                nursery.start_soon(stop.cancel, nursery.cancel_scope)
                code = await browse(options, _terminal(options))
            case IdentityOptions():
                code = identity(options, _terminal(options))
            case UnitsOptions():
                code = install_units(options, _terminal(options))
            case CompletionOptions(script=script):
                cli_completion.show(script)
            case StatusOptions():
                nursery.start_soon(stop.cancel, nursery.cancel_scope)
                code = await status(options, _terminal(options))
        nursery.cancel_scope.cancel()
    return code if stop.status is None else stop.status


class _Stop:
    """The wish to end, by signal."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.status: int | None = None
        self.on_hangup: Callable[[], None] | None = None
        "What SIGHUP asks for, where that is not the end."
        self._has_terminal = _terminal_is_there()

    async def watch(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take signals: the first one asks to end, a second Ctrl-C ends at once."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if self.event.is_set() and number == signal.SIGINT:
                    os._exit(INTERRUPTED)  # the user does not want to wait for any clean-up
                # The kernel sends the same signal when the terminal is closed, and then nobody wants to go on.
                closed = self._has_terminal and not _terminal_is_there()
                if number == signal.SIGHUP and not closed and self._goes_on():
                    continue
                self.status = INTERRUPTED if number == signal.SIGINT else 0
                self.event.set()

    def _goes_on(self) -> bool:
        """Act on a SIGHUP that asks to read again; whether it is one: a service has no terminal to lose."""
        if self.on_hangup is not None:
            self.on_hangup()
        elif of_this_process().present:
            log.info("SIGHUP: there is no policy to read again")
        else:
            return False
        return True

    async def cancel(self, scope: trio.CancelScope) -> None:
        """End work that has nothing to clean up."""
        await self.event.wait()
        scope.cancel()


def _terminal_is_there() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _terminal(options: Options) -> Terminal:
    stdout_is_data = isinstance(options, BridgeOptions) and "stream" in dict(options.exports)
    return Terminal(sys.stderr if stdout_is_data else sys.stdout, json=options.json, verbosity=options.verbosity)


async def _bridge(options: BridgeOptions, stop: _Stop) -> int:
    signer = SigningKey.load_or_create(options.identity)
    config = BridgeConfig(
        exports=options.exports,
        imports=options.imports,
        keys=options.keys,
        site=Site(id=site_id(signer.public_key), name=options.site_name),
        signer=signer,
        state_dir=options.state_dir,
        ttl_s=options.ttl_s,
        refresh_s=options.refresh_s,
        poll_s=options.poll_s,
        stale_s=options.stale_s,
        imports_max=options.imports_max,
        multicast_max=options.multicast_max,
        interface=options.interface,
        local_only=options.local_only,
        bootstrap=options.bootstrap,
        map_port=options.map_port,
        link_key_file=options.link_key_file,
        host_keys=options.host_keys,
        proxy=options.proxy,
        allow_private=options.allow_private,
        force_type=options.force_type,
        export_map=options.export_map,
        import_map=options.import_map,
        policy=options.policy,
        once=options.once,
        dry_run=options.dry_run,
        covers=tuple(map(Secret, options.secrets)) or (PLAIN,),
        trust=options.trust,
        sites=options.trusted_sites,
    )
    terminal, ready = _terminal(options), trio.Event()

    def on_ready(text: str) -> None:
        terminal.note(text)
        ready.set()

    bridge = Bridge(config, terminal.say, on_ready)
    if options.policy is not None and not options.once and not options.dry_run:
        stop.on_hangup = bridge.reread_policy
    async with trio.open_nursery() as nursery:
        if options.metrics is not None:
            server = MetricsServer(lambda: exposition([bridge.answer()]), "z2z")
            log.info("metrics at %s", await nursery.start(server.serve, options.metrics))
        nursery.start_soon(_report, bridge, ready, stop.event)
        status = await bridge.run(stop.event)
        nursery.cancel_scope.cancel()
    return status


async def _report(bridge: Bridge, ready: trio.Event, stop: trio.Event) -> None:
    """Tell the service manager how it goes, from when all is open until the end is asked for."""
    await ready.wait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(of_this_process().report, lambda: headline(bridge.answer().services))
        await stop.wait()
        nursery.cancel_scope.cancel()

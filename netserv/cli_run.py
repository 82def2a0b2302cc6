"""`netserv run`: be a node until stopped, say what matters, and tell the service manager."""

import argparse
import logging

import msgspec
import trio

from mdht.cli_running import reread_on_hangup
from mdht.http_io import listening_address
from mdht.metrics_http import MetricsServer
from mdht.service_manager import of_this_process
from netserv import cli_daemon
from netserv.controller.config import load_config
from netserv.errors import NetservError
from netserv.node import Node, open_node
from netserv.signaling.prometheus import exposition

log = logging.getLogger(__name__)


async def run(options: argparse.Namespace) -> int:
    """Be a node until cancelled.

    Raises:
        NetservError: the settings are wrong, or it cannot begin.
    """
    config = load_config(options.file)
    if options.state_dir is not None:
        config = msgspec.structs.replace(
            config, daemon=msgspec.structs.replace(config.daemon, state_dir=options.state_dir)
        )
    async with open_node(config) as node, trio.open_nursery() as nursery:
        if config.metrics is not None:
            server = MetricsServer(lambda: exposition(node.daemon.status()), "netserv")
            log.info("metrics at %s", await nursery.start(server.serve, listening_address(config.metrics)))
        await nursery.start(reread_on_hangup, lambda: _reread(node, options), (NetservError,))
        status = node.daemon.status()
        if options.json:
            print(msgspec.json.encode(status).decode(), flush=True)
        else:
            print(f"{cli_daemon.ready_line(status)}, packets by {node.plane.name}", flush=True)
        nursery.start_soon(of_this_process().report, lambda: headline(node))
        await trio.sleep_forever()
    return 0  # not reached: only cancelling ends it


def headline(node: Node) -> str:
    """One line for `systemctl status`."""
    return f"{len(node.active())} modules, packets by {node.plane.name}, {cli_daemon.headline(node.daemon.status())}"


def _reread(node: Node, options: argparse.Namespace) -> None:
    node.change(load_config(options.file))
    log.info("read again: %d publishers", len(node.config.policy.publishers))

"""`netserv signal daemon`: run until stopped, say what matters, and tell the service manager."""

import argparse
import logging
import os

import msgspec
import trio

from mdht.cli_running import reread_on_hangup
from mdht.metrics_http import MetricsServer
from mdht.service_manager import of_this_process
from netserv.errors import NetservError
from netserv.signaling.daemon import open_daemon
from netserv.signaling.daemon_config import DaemonConfig
from netserv.signaling.node_state import default_state_dir
from netserv.signaling.prometheus import exposition
from netserv.signaling.status import Status

log = logging.getLogger(__name__)


async def run(options: argparse.Namespace) -> int:
    """Be the daemon of this network namespace until cancelled.

    Raises:
        NetservError: it cannot begin.
    """
    async with open_daemon(config_of(options)) as daemon, trio.open_nursery() as nursery:
        if options.metrics:
            server = MetricsServer(lambda: exposition(daemon.status()), "netserv")
            log.info("metrics at %s", await nursery.start(server.serve, options.metrics))
        await nursery.start(reread_on_hangup, daemon.reread, (NetservError,))
        status = daemon.status()
        print(msgspec.json.encode(status).decode() if options.json else ready_line(status), flush=True)
        nursery.start_soon(of_this_process().report, lambda: headline(daemon.status()))
        await trio.sleep_forever()
    return 0  # not reached: only cancelling ends it


def config_of(options: argparse.Namespace) -> DaemonConfig:
    """The settings that the command line says.

    Raises:
        LocalProtocolError: they do not fit together.
    """
    return DaemonConfig(
        state_dir=options.state_dir or default_state_dir(os.environ),
        node_id=options.node_id,
        profile=options.profile,
        validity_s=options.validity,
        catching=options.interceptor,
        interfaces=tuple(options.interface),
        neighbours=tuple(options.neighbour),
        port=options.port,
        tls=options.tls or options.tls_only,
        tls_only=options.tls_only,
        tls_port=options.tls_port or 0,
        tls_certificate=options.tls_cert,
        tls_key=options.tls_key,
        tls_authorities=options.tls_ca,
        tls_clients_must_show=options.tls_clients,
        authorised_peers=options.authorised_peers,
        publishers=options.publishers,
        public_probes=options.public_probes,
        thesis_mode=options.thesis_mode,
        sign_entries=options.sign_entries,
        control=options.control,
    )


def ready_line(status: Status) -> str:
    """What the daemon says when it is ready."""
    ports = f"UDP {status.port}"
    ports += f", TCP {status.association_port}" if status.association_port else ""
    ports += f", TLS {status.secure_port}" if status.secure_port else ""
    catching = "catching nothing" if status.catching == "none" else f"catching by {status.catching}"
    return f"node {status.node_id} is ready: {ports}, {catching}, {len(status.publishers)} publishers"


def headline(status: Status) -> str:
    """One line for `systemctl status`."""
    return f"{status.sessions} sessions, {status.peers} peers, {status.associations} associations"

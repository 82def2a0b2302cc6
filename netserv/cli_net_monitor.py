"""`netserv app net-monitor`: packets on the nodes of a path, on a page of this machine."""

import argparse
import logging
import webbrowser

import msgspec
import trio

from dhtboot.ids import format_address
from mdht.service_manager import of_this_process
from netserv.cli_ask import waited_for, way_of
from netserv.cli_deploy import offered, wish_of
from netserv.errors import NetservError
from netserv.publisher.app_bundles import app_bundle
from netserv.publisher.deploying import removed_at_the_end
from netserv.publisher.net_monitor.monitoring import Monitor, monitor_page, show
from netserv.signaling.asking import Signer
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.nslp.requests import Probe
from netserv.signaling.sessions import Session, session
from netserv_discovery.console.server import ConsoleServer

log = logging.getLogger(__name__)

INSTALL_S = 60.0


async def run(options: argparse.Namespace, signer: Signer) -> int:
    """Deploy, collect and show until cancelled.

    Raises:
        NetservError: nobody is on the path, or an address cannot be used.
    """
    data, bundle = app_bundle("net-monitor", signer.key)
    monitor = Monitor(options.toward, trio.current_time())
    server = ConsoleServer(monitor_page(), {"toward": options.toward})
    async with session(options.toward, signer, way_of(options)) as path, trio.open_nursery() as nursery:
        own = address_text(path.flow.source)
        host, port = options.report
        reports = await nursery.start(monitor.collector.serve, (host or own, port))
        properties = {"report": format_address(reports), "token": monitor.token, "interval": f"{options.interval:g}"}
        wish = wish_of(options, signer, properties.items())
        deployment = await offered(options, nursery, path, (data, bundle), wish)
        page: str = await nursery.start(server.serve, options.port)
        nursery.start_soon(show, monitor, server)
        async with removed_at_the_end(deployment):
            await waited_for(f"the nodes toward {options.toward}", deployment.install(INSTALL_S, monitor.told))
            await _learn_addresses(path, monitor)
            words = f"packets toward {options.toward} at {page}"
            line = msgspec.json.encode({"event": "serving", "url": page, "nodes": deployment.results}).decode()
            print(line if options.json else f"{words} (Ctrl-C ends it)", flush=True)
            nursery.start_soon(of_this_process().report, lambda: words)
            if options.open:
                nursery.start_soon(_open, page)
            await deployment.keep(monitor.told)
        nursery.cancel_scope.cancel()
    return 0


async def _learn_addresses(path: Session, monitor: Monitor) -> None:
    """Modules connect from any address of their nodes."""
    try:
        reply = await path.ask(Probe(target=None, items=("address",)))
        monitor.know(reply.response.nearest_first())
    except NetservError as error:
        log.info("addresses of the nodes are not known: %s", error)


async def _open(url: str) -> None:
    if not await trio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True):
        log.warning("no browser was found; open %s yourself", url)

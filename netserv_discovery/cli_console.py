"""`netserv-discovery console`: nodes, subnets and services on one page, in the browser of this machine."""

import argparse
import logging
import os
import webbrowser
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from mdht.service_manager import of_this_process
from netserv_discovery.console.dht_source import BLOCKS_MAX, DhtSource
from netserv_discovery.console.link_source import LinkSource
from netserv_discovery.console.mdht_source import MdhtSource
from netserv_discovery.console.node_places import node_places
from netserv_discovery.console.page import load_page
from netserv_discovery.console.server import ConsoleServer
from netserv_discovery.console.sources import Source, keep
from netserv_discovery.console.z2z_source import Z2zSource
from netserv_discovery.errors import DiscoveryError, LocalProtocolError
from netserv_discovery.location import Location, parse_location
from netserv_discovery.versions import check_name
from z2z.cli_values import default_state_dir
from z2z.systemd_units import SYSTEM_STATE

log = logging.getLogger(__name__)

PORT: Final = 8470

EXAMPLES: Final = f"""\
examples:
  netserv-discovery console                        then open http://127.0.0.1:{PORT}/
  netserv-discovery console --open                 in the browser, at once
  netserv-discovery console --near 40.71,-74.01    distances from this place
  netserv-discovery console --port 0 --json        a free port; the line that comes out says which
  curl -s http://127.0.0.1:{PORT}/state | jq .parts.nodes
                                                   the same as JSON, for scripts

It shows what the programs of this user see: mdht run, z2z, and nodes that announce themselves on the links. Only this
machine reaches it; from elsewhere: ssh -L {PORT}:127.0.0.1:{PORT} HOST. It changes nothing. Ctrl-C ends it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add = parser.add_argument
    add("--port", type=_port, default=PORT, help=f"TCP port on this machine's loopback interface; 0: any ({PORT})")
    add("--open", action="store_true", help="open the page in the browser")
    add("--near", type=_place, metavar="LAT,LON", help="show distances from here, in degrees")
    add("--block", action="append", default=[], type=_name, metavar="NAME",
        help="show nodes in the DHT with this block though they tell no place, repeatable")  # fmt: skip
    add("--interface", action="append", default=[], metavar="IF", help="link to look at, repeatable (all that are up)")
    add("--no-link", action="store_true", help="do not look at links")
    add("--mdht-state-dir", action="append", default=[], type=Path, metavar="DIR",
        help="of a running mdht, repeatable (~/.local/state/mdht)")  # fmt: skip
    add("--z2z-state-dir", action="append", default=[], type=Path, metavar="DIR",
        help="of running z2z, repeatable (~/.local/state/z2z)")  # fmt: skip
    add("--json", action="store_true", help="say where it is as a line of JSON")
    add("-v", "--verbose", action="count", default=0, help="say more; twice for every detail")


async def run(options: argparse.Namespace) -> int:
    """Serve the console until cancelled.

    Raises:
        LocalProtocolError: too many blocks are named.
        mdht.errors.LocalProtocolError: the port cannot be used.
    """
    if len(options.block) > BLOCKS_MAX:
        raise LocalProtocolError(f"{len(options.block)} blocks; at most {BLOCKS_MAX} can be followed")
    near = None if options.near is None else msgspec.to_builtins(options.near)
    server = ConsoleServer(load_page(), {"near": near, "host": os.uname().nodename})
    async with trio.open_nursery() as nursery:
        url: str = await nursery.start(server.serve, options.port)
        for source in sources_of(options):
            nursery.start_soon(keep, source, server.show)
        line = msgspec.json.encode({"event": "serving", "url": url}).decode()
        print(line if options.json else f"console at {url} (Ctrl-C ends it)", flush=True)
        nursery.start_soon(of_this_process().report, lambda: f"console at {url}")
        if options.open:
            # Some browsers stay in the foreground; nobody waits for them.
            nursery.start_soon(_open, url)
    return 0


def sources_of(options: argparse.Namespace) -> list[Source]:
    """What the console looks at."""
    z2z_dirs: Sequence[Path] = options.z2z_state_dir or (default_state_dir(), SYSTEM_STATE)
    mdht_dirs: Sequence[Path] = options.mdht_state_dir or (default_state_dir().parent / "mdht",)
    places = partial(node_places, mdht_dirs, z2z_dirs)
    sources: list[Source] = [MdhtSource(places), DhtSource(places, options.block), Z2zSource(z2z_dirs)]
    if not options.no_link:
        sources.append(LinkSource(tuple(options.interface)))
    return sources


async def _open(url: str) -> None:
    if not await trio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True):
        log.warning("no browser was found; open %s yourself", url)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0..65535")
    return int(text)


def _place(text: str) -> Location:
    try:
        return parse_location(text)
    except DiscoveryError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _name(text: str) -> str:
    try:
        check_name(text)
    except DiscoveryError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text

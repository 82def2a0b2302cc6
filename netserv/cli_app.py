"""`netserv app`: applications at their publisher's side."""

import argparse
from collections.abc import Callable
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import Final

import msgspec
import trio

from mdht.service_manager import of_this_process
from netserv import cli_net_monitor
from netserv.cli_ask import signer_of, way_of
from netserv.cli_deploy import proving
from netserv.errors import LocalProtocolError
from netserv.publisher.app_bundles import app_bundle
from netserv.publisher.keep_alives.agents import Config, State
from netserv.publisher.keep_alives.sniffing import Sniffer
from netserv.publisher.keep_alives.watching import Event, Plan, Watcher
from netserv.publisher.serving import Offer, url_of
from netserv.publisher.wishes import Wish
from netserv.signaling.asking import Signer
from netserv.signaling.nslp.values import Flow, ModuleRef
from netserv.signaling.sessions import Session, sessions

_ALL: Final = ("0.0.0.0", "::")  # noqa: S104 - nodes are elsewhere


async def run(options: argparse.Namespace) -> int:
    """Run an application until stopped.

    Raises:
        NetservError: it cannot begin.
    """
    signer = signer_of(options)
    if signer is None:
        raise LocalProtocolError("give --key and --user: nodes install nothing that nobody has signed")
    if options.app == "net-monitor":
        return await cli_net_monitor.run(options, signer)
    async with sessions(signer, way_of(options)) as along, AsyncExitStack() as opened:
        nursery = await opened.enter_async_context(trio.open_nursery())
        opened.callback(nursery.cancel_scope.cancel)
        await _keep_alive(options, signer, along, nursery)
    return 0


async def _keep_alive(
    options: argparse.Namespace, signer: Signer, along: Callable[[Flow], Session], nursery: trio.Nursery
) -> None:
    data, bundle = app_bundle("keep-alive", signer.key)
    config = Config(agents_max=options.most, idle_s=options.idle, ttl_s=options.ttl)
    wish = Wish(
        user=signer.user,
        ttl_s=options.ttl,
        filter_ports=options.port,
        filter_proto="udp",
    )
    with Sniffer(options.port) as sniffer:
        plan = Plan(
            manifest=bundle.manifest,
            data=data,
            url=await _served(options, nursery, bundle.manifest.reference, data),
            wish=wish,
            address=options.address,
            prove=await _proved(options, nursery),
        )
        watcher = Watcher(plan, config, along, lambda event: print(_line(event, json=options.json), flush=True))
        words = f"watching UDP port {', '.join(map(str, options.port))} for keep-alives (Ctrl-C ends it)"
        ready = {"event": "ready", "ports": options.port}
        print(msgspec.json.encode(ready).decode() if options.json else words, flush=True)
        nursery.start_soon(of_this_process().report, lambda: _headline(watcher))
        await watcher.run(sniffer)


async def _served(options: argparse.Namespace, nursery: trio.Nursery, name: str, data: bytes) -> Callable[[str], str]:
    """Serve the bundle on all addresses: which of them nodes can reach is known when there is a path."""
    if options.url is not None:
        return lambda _own: str(options.url)
    offer, (host, port) = Offer(), options.serve or ("", 0)
    offer.put_bundle(f"{name}.zip", data)
    ports = await _listening(nursery, offer, host, port)
    return lambda own: url_of((host or own, ports[ip_address(host or own).version]), f"{name}.zip")


async def _proved(options: argparse.Namespace, nursery: trio.Nursery) -> Callable[[ModuleRef, str], None] | None:
    if options.prove is None:
        return None
    offer, (host, port) = Offer("--prove"), options.prove
    await _listening(nursery, offer, host, port)
    return proving(offer)


async def _listening(nursery: trio.Nursery, offer: Offer, host: str, port: int) -> dict[int, int]:
    """Serve on an address, or on all of both families; the ports by the version of IP."""
    ports: dict[int, int] = {}
    for each in (host,) if host else _ALL:
        try:
            ports[ip_address(each).version] = (await nursery.start(offer.serve, (each, port)))[1]
        except LocalProtocolError:
            if not ports:  # a machine without IPv6 serves by IPv4
                raise
    return ports


def _headline(watcher: Watcher) -> str:
    states = watcher.agents.states().values()
    return f"answered on {sum(state is State.THERE for state in states)} paths, {len(states)} known"


def _line(event: Event, *, json: bool) -> str:
    if json:
        return msgspec.json.encode(event).decode()
    nodes = ", ".join(event.nodes)
    match event.event:
        case "installed":
            took = "" if event.took_s is None else f", {event.took_s * 1000:.0f} ms after its keep-alive"
            return f"{event.agent}: answered on {nodes}{took}"
        case "removed":
            return f"{event.agent}: removed from {nodes}" if nodes else f"{event.agent}: gone; others need its nodes"
        case "failed":
            return f"{event.agent}: the server goes on answering: {event.why}"

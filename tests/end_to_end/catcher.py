"""A node of the packet path without a protocol above it: catches, prints a JSON line per packet, sends on.

METHOD (or `none`) [--append HEX] [--discard] [--port N]: on standard input it reads JSON lines of messages to send.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from typing import Any

import trio

from netserv.errors import NetservError
from netserv.signaling.gist.addresses import address_text, endpoint_text, packed
from netserv.signaling.gist.effects import Caught, SendAlongFlow, SendDatagram
from netserv.signaling.transport import packet
from netserv.signaling.transport.choice import Method, intercepting
from netserv.signaling.transport.intercept import InterceptConfig, Interceptor
from netserv.signaling.transport.raw import RawSender
from netserv.signaling.transport.topology import KernelTopology
from netserv.signaling.transport.udp import UdpPort

FAULT = b"FAIL"
"A caught packet that ends so makes the program fail."
STOP = b"STOP"
"One that ends so cancels it."


def say(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def show(event: str, found: Caught) -> None:
    say(
        event,
        source=endpoint_text(found.source),
        destination=endpoint_text(found.destination),
        ttl=found.ip_ttl,
        dscp=found.dscp,
        router_alert=found.router_alert,
        interface=found.interface,
        in_transit=found.in_transit,
        payload=found.payload.hex(),
    )


async def own(port: UdpPort) -> None:
    while True:
        await port.ready()
        while (found := port.take()) is not None:
            show("received", found)


async def unreachable(port: UdpPort) -> None:
    async for destination, quoted in port.unreachables():
        say("unreachable", destination=address_text(destination), quoted=quoted.hex())


async def caught(interceptor: Interceptor, arguments: argparse.Namespace) -> None:
    while True:
        await interceptor.ready()
        while (found := interceptor.take()) is not None:
            show("caught", found)
            if found.payload.endswith(FAULT):
                raise RuntimeError("as the packet wants it")
            if found.payload.endswith(STOP):
                arguments.scope.cancel()
            if arguments.discard:
                interceptor.discard(found)
            else:
                interceptor.forward(found, found.payload + bytes.fromhex(arguments.append))


async def changes(topology: KernelTopology) -> None:
    while True:
        destinations = await topology.changed()
        own = sorted(address_text(address) for address in topology.own_addresses)
        say("changed", own=own, destinations=sorted(map(address_text, destinations)))


async def read_orders() -> AsyncIterator[dict[str, Any]]:
    text = b""
    async for data in trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())):
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


async def orders(port: UdpPort, topology: KernelTopology) -> None:
    async for order in read_orders():
        match order.pop("do"):
            case "flow":
                order["payload"] = bytes.fromhex(order["payload"])
                order["destination"] = packed(order["destination"])
                order["source"] = packed(order["source"]) if order.get("source") else None
                sent = port.send_along_flow(SendAlongFlow(source_port=port.port, **order))
                say("sent", sent=sent, counters=dict(port.counters))
            case "datagram":
                to = (packed(order["to"]), order["port"])
                sent = port.send_datagram(SendDatagram(bytes.fromhex(order["payload"]), to, port.port, order["ttl"]))
                say("sent", sent=sent, counters=dict(port.counters))
            case "raw":
                source, destination = ((packed(order[end]), 270) for end in ("source", "destination"))
                options, payload = bytes.fromhex(order.get("options", "")), bytes.fromhex(order["payload"])
                whole = packet.build(source, destination, payload, options=options, **order["header"])
                if order.get("spoilt"):
                    whole = whole[:-1] + bytes([whole[-1] ^ 1])
                with closing(RawSender.open()) as raw:
                    say("sent", sent=raw.send(whole, source[0], destination[0]))
            case "route":
                way = topology.outgoing(packed(order["to"]))
                say(
                    "route",
                    way=way
                    and {
                        "interface": way.interface,
                        "address": address_text(way.address),
                        "mtu": way.mtu,
                        "next_hop": way.next_hop and address_text(way.next_hop),
                    },
                )
            case "belongs":
                say(
                    "belongs",
                    answer=topology.may_come_from(packed(order["source"]), order["prefix"], order["interface"]),
                )
            case "own":
                say("own", answer=topology.is_own(packed(order["address"])))


async def run(arguments: argparse.Namespace) -> None:
    arguments.scope = trio.CancelScope()
    with arguments.scope:
        await run_inside(arguments)


async def run_inside(arguments: argparse.Namespace) -> None:
    async with AsyncExitStack() as opened:
        port = opened.enter_context(UdpPort(arguments.port))
        topology = opened.enter_context(KernelTopology())
        interceptor = None
        if arguments.method != "none":
            interceptor = await opened.enter_async_context(
                intercepting(Method(arguments.method), InterceptConfig(), port)
            )
        nursery = await opened.enter_async_context(trio.open_nursery())
        if interceptor is not None:
            nursery.start_soon(caught, interceptor, arguments)
        for task in (own, unreachable):
            nursery.start_soon(task, port)
        nursery.start_soon(changes, topology)
        nursery.start_soon(orders, port, topology)
        say(
            "ready",
            method=interceptor.name if interceptor else "none",
            families=interceptor.families if interceptor else [],
            warnings=interceptor.warnings if interceptor else [],
            port=port.port,
        )
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1) as signals:
            async for number in signals:
                say("counters", interceptor=dict(interceptor.counters) if interceptor else {}, port=dict(port.counters))
                if number == signal.SIGTERM:
                    break
        nursery.cancel_scope.cancel()
    say("ended")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("method")
    parser.add_argument("--append", default="")
    parser.add_argument("--discard", action="store_true")
    parser.add_argument("--port", type=int, default=270)
    status = 0
    try:
        trio.run(run, parser.parse_args())
    except* NetservError as group:
        print(*group.exceptions, file=sys.stderr)
        status = 1
    except* RuntimeError as group:
        print(*group.exceptions, file=sys.stderr)
        status = 3
    except* KeyboardInterrupt:
        status = 130
    return status


if __name__ == "__main__":
    sys.exit(main())

"""A program for the laboratory: one link, driven by JSON lines on standard input, events as JSON lines on output.

Commands: {"do": "register", "id": .., "item": hex of an encoded item, "host": .., "ttl": ..}, {"do": "withdraw", "id"},
{"do": "update", "id", "item"}, {"do": "browse", "type"}, {"do": "types"}, {"do": "confirm", "type", "name"},
{"do": "stats"}. The end of input leaves the link.
"""

import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import trio

from z2z.dns_records import decode_item, encode_item
from z2z.mdns.link_io import MdnsLink, open_link
from z2z.mdns.messages import Registration
from z2z.service_item import ServiceItem


def tell(kind: str, **values: object) -> None:
    print(json.dumps({"event": kind, **values}), flush=True)


async def tell_all(channel: trio.MemoryReceiveChannel[Any]) -> None:
    async for event in channel:
        values = {name: getattr(event, name) for name in event.__struct_fields__}
        if isinstance(values.get("item"), ServiceItem):
            values["item"] = encode_item(values["item"]).hex()
        tell(type(event).__name__, **{key: str(value) if key != "item" else value for key, value in values.items()})


async def lines() -> AsyncIterator[bytes]:
    buffer = b""
    stream = trio.lowlevel.FdStream(0)
    while chunk := await stream.receive_some():
        *complete, buffer = (buffer + chunk).split(b"\n")
        for line in complete:
            yield line


async def browse(link: MdnsLink, service_type: str) -> None:
    async with link.browse(service_type) as channel:
        await tell_all(channel)


async def browse_types(link: MdnsLink) -> None:
    async with link.browse_types() as channel:
        await tell_all(channel)


async def confirm(link: MdnsLink, service_type: str, name: str) -> None:
    tell("confirm", alive=await link.confirm(service_type, name.encode()), name=name)


def perform(link: MdnsLink, nursery: trio.Nursery, command: dict[str, Any]) -> None:
    match command["do"]:
        case "register":
            item = decode_item(bytes.fromhex(command["item"]))
            host, ttl_s = command["host"].encode(), command["ttl"]
            link.register(Registration(id=command["id"], item=item, host_label=host, ttl_s=ttl_s))
        case "update":
            link.update(command["id"], decode_item(bytes.fromhex(command["item"])))
        case "withdraw":
            link.withdraw(command["id"])
        case "browse":
            nursery.start_soon(browse, link, command["type"])
        case "types":
            nursery.start_soon(browse_types, link)
        case "confirm":
            nursery.start_soon(confirm, link, command["type"], command["name"])
        case "stats":
            tell("stats", **msgspec.to_builtins(link.stats()))


async def main(interface: str) -> None:
    async with open_link(interface) as link, trio.open_nursery() as nursery:
        nursery.start_soon(tell_all, link.events)
        tell("ready")
        async for line in lines():
            perform(link, nursery, json.loads(line))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    trio.run(main, sys.argv[1])

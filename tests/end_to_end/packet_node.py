"""A node that is nothing but a forwarding plane: told what to do by lines of JSON, it starts the containers itself."""

import json
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import trio

from netserv.errors import NetservError
from netserv.forwarding.base import PlaneConfig
from netserv.forwarding.choice import choose_plane
from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.ring import Ring
from netserv.modules.manifest import Prematch

BOX = str(Path(__file__).with_name("packet_box.py"))


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


class Node:
    def __init__(self, plane: Any) -> None:
        self.plane = plane
        self.rings: dict[str, Ring] = {}
        self.boxes: dict[str, subprocess.Popen[bytes]] = {}

    def box(self, name: str, behaviour: str, slots: int) -> None:
        if name not in self.rings:
            self.rings[name] = Ring.create(slots=slots)
        descriptors = self.rings[name].box_descriptors
        self.boxes[name] = subprocess.Popen(
            [sys.executable, BOX, behaviour, *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        stdout = self.boxes[name].stdout
        assert stdout is not None
        stdout.readline()  # it is ready

    async def do(self, order: dict[str, Any]) -> dict[str, Any]:
        match order.pop("do"):
            case "box":
                self.box(order["name"], order["behaviour"], order.get("slots", 512))
            case "unbox":
                ended = [name for name, box in self.boxes.items() if box.poll() is not None]
                for name in [order["name"]] if "name" in order else list(self.boxes):
                    self.boxes[name].kill()
                    self.boxes.pop(name).wait()
                    self.rings.pop(name).close()
                return {"ended": ended}
            case "install":
                wanted = PacketFilter(
                    proto=order.get("proto", "udp"),
                    ports=tuple(order["ports"]),
                    destination=ip_network(order["destination"]),
                    source=ip_network(order["source"]) if order.get("source") else None,
                    reverse=order.get("reverse", False),
                    prematch=tuple(Prematch(at, data.encode()) for at, data in order.get("prematch", ())),
                )
                allowed = tuple(map(ip_network, order.get("allowed", ())))
                number = await self.plane.install(
                    wanted, self.rings.get(order.get("box", "")), order.get("policy", "open"), allowed
                )
                return {"number": number}
            case "remove":
                await self.plane.remove(order["number"])
            case "attach":
                await self.plane.attach(order["number"], self.rings.get(order.get("box", "")))
            case "churn":
                wanted = PacketFilter(proto="udp", ports=(order["port"],), destination=ip_network(order["destination"]))
                ring = self.rings[order["box"]]
                for _ in range(order["times"]):
                    await self.plane.remove(await self.plane.install(wanted, ring, "open", ()))
            case "counters":
                counted = await self.plane.counters()
                rings = {
                    number: msgspec.to_builtins(each) for number, each in (await self.plane.ring_counters()).items()
                }
                return {
                    "filters": counted,
                    "rings": rings,
                    "broker": self.plane.broker_pid,
                    "restarts": self.plane.restarts,
                }
        return {}


async def serve(name: str, settings: dict[str, Any]) -> None:
    async with await choose_plane(name, PlaneConfig(**settings)) as plane:
        node = Node(plane)
        say(event="ready", plane=plane.name, compiled=plane.compiled, broker=plane.broker_pid, warnings=plane.warnings)
        lines = trio.wrap_file(sys.stdin)
        async for line in lines:
            order = json.loads(line)
            number = order.pop("number_of_order")
            try:
                say(event="done", order=number, **await node.do(order))
            except NetservError as error:
                say(event="done", order=number, error=str(error))
        for box in node.boxes.values():
            box.kill()
            box.wait()


if __name__ == "__main__":
    try:
        trio.run(serve, sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
    except NetservError as error:
        say(event="refused", error=str(error))
        sys.exit(1)

"""Made-up NetServ nodes with real keys: `python node_records.py FILE` puts their signed records into the DHT.

By the running node of this host. FILE has a node a line, as JSON: name, place, blocks, load, operator.
"""

import json
import os
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trio

from mdht.control import ControlClient, control_path
from mdht.signing import SigningKey
from mdht.state import default_state_dir
from netserv_discovery.keys import keys_of
from netserv_discovery.location import Location
from netserv_discovery.record import NodeRecord, encode
from netserv_discovery.versions import Offer

LEASE_S = 300


def signed(said: dict[str, Any], address: str) -> tuple[NodeRecord, bytes]:
    """The record of a node, and the same encoded; its key is made from its name."""
    key = SigningKey.from_seed(said["name"].encode().ljust(32))
    now = int(time.time())
    record = NodeRecord(
        public_key=key.public_key,
        node_id=said["name"],
        addresses=(ip_address(address).packed,),
        blocks=tuple(Offer(name, version) for name, version in said["blocks"].items()),
        modules=tuple(Offer(name, version) for name, version in said.get("modules", {}).items()),
        load=said["load"],
        location=Location(*said["place"]) if said["place"] else None,
        operator=said["operator"],
        issued=now,
        expires=now + LEASE_S,
    )
    return record, encode(record, key)


async def main(lines: list[str]) -> None:
    """Put them all."""
    client = ControlClient(control_path(default_state_dir(os.environ, "z2z"), os.environ))
    async with trio.open_nursery() as nursery:
        for number, line in enumerate(lines):
            record, data = signed(json.loads(line), f"203.0.113.{10 + number}")
            for place in keys_of(record):
                nursery.start_soon(put, client, place.key, data, record.public_key)
    print("all are there", flush=True)


async def put(client: ControlClient, key: bytes, value: bytes, name: bytes) -> None:
    """Put one value."""
    await client.put(key, value, ttl_s=LEASE_S, name=name)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]).read_text().splitlines())

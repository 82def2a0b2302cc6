"""Signed records of made-up nodes in a real DHT, by the running node of this host: python node_records.py NODES.

Each line of the file NODES is JSON: name, place, blocks, load. Runs until it is ended, and then takes them back.
"""

import json
import os
import sys
import time
from ipaddress import ip_address
from pathlib import Path

import trio

from mdht.control import ControlClient, control_path
from mdht.options import default_state_dir
from mdht.signing import SigningKey
from netserv_discovery.keys import keys_of
from netserv_discovery.location import Location
from netserv_discovery.record import NodeRecord, encode
from netserv_discovery.versions import Offer

LEASE_S = 60


async def main(lines: list[str]) -> None:
    client = ControlClient(control_path(default_state_dir(os.environ, "z2z"), os.environ))
    now = int(time.time())
    async with trio.open_nursery() as nursery:
        for number, line in enumerate(lines):
            said = json.loads(line)
            key = SigningKey.from_seed(number.to_bytes(32, "big"))
            record = NodeRecord(
                public_key=key.public_key,
                node_id=said["name"],
                addresses=(ip_address(f"203.0.113.{10 + number}").packed,),
                blocks=tuple(Offer(name, version) for name, version in said["blocks"].items()),
                load=said["load"],
                location=Location(*said["place"]) if said["place"] else None,
                operator=said.get("operator", ""),
                issued=now,
                expires=now + LEASE_S,
            )
            for place in keys_of(record):
                nursery.start_soon(put, client, place.key, encode(record, key), key.public_key)
    print("all are there", flush=True)


async def put(client: ControlClient, key: bytes, value: bytes, name: bytes) -> None:
    await client.put(key, value, ttl_s=LEASE_S, name=name)


trio.run(main, Path(sys.argv[1]).read_text().splitlines())

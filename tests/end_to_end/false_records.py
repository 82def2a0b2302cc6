"""Run on a host: puts records that are not what they say into the DHT, by the running mdht; as many as are told.

python -m tests.end_to_end.false_records BLOCK LAT,LON ADDRESS:PORT
"""

import os
import sys
import time
from pathlib import Path

import msgspec
import trio

from mdht.control import ControlClient, control_path
from mdht.signing import SigningKey
from mdht.state import default_state_dir
from netserv_discovery.keys import keys_of
from netserv_discovery.location import parse_location
from netserv_discovery.record import NodeRecord, encode
from netserv_discovery.versions import Offer

LEASE_S = 600


def false_records(block: str, place: str, address: str, port: int) -> list[tuple[NodeRecord, bytes]]:
    """Each of them nearer than any node: silent, at the address of another one, forged, expired, of the future."""
    key, now = SigningKey.generate(), int(time.time())
    silent = NodeRecord(
        public_key=key.public_key,
        node_id="silent",
        addresses=(bytes((203, 0, 113, 9)),),
        ping_port=9,
        blocks=(Offer(block, "9.0"),),
        location=parse_location(place),
        issued=now,
        expires=now + LEASE_S,
    )
    other = bytes(map(int, address.split(".")))

    def changed(**values: object) -> tuple[NodeRecord, bytes]:
        own = SigningKey.generate()
        record = msgspec.structs.replace(silent, public_key=own.public_key, **values)
        return record, encode(record, own)

    _, forged = changed(node_id="forged")
    return [
        (silent, encode(silent, key)),
        changed(node_id="other", addresses=(other,), ping_port=port),
        (silent, forged[:-1] + bytes((forged[-1] ^ 1,))),
        changed(node_id="expired", issued=now - LEASE_S, expires=now - 1),
        changed(node_id="future", issued=now + 10_000, expires=now + 10_000 + LEASE_S),
    ]


async def main(block: str, place: str, where: str) -> None:
    address, _, port = where.partition(":")
    directory: Path = default_state_dir(os.environ, "z2z")
    client = ControlClient(control_path(directory, os.environ))
    for number, (record, data) in enumerate(false_records(block, place, address, int(port))):
        for each in keys_of(record):
            await client.put(each.key, data, ttl_s=LEASE_S, name=b"false %d" % number)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])

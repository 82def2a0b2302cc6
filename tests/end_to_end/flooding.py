"""Puts many items under a word, each by a site of its own: ENTRY WORD COUNT. A hostile program; its items are sound."""

import sys
from collections import Counter
from ipaddress import IPv4Address
from random import Random
from typing import Final

import trio

from mdht.errors import MdhtError
from mdht.node import Mdht, MdhtConfig, open_mdht
from mdht.signing import SigningKey
from z2z.keys import dht_key
from z2z.seal import Site, seal, site_id
from z2z.service_item import ServiceItem

LEASE_S: Final = 300
AT_ONCE: Final = 50
SERVICE_TYPE: Final = "_flood._tcp"


def item(number: int) -> ServiceItem:
    address = IPv4Address("203.0.113.10") + number % 200
    return ServiceItem(
        instance=b"Bait %d" % number,
        service_type=SERVICE_TYPE,
        host=b"h",
        port=1_024 + number % 60_000,
        txt=b"\0",
        addresses=(address,),
    )


async def put(node: Mdht, key: bytes, number: int, said: Counter[str]) -> None:
    signer = SigningKey.from_seed(Random(number).randbytes(32))
    site = Site(id=site_id(signer.public_key), name=f"bait {number}")
    value = seal(item(number), site=site, signer=signer, seq=1, lease_s=LEASE_S)
    try:
        receipt = await Mdht(node.hosts, signer).put(key, value, ttl_s=LEASE_S, name=b"bait")
        said["stored" if receipt.stored else "refused"] += 1
    except MdhtError:
        said["failed"] += 1


async def main(entry: str, word: str, count: int) -> None:
    said: Counter[str] = Counter()
    numbers = iter(range(count))

    async def work(node: Mdht) -> None:
        for number in numbers:
            await put(node, dht_key(word), number, said)
            if number % 500 == 0:
                print(f"at {number}: {dict(said)}", flush=True)

    async with open_mdht(MdhtConfig(bootstrap=(entry,)), SigningKey.from_seed(bytes(32))) as node:
        await trio.sleep(2)  # until it has come to the overlay
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(work, node)
        print(f"flooded: {dict(said)}", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))

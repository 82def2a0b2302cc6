"""Sends PROBEs whose signature is nobody's: TOWARD COUNT. Writes how many were answered, with which codes, and when."""

import collections
import json
import sys

import trio

from mdht.signing import SigningKey
from netserv.errors import NetservError
from netserv.signaling.asking import Signer, flow_to, prepared
from netserv.signaling.nslp.requests import Probe, encode
from netserv.signaling.own_node import own_node

AT_ONCE = 100


async def main(toward: str, count: int) -> None:
    signer = Signer("alice", SigningKey.generate())
    flow = await flow_to(toward)
    numbers = iter(range(count))
    codes: collections.Counter[str] = collections.Counter()
    begun = trio.current_time()

    async with own_node() as node:

        async def work() -> None:
            for _number in numbers:
                text = encode(prepared(Probe(items=("status",)), flow, signer))
                try:
                    response = await node.ask(
                        text, source=flow.source, destination=flow.destination, reliable=True, timeout_s=60.0
                    )
                    codes[str(response.code)] += 1
                except NetservError as error:
                    codes[str(error)] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(work)
    print(json.dumps({"codes": codes, "seconds": round(trio.current_time() - begun, 2)}), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))

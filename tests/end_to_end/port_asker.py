"""Has the router forward a port by the protocol named, without a node: prints what has come of it until it is ended."""

import json
import sys

import msgspec
import trio

from mdht.port_mapping import PortMapping
from mdht.ports.config import MapperConfig

protocol, port = sys.argv[1:]
# Without waiting for protocols that the router does not answer, or that it is to be asked by later.
config = MapperConfig(pcp_first_s=0.2 if protocol == "NAT-PMP" else 3.0, pcp_tries=1, natpmp_tries=3)


async def main() -> None:
    mapping = PortMapping(int(port), (), bytes(12), lambda _outside: None, allow_private=False, config=config)
    told: dict[str, object] = {}
    with trio.open_signal_receiver(2, 15) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mapping.run)

            async def tell() -> None:
                nonlocal told
                while True:
                    now = {**msgspec.to_builtins(mapping.status()), "expires_in_s": 0}
                    if now != told:
                        told = now
                        print(json.dumps(now), flush=True)
                    await trio.sleep(0.05)

            nursery.start_soon(tell)
            async for _signal in signals:
                nursery.cancel_scope.cancel()
        await mapping.give_back()


trio.run(main)

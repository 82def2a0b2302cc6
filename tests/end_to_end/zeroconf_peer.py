"""A host whose programs use python-zeroconf: browses a type and resolves what it finds, as JSON on standard output."""

import asyncio
import json
import sys
import time

from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

SECONDS = 3.0


async def main(address: str, service_type: str, wanted: str) -> None:
    started = time.monotonic()
    names = set()
    found = asyncio.Event()

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        names.add(name)
        if name.startswith(f"{wanted}."):
            found.set()

    async with (
        AsyncZeroconf(interfaces=[address], ip_version=IPVersion.V4Only) as zeroconf,
        AsyncServiceBrowser(zeroconf.zeroconf, service_type, handlers=[changed]),
    ):
        await asyncio.wait_for(found.wait(), SECONDS)
        info = AsyncServiceInfo(service_type, f"{wanted}.{service_type}")
        resolved = await info.async_request(zeroconf.zeroconf, SECONDS * 1_000)
    result = {
        "names": sorted(names),
        "resolved": resolved,
        "port": info.port,
        "host": info.server,
        "txt": (info.text or b"").hex(),
        "addresses": sorted(info.parsed_addresses()),
        "seconds": round(time.monotonic() - started, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

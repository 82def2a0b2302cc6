"""The router of a path as a node, in its network namespace: planes, containers and modules are the real ones.

What a node has besides is left out: signalling and controller, which packets do not meet once a module is installed.
"""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import msgspec
import trio

from mdht.signing import SigningKey
from netserv.bench import orders, traffic
from netserv.container.installation import Account, Installation, Limits
from netserv.container.supervisor import Supervisor, supervising
from netserv.container.supervisor_config import SupervisorConfig
from netserv.errors import LocalProtocolError, NetservError, SystemRefusedError
from netserv.forwarding.choice import choose_plane
from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.plane import BrokerPlane
from netserv.modules.bundle import build_bundle, open_bundle, verify
from netserv.place import Place
from netserv.publisher.app_bundles import app_bundle

LIMITS: Final = Limits(cpu_share=1.0)
"All of the processor that is measured on: a quota would be what is measured."
SETTLE_S: Final = 0.1
"After modules have been installed: filters and rings are there, and interfaces have been looked at."
_PREFIXES: Final = (ip_network(traffic.NETWORK),)
_MANIFEST: Final = b"""\
name = "NetServ.bench.%s"
version = "1.0.0"
entry = "bench:Bench"
kind = "packet"
failure = "open"
"""
_SOURCE: Final = b"""\
from netserv.modules.api import %s, Activator


class Bench(Activator):
    def start(self, context):
        pass

    def process(self, packet):
        return %s
"""
_VERDICTS: Final = {"accept": b"ACCEPT", "flow": b"ACCEPT_FLOW"}


def signed(module: str, key: SigningKey) -> bytes:
    """The bundle of a module.

    Raises:
        LocalProtocolError: there is no such module.
    """
    verdict = _VERDICTS.get(module)
    if verdict is None:
        return app_bundle(module, key)[0]
    files = {
        "module.toml": _MANIFEST % module.title().encode(),
        "bench.py": _SOURCE % (verdict, verdict),
    }
    return build_bundle(files, key)


class Node:
    """A forwarding plane and containers.

    Args:
        plane: of packets.
        supervisor: of containers.
        key: by which modules are signed.
    """

    def __init__(self, plane: BrokerPlane, supervisor: Supervisor, key: SigningKey) -> None:
        self._plane, self._supervisor, self._key = plane, supervisor, key
        self._place = Place(supervisor, plane)
        self._jobs: list[int] = []
        self._filters: list[int] = []
        "Without a container."

    async def do(self, order: orders.Order) -> orders.Answer:
        """Do as told.

        Raises:
            NetservError: it is not to be had.
        """
        match order:
            case orders.Install(module="none"):
                for port in order.ports:
                    wanted = PacketFilter(proto="udp", ports=(port,), destination=_PREFIXES[0])
                    self._filters.append(await self._plane.install(wanted, None, "open", _PREFIXES))
                await trio.sleep(SETTLE_S)
                return orders.Installed(containers=[], ready_ms=[], loaded_ms=[])
            case orders.Install():
                return await self._install(order)
            case orders.Clear():
                for job in self._jobs:
                    await self._place.uninstall(job)
                for number in self._filters:
                    await self._plane.remove(number)
                self._jobs, self._filters = [], []
                return orders.Done()
            case orders.Count():
                whole: dict[str, int] = {}
                for counted in (await self._plane.counters()).values():
                    for name, value in counted.items():
                        whole[name] = whole.get(name, 0) + value
                return orders.Counted(counters=whole)
            case orders.Weigh():
                return orders.Weighed(pss_mb=[_pss_mb(each) for each in self._processes()])
            case _:
                return orders.Refused(reason="this is not for a node that runs")

    async def _install(self, order: orders.Install) -> orders.Installed:
        ready, loaded = [], []
        bundle = _in_memory(signed(order.module, self._key))
        try:
            for port in order.ports:
                begun = trio.current_time()
                account = Account(name=f"publisher-{port}", limits=LIMITS, prefixes=_PREFIXES)
                await self._supervisor.warm(account)
                ready.append((trio.current_time() - begun) * 1e3)
                await self._place.install(port, self._installation(account, port, bundle, offload=order.offload))
                loaded.append((trio.current_time() - begun) * 1e3)
                self._jobs.append(port)
        finally:
            os.close(bundle)
        await trio.sleep(SETTLE_S)
        return orders.Installed(containers=self._processes(), ready_ms=ready, loaded_ms=loaded)

    def _installation(self, account: Account, port: int, bundle: int, *, offload: bool) -> Installation:
        path = Path(f"/proc/self/fd/{bundle}")
        manifest = open_bundle(path.read_bytes()).manifest
        wanted = PacketFilter(proto="udp", ports=(port,), destination=_PREFIXES[0], prematch=manifest.prematch)
        properties = (("offload", "yes" if offload else "no"),)
        return Installation(account=account, manifest=manifest, bundle=path, properties=properties, packets=wanted)

    def _processes(self) -> list[int]:
        return [each.process for each in self._supervisor.status() if each.modules]


def _in_memory(data: bytes) -> int:
    """A file that is gone with this process, however that ends."""
    descriptor = os.memfd_create("bundle")
    os.write(descriptor, data)
    return descriptor


def _pss_mb(process: int) -> float:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise SystemRefusedError(f"the kernel does not say how much memory process {process} takes")


async def serve() -> None:
    """Serve until the command goes, or SIGTERM; afterwards no process, group or rule is left."""
    key = SigningKey.generate()
    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
        node: Node | None = None
        # A thread that waits for the command is left behind: what ends here ends with all of this process.
        while line := await trio.to_thread.run_sync(sys.stdin.buffer.readline, abandon_on_cancel=True):
            order = orders.order_decoder.decode(line)
            try:
                answer: orders.Answer = orders.Done()
                if isinstance(order, orders.Open):
                    plane = await choose_plane(order.plane)
                    await opened.enter_async_context(plane)
                    supervisor = await opened.enter_async_context(
                        supervising(SupervisorConfig(), lambda data: _verified(data, key))
                    )
                    node = Node(plane, supervisor, key)
                    answer = orders.Opened(plane=plane.name, compiled=plane.compiled, broker=plane.broker_pid or 0)
                elif node is not None:
                    answer = await node.do(order)
                elif not isinstance(order, orders.Hello):
                    raise LocalProtocolError("the node has not been opened")
            except NetservError as error:
                answer = orders.Refused(reason=str(error))
            with suppress(BrokenPipeError):  # the command has gone, and so has its end of the input
                sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
                sys.stdout.buffer.flush()
        nursery.cancel_scope.cancel()


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _verified(data: bytes, key: SigningKey) -> Mapping[str, bytes]:
    bundle = open_bundle(data)
    verify(bundle, [key.public_key])
    return bundle.files


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    trio.run(serve)
    # Without waiting for the thread that still reads.
    os._exit(0)

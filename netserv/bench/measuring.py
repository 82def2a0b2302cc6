"""The measurements: all configurations in turns, each beside configuration 2 of the same round."""

import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeAlias

import msgspec

from netserv.bench import orders, traffic
from netserv.bench.configurations import BASE, BY_NAME, CONFIGURATIONS, Configuration
from netserv.bench.results import Crowd, Delay, Rate, quantile
from netserv.bench.scene import Processors, Scene, node_scene, plain_scene, run_s, softirqs, together
from netserv.errors import SystemRefusedError

WINDOW: Final = 256
"""Packets under way: half of a ring, and what the slowest module treats within the deadline; a batch of the broker is
a quarter of it."""
CROWD_WINDOWS: Final = (512, 256, 128, 64, 32, 16)
"""With many containers: several for each of them at most. Made smaller until nearly all packets are treated in their
deadline; what is measured is what passes without loss."""
LOSS_MAX: Final = 0.001
WARM_PACKETS: Final = 200
"For each container before it is measured: until then it copies pages of the zygote, and learns what it does often."
WARM_S: Final = 1.0
WARM_TRIES: Final = 30
OTHER_PORT: Final = traffic.PORT - 1
"Of a module that nobody sends to."
_TREATED: Final = ("accepted", "changed", "cached")

Progress: TypeAlias = Callable[[str], None]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of a run."""

    planes: tuple[str, ...]
    "Of `PLANE_NAMES`, or `auto`."
    rounds: int
    seconds: float
    "Of traffic, for each number."
    sizes: tuple[int, ...]
    crowds: tuple[int, ...]
    "Numbers of containers."


class NodeThere:
    """A node on its path, and the processes that work for its packets."""

    def __init__(self, scene: Scene, opened: orders.Opened) -> None:
        self.scene, self.plane, self.broker = scene, opened.plane, opened.broker
        self.containers: list[int] = []

    async def install(self, configuration: Configuration, ports: Sequence[int]) -> orders.Installed:
        """Have packets of some ports go to the module of a configuration."""
        order = orders.Install(module=configuration.module, ports=tuple(ports), offload=configuration.offload)
        done = await self.scene.router.ask(order, orders.Installed)
        self.containers = done.containers
        return done

    async def clear(self) -> None:
        """Take all modules away."""
        await self.scene.router.ask(orders.Clear(), orders.Done)
        self.containers = []

    async def treated(self) -> int:
        """Packets of which a module has said something."""
        counted = (await self.scene.router.ask(orders.Count(), orders.Counted)).counters
        return sum(counted.get(name, 0) for name in _TREATED)


class Machine:
    """Paths that are built: one without rules, one with, and one with a node for each plane."""

    def __init__(self, plain: Scene, ruled: Scene, nodes: list[NodeThere]) -> None:
        self.plain, self.ruled, self.nodes = plain, ruled, nodes
        self._softirqs = softirqs()

    def ways(self) -> list[tuple[Configuration, NodeThere | None]]:
        """Configurations in their order, configuration 2 before all that are compared with it."""
        found: list[tuple[Configuration, NodeThere | None]] = []
        for each in CONFIGURATIONS:
            found += (
                [(each, node) for node in self.nodes if node.plane in each.planes] if each.module else [(each, None)]
            )
        return found

    def scene(self, configuration: Configuration, node: NodeThere | None) -> Scene:
        """Where a configuration is."""
        return node.scene if node is not None else self.ruled if configuration.ruled else self.plain

    async def rate(
        self,
        configuration: Configuration,
        node: NodeThere | None,
        *,
        size: int,
        seconds: float,
        flows: int = 1,
        window: int = WINDOW,
    ) -> Rate:
        """Measure what is installed now, once; the ratio is filled in by the caller."""
        order = orders.Generate(seconds=seconds, bytes=size, notify=notifies(configuration), flows=flows, window=window)
        before = await node.treated() if node is not None else 0
        broker_s, containers_s, softirqs_s = self._used(node)
        said = await self.scene(configuration, node).ends.ask(order, orders.Generated, order.seconds)
        broker, containers, softirqs_after = self._used(node)
        treated = said.came
        if node is not None and configuration.answers:
            treated = min(said.came, await node.treated() - before)
        if treated <= 0:
            raise SystemRefusedError(f"{configuration.name}: no packet came through")
        sender_s = said.used_s + softirqs_after - softirqs_s
        used = (sender_s, broker - broker_s, containers - containers_s)
        return Rate(
            plane=node.plane if node is not None else "none",
            configuration=configuration.name,
            bytes=size,
            round=0,
            packets_per_s=treated / sum(used),
            ratio=1.0,
            sender_ns=used[0] / treated * 1e9,
            broker_ns=used[1] / treated * 1e9,
            container_ns=used[2] / treated * 1e9,
            untreated=(said.came - treated) / said.sent,
            lost=1 - said.came / said.sent,
        )

    def _used(self, node: NodeThere | None) -> tuple[float, float, float]:
        broker, containers = (node.broker, node.containers) if node is not None else (0, [])
        return run_s(broker), sum(map(run_s, containers)), run_s(self._softirqs)


@asynccontextmanager
async def machine(planes: Sequence[str], where: Processors | None = None) -> AsyncIterator[Machine]:
    """Build everything, on one processor where nothing else is said.

    Raises:
        SystemRefusedError: this machine does not give it.
    """
    where = where or together()
    async with AsyncExitStack() as opened:
        plain = await opened.enter_async_context(plain_scene(where, ruled=False))
        ruled = await opened.enter_async_context(plain_scene(where, ruled=True))
        nodes = []
        for plane in planes:
            scene = await opened.enter_async_context(node_scene(where))
            nodes.append(NodeThere(scene, await scene.router.ask(orders.Open(plane=plane), orders.Opened)))
        yield Machine(plain, ruled, nodes)


async def rates(built: Machine, settings: Settings, progress: Progress) -> list[Rate]:
    """Figure 6.7: how fast each configuration is."""
    rows: list[Rate] = []
    for number in range(1, settings.rounds + 1):
        for size in settings.sizes:
            base = 0.0
            for configuration, node in built.ways():
                if size not in configuration.sizes:
                    continue
                progress(f"round {number}: {size} bytes, {place(node)}{configuration.name}")
                async with installed(configuration, node):
                    row = await built.rate(configuration, node, size=size, seconds=settings.seconds)
                base = row.packets_per_s if configuration is BASE else base
                rows.append(msgspec.structs.replace(row, round=number, ratio=row.packets_per_s / base if base else 0.0))
    return [row if row.ratio else _after(row, rows) for row in rows]


def _after(row: Rate, rows: Sequence[Rate]) -> Rate:
    """A row that came before configuration 2 of its round, with its ratio."""
    base = next(r for r in rows if (r.configuration, r.bytes, r.round) == (BASE.name, row.bytes, row.round))
    return msgspec.structs.replace(row, ratio=row.packets_per_s / base.packets_per_s)


async def delays(built: Machine, settings: Settings, progress: Progress) -> list[Delay]:
    """Figure 6.8: how long a packet takes where there are few."""
    rows: list[Delay] = []
    for number in range(1, settings.rounds + 1):
        for size in settings.sizes:
            base = 0.0
            for configuration, node in built.ways():
                if size not in configuration.sizes or not configuration.asked or not configuration.ruled:
                    continue
                progress(f"round {number}: delay, {size} bytes, {place(node)}{configuration.name}")
                order = orders.Time(seconds=settings.seconds, bytes=size, notify=notifies(configuration))
                async with installed(configuration, node):
                    said = await built.scene(configuration, node).ends.ask(order, orders.Timed, order.seconds)
                if not said.delays_us:
                    raise SystemRefusedError(f"{configuration.name}: no packet came through")
                median = statistics.median(said.delays_us)
                base = median if configuration is BASE else base
                rows.append(
                    Delay(
                        plane=node.plane if node is not None else "none",
                        configuration=configuration.name,
                        bytes=size,
                        round=number,
                        median_us=median,
                        p99_us=quantile(said.delays_us, 0.99),
                        added_us=median - base,
                        lost=said.lost,
                    )
                )
    return rows


async def crowds(built: Machine, settings: Settings, progress: Progress) -> list[Crowd]:
    """Figure 6.9: many containers with KeepAlive, all of them busy."""
    rows: list[Crowd] = []
    keep_alive = BY_NAME["KeepAlive"]
    (size,) = keep_alive.sizes
    for node in built.nodes:
        for containers in settings.crowds:
            progress(f"{node.plane}: starting {containers} containers")
            ports = range(traffic.PORT, traffic.PORT + containers)
            started = await node.install(keep_alive, ports)
            await _warm(node, size, containers)
            window = await _loss_free(built, node, containers, settings.seconds)
            memory = (await node.scene.router.ask(orders.Weigh(), orders.Weighed)).pss_mb
            for number in range(1, settings.rounds + 1):
                progress(f"round {number}: {node.plane}, {containers} containers")
                base = await built.rate(BASE, None, size=size, seconds=settings.seconds)
                row = await built.rate(
                    keep_alive, node, size=size, seconds=settings.seconds, flows=containers, window=window
                )
                rows.append(
                    Crowd(
                        plane=node.plane,
                        containers=containers,
                        round=number,
                        packets_per_s=row.packets_per_s,
                        ratio=row.packets_per_s / base.packets_per_s,
                        untreated=row.untreated,
                        lost=row.lost,
                        mb_mean=statistics.mean(memory),
                        mb_max=max(memory),
                        ready_ms=statistics.median(started.ready_ms),
                        loaded_ms=statistics.median(started.loaded_ms),
                    )
                )
            await node.clear()
    return rows


async def _warm(node: NodeThere, size: int, containers: int) -> None:
    order = orders.Generate(seconds=WARM_S, bytes=size, notify=True, flows=containers, window=CROWD_WINDOWS[0])
    for _ in range(WARM_TRIES):
        await node.scene.ends.ask(order, orders.Generated, order.seconds)
        if await node.treated() >= WARM_PACKETS * containers:
            return


async def _loss_free(built: Machine, node: NodeThere, containers: int, seconds: float) -> int:
    """The largest window with which packets are treated in time; the smallest, where that is none."""
    keep_alive = BY_NAME["KeepAlive"]
    (size,) = keep_alive.sizes
    for window in CROWD_WINDOWS:
        row = await built.rate(keep_alive, node, size=size, seconds=seconds, flows=containers, window=window)
        if row.untreated + row.lost < LOSS_MAX:
            break
    return window


@asynccontextmanager
async def installed(configuration: Configuration, node: NodeThere | None) -> AsyncIterator[None]:
    """The module of a configuration, where it has one."""
    if node is None:
        yield
        return
    await node.install(configuration, [traffic.PORT if configuration.asked else OTHER_PORT])
    yield
    await node.clear()


def notifies(configuration: Configuration) -> bool:
    """Whether packets are keep-alives."""
    return configuration.module == "keep-alive"


def place(node: NodeThere | None) -> str:
    """Where it is, for whoever watches."""
    return "" if node is None else f"{node.plane}, "

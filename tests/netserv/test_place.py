"""The place of modules, with containers and packet path that only note what is done; both are real in laboratories."""

from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from netserv.container.installation import Account, Installation
from netserv.container.states import ContainerStatus, Died, Event, Loaded, ModuleState, ModuleStatus, Stopped
from netserv.container.supervisor import Supervisor
from netserv.errors import SystemRefusedError, UnreachableError
from netserv.forwarding.base import ForwardingPlane
from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.ring import Ring
from netserv.modules.manifest import Manifest
from netserv.place import Place

PACKETS = PacketFilter(proto="udp", ports=(5060,), destination=ip_network("10.1.0.0/24"))


class Containers:
    """What a `Place` needs of a supervisor."""

    def __init__(self) -> None:
        self.said, self.events = trio.open_memory_channel[Event](16)
        self.done: list[tuple[Any, ...]] = []
        self.process = 100
        self.loaded: dict[int, str] = {}
        self.fails = ""

    async def install(self, installation: Installation, filters: Sequence[int] = ()) -> int:
        del filters
        number = len(self.done) + 1
        self.done.append(("install", installation.manifest.name))
        self.loaded[number] = installation.account.name
        return number

    async def remove(self, number: int) -> None:
        self.done.append(("remove", number))
        del self.loaded[number]

    async def attach(self, number: int, ring: Sequence[int] | None, filters: Sequence[int] = ()) -> None:
        if self.fails:
            raise UnreachableError(self.fails)
        self.done.append(("attach", number, ring is not None, tuple(filters)))

    def strike(self, number: int, why: str) -> None:
        self.done.append(("strike", number, why))

    def status(self) -> list[ContainerStatus]:
        return [
            ContainerStatus(
                account=account,
                running=True,
                process=self.process,
                user=1,
                walls={"root": True, "disk": False},
                memory_bytes=1,
                memory_limit_bytes=2,
                cpu_s=0.5,
                pids=1,
                disk_bytes=0,
                disk_limit_bytes=1,
                killed_for_memory=0,
                rubbish=0,
                modules=tuple(
                    ModuleStatus(
                        number=number,
                        name="m",
                        version="1",
                        state=ModuleState.RUNNING,
                        strikes=2,
                        restarts=0,
                        counters={},
                    )
                    for number, owner in self.loaded.items()
                    if owner == account
                ),
            )
            for account in sorted(set(self.loaded.values()))
        ]


class PacketPath:
    """What it needs of a plane."""

    def __init__(self) -> None:
        self.rings: dict[int, Ring | None] = {}
        self.refuses = False
        self.counted: dict[int, dict[str, int]] = {}

    async def install(self, wanted: PacketFilter, ring: Ring | None, policy: str, allowed: Sequence[Any]) -> int:
        del wanted, policy, allowed
        if self.refuses:
            raise SystemRefusedError("no room")
        self.rings[len(self.rings) + 1] = ring
        return len(self.rings)

    async def attach(self, number: int, ring: Ring | None) -> None:
        assert ring is None or ring.memory >= 0
        self.rings[number] = ring

    async def remove(self, number: int) -> None:
        del self.rings[number]

    async def counters(self) -> dict[int, dict[str, int]]:
        return self.counted


def installation(name: str = "tests.One", user: str = "alice", packets: PacketFilter | None = PACKETS) -> Installation:
    manifest = Manifest(name=name, version="1.0.0", entry="main:One", kind="both")
    return Installation(account=Account(name=user), manifest=manifest, bundle=Path("unused"), packets=packets)


def made() -> tuple[Place, Containers, PacketPath]:
    containers, plane = Containers(), PacketPath()
    return Place(cast("Supervisor", containers), cast("ForwardingPlane", plane)), containers, plane


async def test_modules_of_a_publisher_share_a_ring_and_others_have_their_own() -> None:
    place, containers, plane = made()
    await place.install(1, installation("tests.One"))
    await place.install(2, installation("tests.Two"))
    await place.install(3, installation("tests.Three", "bob"))
    assert plane.rings[1] is plane.rings[2] is not plane.rings[3]
    assert [each[2] for each in containers.done if each[0] == "attach"] == [True, False, True]
    for job in (1, 2, 3):
        await place.uninstall(job)
    assert (plane.rings, containers.loaded, place.facts(), place.described()) == ({}, {}, {}, {})


async def test_a_module_without_packets_has_neither_filter_nor_ring() -> None:
    place, containers, plane = made()
    await place.install(1, installation(packets=None))
    assert (plane.rings, [each[0] for each in containers.done]) == ({}, ["install"])
    await place.uninstall(1)
    await place.uninstall(1)  # one that is not there is no error


@pytest.mark.parametrize("fault", ["filter", "ring"])
async def test_what_fails_half_way_leaves_nothing(fault: str) -> None:
    place, containers, plane = made()
    plane.refuses, containers.fails = fault == "filter", "gone" if fault == "ring" else ""
    with pytest.raises((SystemRefusedError, UnreachableError)):
        await place.install(1, installation())
    assert (plane.rings, containers.loaded, place.described()) == ({}, {}, {})


async def test_a_container_that_comes_back_gets_another_ring(clock: trio.testing.MockClock) -> None:
    place, containers, plane = made()
    await place.install(1, installation())
    first, given_up = plane.rings[1], list[tuple[int, str]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.watch, lambda job, why: given_up.append((job, why)))
        containers.process = 0
        for event in (Stopped(1, "ended", 1.0), Died("alice", "ended")):
            await containers.said.send(event)
        await trio.testing.wait_all_tasks_blocked()
        assert plane.rings == {1: None}
        containers.process = 101
        await containers.said.send(Loaded(1, again=True))
        await trio.testing.wait_all_tasks_blocked()
        assert plane.rings[1] is not None
        assert plane.rings[1] is not first
        await containers.said.send(Stopped(1, "it has failed too often", None))
        await trio.testing.wait_all_tasks_blocked()
        assert (plane.rings, given_up) == ({1: None}, [(1, "it has failed too often")])
        nursery.cancel_scope.cancel()
    await place.uninstall(1)


async def test_a_module_installed_before_the_end_of_its_container_is_heard_of_gets_a_new_ring() -> None:
    place, containers, plane = made()
    await place.install(1, installation())
    containers.process = 101  # it has ended and another runs; nobody has read that yet
    await place.install(2, installation("tests.Two"))
    assert plane.rings[1] is None
    assert plane.rings[2] is not None
    await place.uninstall(1)
    await place.uninstall(2)


@pytest.mark.parametrize(
    ("counted", "struck"),
    [
        ({"late": 3}, ["3 packets late"]),
        ({"late": 91, "accepted": 5, "dropped": 2, "changed": 1, "refused": 1}, ["91 packets late"]),
        ({"late": 90, "accepted": 10}, []),
        ({"late": 0, "accepted": 0, "full": 9}, []),
        ({"rubbish": 1, "accepted": 1_000}, ["1 packets rubbish"]),
    ],
)
async def test_a_module_that_keeps_its_packets_is_struck_and_one_that_is_overloaded_is_not(
    clock: trio.testing.MockClock, counted: dict[str, int], struck: list[str]
) -> None:
    place, containers, plane = made()
    await place.install(1, installation())
    plane.counted = {1: counted}
    with trio.move_on_after(2.5):
        await place.look()
    assert [each[2] for each in containers.done if each[0] == "strike"] == struck
    await place.uninstall(1)


async def test_packets_that_come_late_are_strikes(clock: trio.testing.MockClock) -> None:
    place, containers, plane = made()
    await place.install(1, installation())
    plane.counted = {1: {"packets": 10, "late": 3, "rubbish": 0}}
    with trio.move_on_after(2.5):
        await place.look()
    assert [each for each in containers.done if each[0] == "strike"] == [("strike", 1, "3 packets late")]
    (facts,) = place.facts().values()
    assert (facts.walls, facts.strikes) == (("root",), 2)
    assert dict(facts.load) == {"packets": "10", "late": "3", "rubbish": "0", "cpu-s": "0.500", "memory": "1"}
    await place.uninstall(1)

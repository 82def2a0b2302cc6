"""The sockets beside `mdht.ports`: a router on the loopback interface."""

import ipaddress
import socket
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from dhtboot.ids import Address
from mdht import miniupnpc_io, netifaces_io, port_mapping
from mdht.miniupnpc_io import GatewayDevice
from mdht.port_mapping import PortMapping
from mdht.ports import pcp
from mdht.ports.config import MapperConfig
from mdht.ports.effects import UpnpMap, UpnpSilent
from tests.mdht.ports.routers import NONCE, PORT, Router

pytestmark = pytest.mark.usefixtures("_gateway")
LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
OUTSIDE: Address = ("11.0.3.2", PORT)
CONFIG = MapperConfig(upnp=False)


@pytest.fixture
def sock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of the router, at a port that is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((str(LOOPBACK), 0))
        monkeypatch.setattr(pcp, "PORT", sock.getsockname()[1])
        yield sock


@pytest.fixture
def _gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netifaces_io, "gateway4", lambda _names: LOOPBACK)
    monkeypatch.setattr(port_mapping, "LOOK_S", 0.05)


class World:
    """What the host was told, and who asks for it."""

    def __init__(self, config: MapperConfig) -> None:
        self.told: list[Address | None] = []
        self.mapping = PortMapping(PORT, ("lo",), NONCE, self.told.append, allow_private=False, config=config)

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(10.0):
            while not condition():  # noqa: ASYNC110 - of a state that has no event
                await trio.sleep(0.01)


@asynccontextmanager
async def asking(router: Router | None, sock: Any, config: MapperConfig = CONFIG, *, cancelled: bool = False) -> Any:
    """One that asks; at the end its program is cancelled first, or is not."""
    world = World(config)
    async with trio.open_nursery() as nursery:
        if router is not None:
            nursery.start_soon(serve, router, trio.socket.from_stdlib_socket(sock.dup()))
        async with trio.open_nursery() as inner:
            inner.start_soon(world.mapping.run)
            yield world
            if cancelled:
                inner.cancel_scope.cancel()
            else:
                await world.mapping.give_back()
        if cancelled:
            await world.mapping.give_back()
        nursery.cancel_scope.cancel()


async def serve(router: Router, sock: Any) -> None:
    router.born = trio.current_time()
    with sock:
        while True:
            data, source = await sock.recvfrom(2000)
            for answer in router.answer(data, trio.current_time()):
                await sock.sendto(answer, source)


@pytest.mark.parametrize("cancelled", [False, True])
def test_the_host_is_told_where_the_router_forwards_from_and_the_port_goes_back_at_the_end(
    sock: Any, cancelled: bool
) -> None:
    router = Router("pcp")

    async def main() -> World:
        async with asking(router, sock, cancelled=cancelled) as world:
            await world.until(lambda: world.told)
            status = world.mapping.status()
            assert (status.gateway, status.protocol, status.outside) == ("127.0.0.1", "PCP", f"11.0.3.2:{PORT}")
            assert 7100 < status.expires_in_s <= 7200
            assert status.why == ""
            assert set(router.forwards) == {PORT}
        return world

    world = trio.run(main)
    assert world.told == [OUTSIDE, None]
    assert router.forwards == {}
    assert "given back" in world.mapping.status().why


def test_where_nobody_listens_at_the_router_the_user_is_told_at_once(sock: Any) -> None:
    sock.close()

    async def main() -> None:
        async with asking(None, sock) as world:
            await world.until(lambda: "answers neither" in world.mapping.status().why)
            assert world.told == []

    trio.run(main)


def test_without_a_router_the_host_waits_for_one(sock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway: list[ipaddress.IPv4Address | None] = [None]
    monkeypatch.setattr(netifaces_io, "gateway4", lambda _names: gateway[0])

    async def main() -> list[Address | None]:
        async with asking(Router("natpmp"), sock) as world:
            await world.until(lambda: "there is no router" in world.mapping.status().why)
            gateway[0] = LOOPBACK
            await world.until(lambda: world.told == [OUTSIDE])
            gateway[0] = None
            await world.until(lambda: world.told == [OUTSIDE, None])
        return list(world.told)

    assert trio.run(main) == [OUTSIDE, None]


def test_what_strangers_send_is_counted_and_changes_nothing(sock: Any) -> None:
    async def main() -> None:
        async with asking(None, sock) as world:
            await trio.lowlevel.wait_readable(sock)
            data, source = sock.recvfrom(2000)
            assert pcp.Request.decode(data).client == LOOPBACK
            for nonsense in (b"", b"\x02", b"\x00" * 40, bytes(2000), data):
                sock.sendto(nonsense, source)
            await world.until(lambda: world.mapping.counters["port_answers_malformed"] == 5)
            assert world.told == []

    trio.run(main)


def test_a_router_that_is_silent_does_not_hold_up_the_end(sock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_mapping, "GIVE_BACK_S", 0.05)
    slow = msgspec.structs.replace(CONFIG, end_s=60.0)

    async def main() -> float:
        async with asking(None, sock, slow) as world:
            await world.until(lambda: world.mapping.counters["port_requests"])
            begun = trio.current_time()
        return trio.current_time() - begun

    assert trio.run(main) < 10.0


def test_without_the_library_upnp_is_left_out_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "miniupnpc", None)
    call = UpnpMap(internal_port=PORT, external_ports=(PORT,), lifetime_s=60)
    assert GatewayDevice("127.0.0.1").call(call) == UpnpSilent(miniupnpc_io.MISSING)
    assert "z2z[upnp]" in miniupnpc_io.MISSING

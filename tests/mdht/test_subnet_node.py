"""Several hosts of one link, on real sockets: one node of records."""

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import trio

from dhtboot.ids import Address
from mdht.api import Mdht
from mdht.config import MdhtConfig
from mdht.keeping.config import KeepingConfig
from mdht.link_driver import Faults
from mdht.node import open_mdht
from mdht.signing import SigningKey
from mdht.subnet.effects import Event, LinkMode, LinkModeChanged

pytestmark = pytest.mark.loopback

KEY = b"k" * 20
CONFIG = MdhtConfig(network=f"subnet-{os.getpid()}", interfaces=("lo",), port=0)
"Others may test on the same loopback."
DEAF = Faults(ignore_multicast=True)
"Of all hosts of a link: then no multicast passes on it."


async def until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await trio.sleep(0.02)


async def settled(nodes: list[Mdht]) -> None:
    """Wait until all are in one subnet, and know each other."""

    def together() -> bool:
        states = [node.status() for node in nodes]
        known = all(len(state.members) == len(nodes) - 1 and state.phase == "joined" for state in states)
        return known and len({state.subnet for state in states}) == 1

    await until(together)


async def hosts(stack: AsyncExitStack, count: int, config: MdhtConfig = CONFIG) -> list[Mdht]:
    """So many that know each other."""
    found = [await stack.enter_async_context(open_mdht(config, SigningKey.generate())) for _ in range(count)]
    await settled(found)
    return found


async def acquainted(*nodes: Mdht) -> None:
    """They know other nodes."""
    while True:
        if all(node.status().contacts for node in nodes):
            return
        await trio.sleep(0.02)


def test_hosts_of_a_link_share_records_whatever_their_size() -> None:
    async def test() -> None:
        with trio.fail_after(30):
            async with AsyncExitStack() as stack:
                nodes = await hosts(stack, 5)
                assert len({node.status().subnet for node in nodes}) == 1
                values = {b"%d" % number: bytes([number]) * 600 for number in range(60)}
                for name, value in values.items():
                    receipt = await nodes[0].put(KEY, value, ttl_s=60, name=name)
                    assert receipt.stored == 1, "the node that they are together"
                for node in nodes:
                    assert {found.name: found.value for found in await node.get(KEY)} == values
                assert sorted(node.status().records for node in nodes).count(60) >= 3
                served = sum(node.status().counters.get("bulk_served", 0) for node in nodes)
                assert served, "too many for a datagram"

    trio.run(test)


def test_a_change_at_one_host_is_heard_at_another_and_outlives_both() -> None:
    async def test() -> None:
        with trio.fail_after(30):
            async with AsyncExitStack() as stack:
                first, second, third = await hosts(stack, 3)
                async with second.watch(KEY) as changes:
                    await first.put(KEY, b"here", ttl_s=60)
                    assert (await changes.receive()).found.value == b"here"
                    await third.get(KEY)
                    await first.remove(KEY)
                    assert (await changes.receive()).kind == "removed"
                async with open_mdht(CONFIG, SigningKey.generate()) as passing:
                    await passing.put(KEY, b"left behind", ttl_s=60)
                assert [found.value for found in await third.get(KEY)] == [b"left behind"]

    trio.run(test)


def test_what_one_host_has_fetched_of_another_node_its_sibling_has_from_it() -> None:
    one = KeepingConfig(replicas=1, acks=1, read_quorum=1)
    here = msgspec.structs.replace(CONFIG, network=f"cache-{os.getpid()}", keeping=one)

    async def test() -> None:
        with trio.fail_after(30):
            async with AsyncExitStack() as stack:
                first, second = await hosts(stack, 2, here)
                far = msgspec.structs.replace(here, presence=False, bootstrap=first.status().addresses[:1])
                other = await stack.enter_async_context(open_mdht(far, SigningKey.generate()))
                await acquainted(first, second, other)
                ids = [int(node.status().node, 16) for node in (first, other)]
                key = next(
                    key
                    for key in (bytes([number]) * 20 for number in range(256))
                    if int.from_bytes(key) ^ ids[1] < int.from_bytes(key) ^ ids[0]
                )
                value = bytes(600)
                await other.put(key, value, ttl_s=60)
                assert [found.value for found in await first.get(key)] == [value]
                await trio.sleep(0.5)
                assert [found.value for found in await second.get(key)] == [value]
                counters = second.status().counters
                assert counters["cache_sibling_hits"] == 1
                assert counters["cache_bytes_saved"] > 600
                assert (second.status().cached, second.status().records) == (0, 0)
                assert first.status().cached == 1
                assert [found.value for found in await second.get(key, fresh=True)] == [value]
                assert second.status().cached == 1

    trio.run(test)


def port_of(node: Mdht) -> Address:
    return next(address for address in node.host.addresses if address[0] == "127.0.0.1")


@pytest.mark.parametrize("named_by", ["peers", "bootstrap"])
def test_without_any_multicast_hosts_that_know_one_are_one_subnet(named_by: str) -> None:
    async def test() -> None:
        with trio.fail_after(30):
            async with AsyncExitStack() as stack:
                events: list[Event] = []
                first = await stack.enter_async_context(
                    open_mdht(
                        CONFIG, SigningKey.generate(), on_event=lambda _host, event: events.append(event), faults=DEAF
                    )
                )
                host, port = port_of(first)
                named = {"peers": ((host, port),)} if named_by == "peers" else {"bootstrap": (f"{host}:{port}",)}
                config = msgspec.structs.replace(CONFIG, **named)
                others = [
                    await stack.enter_async_context(open_mdht(config, SigningKey.generate(), faults=DEAF))
                    for _ in range(2)
                ]
                await settled([first, *others])
                await others[0].put(KEY, b"by unicast", ttl_s=60)
                assert [found.value for found in await others[1].get(KEY)] == [b"by unicast"]
                await until(lambda: {node.status().link_mode for node in (first, *others)} == {"emulated"})
                assert first.status().emulated == 2
                assert first.status().counters["copies"] > 0
                modes = [event.mode for event in events if isinstance(event, LinkModeChanged)]
                assert modes[-1] is LinkMode.EMULATED

    trio.run(test)


def test_the_policy_is_that_of_the_host_that_came_first_and_stays_over_restarts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = msgspec.structs.replace(CONFIG, network=f"policy-{os.getpid()}")
    full = msgspec.structs.replace(network, keeping=KeepingConfig(policy="full"), state_dir=tmp_path / "full")
    single = msgspec.structs.replace(network, keeping=KeepingConfig(policy="single"), state_dir=tmp_path / "single")

    async def test() -> None:
        with trio.fail_after(30):
            async with AsyncExitStack() as stack:
                (first,) = await hosts(stack, 1, full)
                second = await stack.enter_async_context(open_mdht(single, SigningKey.generate()))
                await first.put(KEY, b"everywhere", ttl_s=60)
                while second.status().records < 1:
                    await trio.lowlevel.checkpoint()
                assert (first.status().policy, first.status().policy_adopted) == ("full", False)
                assert (second.status().policy, second.status().policy_adopted) == ("full", True)
                assert second.status().counters["policies_adopted"] == 1
                assert "founded with policy full, which holds instead of single" in caplog.text
            async with AsyncExitStack() as stack:
                (back,) = await hosts(stack, 1, single)
                assert (back.status().policy, back.status().policy_adopted) == ("full", True)

    trio.run(test)


def test_without_any_multicast_a_host_that_comes_back_finds_the_others_by_what_it_has_kept(tmp_path: Path) -> None:
    async def test() -> None:
        with trio.fail_after(30):
            async with open_mdht(CONFIG, SigningKey.generate(), faults=DEAF) as first:
                config = msgspec.structs.replace(CONFIG, state_dir=tmp_path, peers=(port_of(first),))
                async with open_mdht(config, SigningKey.generate(), faults=DEAF) as second:
                    await settled([first, second])
                back = msgspec.structs.replace(config, peers=())
                async with open_mdht(back, SigningKey.generate(), faults=DEAF) as second:
                    await settled([first, second])

    trio.run(test)


def test_a_host_on_no_link_says_so() -> None:
    async def test() -> None:
        config = msgspec.structs.replace(CONFIG, interfaces=(), presence=False)
        with trio.fail_after(30):
            async with open_mdht(config, SigningKey.generate()) as node:
                assert node.status().link_mode == "no link"

    trio.run(test)

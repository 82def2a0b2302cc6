"""Several hosts of one link, on real sockets: one node of records."""

import os
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import trio

from mdht.api import Mdht
from mdht.config import MdhtConfig
from mdht.keeping.config import KeepingConfig
from mdht.node import open_mdht
from mdht.signing import SigningKey

pytestmark = pytest.mark.loopback

KEY = b"k" * 20
CONFIG = MdhtConfig(network=f"subnet-{os.getpid()}", interfaces=("lo",), port=0)
"Others may test on the same loopback."


async def hosts(stack: AsyncExitStack, count: int, config: MdhtConfig = CONFIG) -> list[Mdht]:
    """So many that know each other."""
    found = [await stack.enter_async_context(open_mdht(config, SigningKey.generate())) for _ in range(count)]
    while True:
        states = [node.status() for node in found]
        if all(len(state.members) == count - 1 and state.phase == "joined" for state in states):
            return found
        await trio.sleep(0.02)


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

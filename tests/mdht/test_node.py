"""Running nodes on loopback sockets: the Python API as a program uses it."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import trio

from mdht.api import Mdht
from mdht.chunks import split
from mdht.config import MdhtConfig
from mdht.errors import LocalProtocolError
from mdht.node import open_mdht
from mdht.signing import SigningKey
from mdht.state import StateDirectory
from mdht.subnet.host_keys import host_name

LIMIT_S = 20.0
KEY = b"k" * 20
ALONE = MdhtConfig(network="test", host="127.0.0.1", port=0, presence=False)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with trio.fail_after(LIMIT_S):
            await test()

    trio.run(limited)


async def neighbours(stack: AsyncExitStack, count: int, config: MdhtConfig = ALONE) -> list[Mdht]:
    """Nodes that all know each other through the first."""
    nodes: list[Mdht] = []
    for _ in range(count):
        entry = nodes[0].status().addresses[:1] if nodes else ()
        joined = msgspec.structs.replace(config, bootstrap=entry)
        nodes.append(await stack.enter_async_context(open_mdht(joined, SigningKey.generate())))
    while not all(node.status().contacts for node in nodes if len(nodes) > 1):
        await trio.lowlevel.checkpoint()
    return nodes


def test_a_value_put_on_one_node_is_got_on_another() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            first, second, third = await neighbours(stack, 3)
            receipt = await second.put(KEY, b"hello", ttl_s=60, acks=3)
            assert (receipt.stored, receipt.refused, receipt.expires_in_s) == (3, (), 60.0)
            (found,) = await third.get(KEY)
            assert found.value == b"hello"
            assert 55.0 < found.remaining_s <= 60.0
            one = await first.get_first(KEY)
            assert one is not None
            assert one.value == b"hello"
            assert await first.get_first(b"x" * 20) is None
            assert await first.get(b"x" * 20) == []

    run(test)


def test_large_values_travel_in_chunks_and_come_back_whole() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            first, second = await neighbours(stack, 2)
            value = bytes(range(256)) * 64
            await first.put(KEY, value, ttl_s=60)
            assert [found.value for found in await second.get(KEY)] == [value]
            with pytest.raises(LocalProtocolError, match="16"):
                await first.put(KEY, value + b"x", ttl_s=60)
            with pytest.raises(LocalProtocolError, match="lease"):
                await first.put(KEY, value, ttl_s=8 * 86_400)

    run(test)


def test_names_of_one_writer_are_apart_and_removal_takes_one() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            first, second = await neighbours(stack, 2)
            await first.put(KEY, b"a", ttl_s=60, name=b"one")
            await first.put(KEY, b"b", ttl_s=60, name=b"two")
            assert {found.value for found in await second.get(KEY)} == {b"a", b"b"}
            await first.remove(KEY, b"one")
            assert {found.value for found in await second.get(KEY)} == {b"b"}
            await first.put(KEY, b"again", ttl_s=60, name=b"one")
            assert {found.value for found in await second.get(KEY)} == {b"again", b"b"}

    run(test)


def test_a_watcher_hears_what_is_there_then_each_change() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            first, second = await neighbours(stack, 2)
            await first.put(KEY, b"early", ttl_s=60)
            async with second.watch(KEY) as changes:
                change = await changes.receive()
                assert (change.kind, change.found.value) == ("added", b"early")
                await first.put(KEY, bytes(5000), ttl_s=60)
                change = await changes.receive()
                assert (change.kind, change.found.value) == ("updated", bytes(5000))
                await first.remove(KEY)
                change = await changes.receive()
                assert (change.kind, change.found.remaining_s) == ("removed", 0.0)

    run(test)


def test_a_broken_value_hides_no_other() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            first, second = await neighbours(stack, 2)
            for name, head in ((b"garbage", b"?"), (b"lost chunks", split(bytes(2000))[0])):
                await first._put_record(KEY, name, head, lease_s=60, deleted=False, acks=2)
            assert await second.get(KEY) == []
            await first.put(KEY, b"good", ttl_s=60)
            assert [found.value for found in await second.get(KEY)] == [b"good"]
            assert second.status().counters["broken_values"] == 4

    run(test)


def test_a_writer_whose_clock_was_set_back_still_replaces_its_record() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            (first,) = await neighbours(stack, 1)
            await first.put(KEY, b"later", ttl_s=60)
            first._last_seq += 10_000_000_000
            await first.put(KEY, b"future", ttl_s=60)
            first._last_seq = 0
            receipt = await first.put(KEY, b"now", ttl_s=60)
            assert receipt.stored == 1
            assert [found.value for found in await first.get(KEY)] == [b"now"]

    run(test)


def test_two_programs_with_one_identity_do_not_lock_each_other_out() -> None:
    async def test() -> None:
        writer = SigningKey.generate()
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(open_mdht(ALONE, writer))
            config = msgspec.structs.replace(ALONE, bootstrap=first.status().addresses)
            second = await stack.enter_async_context(open_mdht(config, writer))
            while not (first.status().contacts and second.status().contacts):
                await trio.lowlevel.checkpoint()
            for at in range(3):
                for node in (first, second):
                    value = b"%d %d" % (at, id(node))
                    assert (await node.put(KEY, value, ttl_s=60)).stored == 2
                    assert [found.value for found in await first.get(KEY)] == [value]

    run(test)


def test_records_survive_a_restart_with_a_state_directory(tmp_path: Path) -> None:
    async def test() -> None:
        config = msgspec.structs.replace(ALONE, state_dir=tmp_path / "state")
        async with open_mdht(config, SigningKey.generate()) as node:
            await node.put(KEY, b"kept", ttl_s=60)
            identifier = node.status().node
        async with open_mdht(config, SigningKey.generate()) as node:
            assert [found.value for found in await node.get(KEY)] == [b"kept"]
            assert node.status().node == identifier
            with pytest.raises(LocalProtocolError, match="another mdht"):
                async with open_mdht(config, SigningKey.generate()):
                    pass

    run(test)


def test_a_host_has_the_name_of_its_own_key_whether_it_signs_or_not(tmp_path: Path) -> None:
    async def test() -> None:
        names, state_dir = [], tmp_path / "state"
        for host_keys in (False, True):
            config = msgspec.structs.replace(ALONE, state_dir=state_dir, host_keys=host_keys)
            async with open_mdht(config, SigningKey.generate()) as node:
                names.append(node.status().host)
        with StateDirectory.open(state_dir, 0.0) as directory:
            key = SigningKey.from_seed(directory.load(0.0).node_seed)
        assert names == [host_name(key.public_key).hex()] * 2

    run(test)


def test_records_outlive_the_node_that_put_them() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            (first,) = await neighbours(stack, 1)
            config = msgspec.structs.replace(ALONE, bootstrap=first.status().addresses)
            async with open_mdht(config, SigningKey.generate()) as passing:
                while not passing.status().contacts:
                    await trio.lowlevel.checkpoint()
                await passing.put(KEY, b"left behind", ttl_s=60)
            assert [found.value for found in await first.get(KEY)] == [b"left behind"]

    run(test)


def test_networks_of_other_names_do_not_see_each_other() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            (first,) = await neighbours(stack, 1)
            config = msgspec.structs.replace(ALONE, network="other", bootstrap=first.status().addresses)
            stranger = await stack.enter_async_context(open_mdht(config, SigningKey.generate()))
            while not first.status().counters.get("refused"):
                await trio.lowlevel.checkpoint()
            assert stranger.status().contacts == first.status().contacts == 0

    run(test)


def test_the_status_says_where_the_neighbours_stand_on_the_ring() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            first, second = await neighbours(stack, 2)
            while not first.status().ring:
                await trio.lowlevel.checkpoint()
            (near,) = first.status().ring
            assert (near.node, near.address) == (second.status().node, second.status().addresses[0])

    run(test)


def test_explain_names_the_way_and_the_holders() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            first, second = await neighbours(stack, 2)
            await first.put(KEY, b"x", ttl_s=60)
            explanation = await second.explain(KEY)
            assert explanation.key == KEY.hex()
            assert set(explanation.holders) == {"here", first.status().addresses[0]}
            assert [hop.state for hop in explanation.hops] == ["answered"]
            assert (explanation.records, explanation.tombstones) == (1, 0)

    run(test)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bootstrap": ("no port:x",)}, "bootstrap"),
        ({"presence": True, "interfaces": ("nosuch0",)}, "nosuch0"),
        ({"host": "203.0.113.77"}, "cannot bind"),
    ],
)
def test_unusable_settings_are_refused_with_their_reason(changes: dict[str, object], reason: str) -> None:
    async def test() -> None:
        config = msgspec.structs.replace(ALONE, **changes)
        with pytest.raises(LocalProtocolError, match=reason):
            async with open_mdht(config, SigningKey.generate()):
                pass

    run(test)


def test_a_taken_port_is_refused_only_where_it_is_required() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            (first,) = await neighbours(stack, 1)
            port = int(first.status().addresses[0].rpartition(":")[2])
            config = msgspec.structs.replace(ALONE, port=port)
            other = await stack.enter_async_context(open_mdht(config, SigningKey.generate()))
            assert other.status().addresses != first.status().addresses
            strict = msgspec.structs.replace(config, port_required=True)
            with pytest.raises(LocalProtocolError, match="taken"):
                async with open_mdht(strict, SigningKey.generate()):
                    pass

    run(test)

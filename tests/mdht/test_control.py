import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mdht.control import CONNECTIONS_MAX, LINE_MAX, ControlClient, control_path, serve_control
from mdht.errors import LocalProtocolError, MdhtError, MissingChunkError, RefusalCode, UnreachableError
from mdht.results import Change, Explanation, Found, Receipt, Refusal, Status

KEY = bytes(20)


def found(value: bytes, name: bytes = b"n") -> Found:
    return Found(writer=bytes(32), name=name, seq=1, value=value, lease_s=60, remaining_s=59.5)


class MemoryNode:
    """A node without an overlay: the same calls over a dictionary."""

    def __init__(self) -> None:
        self.values: dict[tuple[bytes, bytes], bytes] = {}
        self.watchers: list[trio.MemorySendChannel[Change]] = []
        self.error: MdhtError | None = None
        self.asked_fresh: list[bool] = []

    def _tell(self, change: Change) -> None:
        for watcher in self.watchers:
            watcher.send_nowait(change)

    async def put(self, key: bytes, value: bytes, *, ttl_s: float, name: bytes = b"") -> Receipt:
        if self.error is not None:
            raise self.error
        self.values[key, name] = value
        self._tell(Change(kind="added", found=found(value, name)))
        refusal = Refusal(node="192.0.2.1:27183", code=RefusalCode.STORE_FULL)
        return Receipt(stored=3, refused=(refusal,), expires_in_s=ttl_s)

    async def get(self, key: bytes, *, fresh: bool = False) -> list[Found]:
        if self.error is not None:
            raise self.error
        self.asked_fresh.append(fresh)
        return [found(value, name) for (at, name), value in self.values.items() if at == key]

    async def remove(self, key: bytes, name: bytes = b"") -> Receipt:
        self._tell(Change(kind="removed", found=found(self.values.pop((key, name)), name)))
        return Receipt(stored=1, expires_in_s=1.0)

    async def explain(self, key: bytes) -> Explanation:
        return Explanation(key=key.hex(), elapsed_ms=1.0, requests=0, hops=(), holders=(), records=0, tombstones=0)

    def status(self) -> Status:
        return Status(
            node="00" * 20,
            subnet="00" * 8,
            host="00" * 8,
            writer="00" * 32,
            network="lab",
            interfaces=("lo",),
            phase="joined",
            addresses=("127.0.0.1:27183",),
            uptime_s=1.0,
            members=(),
            link_mode="multicast",
            emulated=0,
            without_copies=0,
            merges=0,
            role="client",
            why="nobody is let in",
            contacts=0,
            neighbours=(),
            structural_changes=0,
            policy="fixed:3",
            policy_adopted=False,
            records=len(self.values),
            record_bytes=0,
            lookups={"inf": 0},
            lookups_s=0.0,
            cached=0,
            cached_bytes=0,
            counters={},
        )

    @asynccontextmanager
    async def watch(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        send, receive = trio.open_memory_channel[Change](99)
        self.watchers.append(send)
        with send, receive:
            yield receive
        self.watchers.remove(send)


Body = Callable[[MemoryNode, ControlClient, Path], Awaitable[None]]


def served(tmp_path: Path, body: Body) -> None:
    async def main() -> None:
        node, path = MemoryNode(), tmp_path / "control"
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_control, node, path)
                await body(node, ControlClient(path), path)
                nursery.cancel_scope.cancel()
        assert not path.exists()

    trio.run(main)


def test_records_go_through_the_socket(tmp_path: Path) -> None:
    async def body(node: MemoryNode, client: ControlClient, _path: Path) -> None:
        values = [bytes(range(256)) * 64, b"", b"two\nlines"]
        for at, value in enumerate(values):
            receipt = await client.put(KEY, value, ttl_s=60.5, name=bytes([at]))
            assert (receipt.stored, receipt.expires_in_s) == (3, 60.5)
            assert receipt.refused[0].code is RefusalCode.STORE_FULL
        assert [each.value for each in await client.get(KEY)] == values
        assert await client.get(bytes([1]) * 20) == []
        assert (await client.remove(KEY, b"\0")).stored == 1
        assert len(await client.get(KEY, fresh=True)) == 2
        assert node.asked_fresh == [False, False, True]
        assert await client.status() == node.status()
        assert await client.explain(KEY) == await node.explain(KEY)

    served(tmp_path, body)


def test_a_watcher_sees_changes_until_it_leaves(tmp_path: Path) -> None:
    async def body(node: MemoryNode, client: ControlClient, _path: Path) -> None:
        async with client.watch(KEY) as changes:
            while not node.watchers:
                await trio.lowlevel.checkpoint()
            await client.put(KEY, b"value", ttl_s=60, name=b"n")
            assert await changes.receive() == Change(kind="added", found=found(b"value"))
            await client.remove(KEY, b"n")
            assert (await changes.receive()).kind == "removed"
        while node.watchers:
            await trio.lowlevel.checkpoint()

    served(tmp_path, body)


@pytest.mark.parametrize(
    "error", [LocalProtocolError("too large"), UnreachableError("nobody"), MissingChunkError("gone"), MdhtError("else")]
)
def test_errors_keep_their_kind_and_text(tmp_path: Path, error: MdhtError) -> None:
    async def body(node: MemoryNode, client: ControlClient, _path: Path) -> None:
        node.error = error
        with pytest.raises(type(error), match=str(error)):
            await client.get(KEY)
        with pytest.raises(type(error), match=str(error)):
            await client.put(KEY, b"", ttl_s=1)

    served(tmp_path, body)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b'{"method": "eat", "key": "AAAA"}',
        b'{"method": "get", "key": "AAAA"}',
        b'{"method": "get"}',
        b"[1]",
        b'"' + b"a" * (LINE_MAX + 9),
    ],
)
def test_what_is_no_request_is_answered_with_one_line(tmp_path: Path, line: bytes) -> None:
    async def body(_node: MemoryNode, client: ControlClient, path: Path) -> None:
        reply = await exchange(path, line)
        assert (reply["reply"], reply["kind"]) == ("error", "local")
        assert "not a request" in reply["message"]
        assert await client.get(KEY) == []

    served(tmp_path, body)


async def exchange(path: Path, line: bytes) -> dict[str, str]:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(line + b"\n")
        reply = b""
        async for data in stream:
            reply += data
    answer: dict[str, str] = json.loads(reply)
    return answer


@given(st.binary(max_size=80))
def test_any_bytes_leave_the_server_standing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    async def body(_node: MemoryNode, client: ControlClient, path: Path) -> None:
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(data)
        assert await client.answers()

    served(tmp_path_factory.mktemp("s"), body)


def test_only_so_many_programs_are_served_at_a_time(tmp_path: Path) -> None:
    async def body(_node: MemoryNode, client: ControlClient, path: Path) -> None:
        streams = [await trio.open_unix_socket(path) for _ in range(CONNECTIONS_MAX)]
        with pytest.raises(MdhtError, match=f"{CONNECTIONS_MAX} programs are connected"):
            await client.status()
        for stream in streams:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.status()).network == "lab"

    served(tmp_path, body)


def test_a_reader_of_a_stopped_node_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        client = ControlClient(tmp_path / "control")
        assert not await client.answers()
        with pytest.raises(UnreachableError, match=r"no node answers at .*control"):
            await client.status()

    trio.run(main)


def test_a_socket_left_by_a_killed_node_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "control"))

    async def body(_node: MemoryNode, client: ControlClient, path: Path) -> None:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert await client.answers()

    served(tmp_path, body)


def test_a_long_state_directory_gets_a_short_socket_path(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    near = tmp_path / "state"
    assert control_path(near, environ) == near / "control"
    far = [control_path(tmp_path / ("d" * 100) / name, environ) for name in "ab"]
    assert {path.parent for path in far} == {runtime}
    assert far[0] != far[1]


def test_a_shared_directory_is_not_used_for_the_socket(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(LocalProtocolError, match="not a private directory"):
        control_path(tmp_path / ("d" * 100), {"XDG_RUNTIME_DIR": str(tmp_path)})

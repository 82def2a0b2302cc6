"""Two real OpenDHT nodes with proxies, on loopback."""

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from mdht.signing import SigningKey
from z2z.errors import LocalProtocolError, StoreError
from z2z.stores.kinds import StoreSettings
from z2z.stores.opendht_proxy import KIND, OpenDhtStore

KEY = b"\x5a" * 20
PATIENCE_S = 15.0
ONE, TWO = SigningKey.from_seed(b"1" * 32), SigningKey.from_seed(b"2" * 32)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Node:
    """A `dhtnode`, which reads commands from its standard input and ends with it."""

    def __init__(self, bootstrap: int | None) -> None:
        self.port, proxy = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        self.proxy = f"http://127.0.0.1:{proxy}"
        program = shutil.which("dhtnode", path="/usr/bin:/usr/local/bin")
        assert program is not None, "install Debian's dhtnode"
        words = [program, "-p", str(self.port), "--proxyserver", str(proxy)]
        words += [] if bootstrap is None else ["-b", f"127.0.0.1:{bootstrap}"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def knows_another(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.proxy}/node/info", timeout=1) as answer:
                return '"good":0' not in answer.read().decode().partition("ipv6")[0]
        except OSError:
            return False

    def wait(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.knows_another():
            assert time.monotonic() < end, "it finds no other node"
            time.sleep(0.1)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Node, Node]]:
    first = Node(None)
    second = Node(first.port)
    try:
        first.wait()
        second.wait()
        yield first, second
    finally:
        first.stop()
        second.stop()


@asynccontextmanager
async def store(node: Node | str, signer: SigningKey, tmp_path: Path) -> AsyncIterator[OpenDhtStore]:
    proxy = node if isinstance(node, str) else node.proxy
    async with KIND.open(StoreSettings(signer=signer, role="both", state_dir=tmp_path, proxy=proxy)) as opened:
        assert isinstance(opened.store, OpenDhtStore)
        yield opened.store


async def followed(of: OpenDhtStore, key: bytes, at_first: Callable[[], None]) -> None:
    """Listen to a key until that ends, and do something at the first change."""
    async with of.listen(key) as changes:
        async for _ in changes:
            at_first()


async def values(of: OpenDhtStore, key: bytes) -> list[bytes]:
    return sorted(stored.value for stored in await of.get(key))


def test_what_one_puts_by_its_proxy_others_get_by_theirs(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    key = KEY[:-1] + b"1"

    async def test() -> None:
        with trio.fail_after(PATIENCE_S):
            async with store(nodes[0], ONE, tmp_path) as one, store(nodes[1], TWO, tmp_path) as two:
                await one.put(key, b"music", b"first", 300)
                await two.put(key, b"music", b"of another one", 300)
                assert await values(two, key) == await values(one, key) == [b"first", b"of another one"]
                await one.put(key, b"music", b"second", 300)
                assert await values(two, key) == [b"of another one", b"second"]
                await one.put(key, b"large", bytes(16_000), 300)
                assert bytes(16_000) in await values(two, key)
                await one.remove(key, b"large")
                await one.remove(key, b"music")
                assert await values(two, key) == [b"of another one"]
                (stored,) = await one.get(key)
                assert stored.writer == TWO.public_key
                assert 0 < stored.remaining_s <= 300
                assert nodes[1].proxy in two.describe()

    trio.run(test)


def test_changes_are_pushed(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    key = KEY[:-1] + b"2"

    async def test() -> None:
        with trio.fail_after(PATIENCE_S):
            async with store(nodes[0], ONE, tmp_path) as one, store(nodes[1], TWO, tmp_path) as two:
                await one.put(key, b"n", b"before", 300)
                async with two.listen(key) as changes:
                    seen = await changes.receive()
                    assert (seen.kind, seen.stored.value) == ("added", b"before")
                    began = trio.current_time()
                    await one.put(key, b"n", b"after", 300)
                    seen = await changes.receive()
                    assert (seen.kind, seen.stored.value) == ("updated", b"after")
                    await one.remove(key, b"n")
                    seen = await changes.receive()
                    assert (seen.kind, seen.stored.value) == ("removed", b"after")
                    print(f"two changes after {1000 * (trio.current_time() - began):.0f} ms")

    trio.run(test)


def test_values_of_other_programs_under_the_key_do_no_harm(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    key = KEY[:-1] + b"3"

    async def test() -> None:
        with trio.fail_after(PATIENCE_S):
            async with store(nodes[0], ONE, tmp_path) as one, store(nodes[1], TWO, tmp_path) as two:
                for body in ({"data": "aGVsbG8="}, {"data": "", "id": "7"}):
                    await one._client.post(f"/key/{key.hex()}", json=body)
                await one.put(key, b"n", b"ours", 300)
                assert await values(two, key) == [b"ours"]
                assert "ignored" in two.describe()

    trio.run(test)


def test_a_node_without_a_network_and_no_proxy_at_all_are_told_apart(tmp_path: Path) -> None:
    lone = Node(None)

    async def test() -> None:
        with trio.fail_after(PATIENCE_S):
            while True:
                async with store(lone, ONE, tmp_path) as one:
                    try:
                        await one.put(KEY, b"n", b"v", 300)
                    except StoreError as error:
                        if "knows no other node" in str(error):
                            break
                await trio.sleep(0.1)
            nobody = f"http://127.0.0.1:{free_port(socket.SOCK_STREAM)}"
            async with store(nobody, ONE, tmp_path) as one:
                for call in (one.put(KEY, b"n", b"v", 300), one.remove(KEY, b"n"), one.get(KEY)):
                    with pytest.raises(StoreError, match=r"no OpenDHT proxy answers at .*--proxy"):
                        await call
                with pytest.raises(StoreError, match="answers at"):
                    await followed(one, KEY, lambda: None)

    try:
        trio.run(test)
    finally:
        lone.stop()


def test_a_proxy_that_dies_ends_the_subscription(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    third = Node(nodes[0].port)
    third.wait()

    async def test() -> None:
        with trio.fail_after(PATIENCE_S):
            async with store(third, ONE, tmp_path) as one:
                await one.put(KEY[:-1] + b"4", b"n", b"v", 300)
                with pytest.raises(StoreError):
                    await followed(one, KEY[:-1] + b"4", third.stop)

    try:
        trio.run(test)
    finally:
        third.stop()


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(LocalProtocolError, match="--proxy"):
            async with store("http://[::1", ONE, tmp_path):
                pass

    trio.run(test)


def test_a_value_too_large_for_the_store_is_an_error_of_it(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    async def test() -> None:
        async with store(nodes[0], ONE, tmp_path) as one:
            with pytest.raises(StoreError, match="at most"):
                await one.put(KEY, b"n", bytes(20_000), 300)

    trio.run(test)

import os
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trio

from mdht.control import control_path, serve_control
from mdht.node import Mdht, MdhtConfig, open_mdht
from mdht.signing import SigningKey
from netserv_discovery.console.dht_source import OF_WRITER_MAX, DhtSource
from netserv_discovery.console.items import NodeSeen
from netserv_discovery.console.node_places import NodePlace
from netserv_discovery.console.node_seen import node_seen
from netserv_discovery.errors import UnreachableError
from netserv_discovery.keys import block_key, cell_key, list_key
from netserv_discovery.location import Location, cell_of
from netserv_discovery.record import NodeRecord, encode, split
from netserv_discovery.versions import Offer

NYC, BERLIN = Location(40.71, -74.01), Location(52.52, 13.4)
KEY = SigningKey.from_seed(b"n" * 32)


def record(key: SigningKey = KEY, **changes: Any) -> NodeRecord:
    now = int(time.time())
    given = {
        "node_id": "edge",
        "location": NYC,
        "blocks": (Offer("ffmpeg", "5.1"),),
        "issued": now,
        "expires": now + 60,
    }
    return NodeRecord(public_key=key.public_key, **given | changes)


def world(place: Location) -> bytes:
    return cell_key(cell_of(place, 1))


async def true(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the node tells it in its own time
        await trio.sleep(0.01)


class Scene:
    """A source that looks by a running node, and the newest that it has told."""

    def __init__(self, node: Mdht, source: DhtSource) -> None:
        self.node, self.source = node, source
        self.nodes: list[NodeSeen] = []
        self.names: set[str] = set()
        self.why = ""

    def tell(self, view: Any) -> None:
        self.nodes = list(view.items["nodes"].values())
        self.names = {each.name for each in self.nodes}
        self.why = view.why

    async def put(self, key: bytes, value: bytes, name: bytes = b"n") -> None:
        await self.node.put(key, value, ttl_s=60, name=name)

    async def until(self, *names: str) -> None:
        await true(lambda: self.names == set(names))


def run(body: Any, tmp_path: Path, **settings: Any) -> None:
    async def main() -> None:
        config = MdhtConfig(host="127.0.0.1", port=0, presence=False, state_dir=tmp_path)
        source = DhtSource(lambda: [NodePlace(tmp_path / "none", "mdht"), NodePlace(tmp_path, "mdht")], **settings)
        async with open_mdht(config, SigningKey.generate()) as node, trio.open_nursery() as nursery:
            await nursery.start(serve_control, node, control_path(tmp_path, os.environ))
            scene = Scene(node, source)
            nursery.start_soon(source.changes, scene.tell)
            with trio.fail_after(20):
                await body(scene)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_nodes_come_change_and_go_as_their_records_do(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        await scene.put(world(NYC), encode(record(), KEY))
        await scene.until("edge")
        now = int(time.time())
        await scene.put(world(NYC), encode(record(node_id="edge-2", issued=now + 1, expires=now + 60), KEY))
        await scene.until("edge-2")
        await scene.node.remove(world(NYC), b"n")
        await scene.until()

    run(body, tmp_path)


def test_of_two_records_of_a_node_the_later_counts_and_it_is_shown_once(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        now, other = int(time.time()), SigningKey.from_seed(b"x" * 32)
        new = record(node_id="new", issued=now, expires=now + 60)
        old = record(node_id="old", location=BERLIN, issued=now - 9, expires=now + 60)
        await scene.put(world(NYC), encode(new, KEY), b"1")
        await scene.put(world(BERLIN), encode(old, KEY), b"2")
        await scene.put(world(NYC), encode(record(other, node_id="x"), other), b"3")
        await scene.until("new", "x")

    run(body, tmp_path)


def test_what_is_no_sound_record_is_counted_and_not_shown(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        good = encode(record(), KEY)
        await scene.put(world(NYC), good[:-1] + bytes((good[-1] ^ 1,)), b"forged")
        await scene.put(world(NYC), b"<script>", b"noise")
        await scene.put(world(BERLIN), good, b"elsewhere")
        await true(lambda: scene.source.refused.total() == 3)
        await scene.put(world(NYC), encode(record(node_id="good"), KEY), b"good")
        await scene.until("good")
        assert scene.why == "1 node; refused: 1 bad signature, 1 malformed, 1 wrong place"

    run(body, tmp_path)


def test_a_node_that_tells_no_place_is_found_by_a_block_that_is_named(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        await scene.put(block_key("ffmpeg"), encode(record(location=None), KEY))
        await scene.until("edge")

    run(body, tmp_path, blocks=("FFmpeg",))


def test_a_record_ends_on_the_page_when_its_time_is_over(tmp_path: Path) -> None:
    started = time.time()
    end = int(started) + 60

    async def body(scene: Scene) -> None:
        await scene.put(world(NYC), encode(record(expires=end), KEY))
        await scene.until("edge")
        await scene.until()

    run(body, tmp_path, unix_now=lambda: end - 0.7 + time.time() - started)


def test_a_node_with_more_blocks_than_its_record_has_room_for_is_shown_with_all(tmp_path: Path) -> None:
    blocks = tuple(Offer(f"block-{number:03}-with-a-long-name", "1.0") for number in range(60))

    async def body(scene: Scene) -> None:
        part, document = split(record(blocks=blocks))
        assert document is not None
        assert part.more is not None
        await scene.put(list_key(part.more), b"something else", b"foe")
        await scene.put(list_key(part.more), document)
        await scene.put(world(NYC), encode(part, KEY))
        await true(lambda: [len(each.blocks) for each in scene.nodes] == [60])

    run(body, tmp_path)


def test_one_writer_cannot_fill_the_page(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        for number in range(OF_WRITER_MAX + 3):
            key = SigningKey.from_seed(number.to_bytes(32, "big"))
            await scene.put(world(NYC), encode(record(key, node_id=f"n{number}"), key), bytes((number,)))
        await true(lambda: ", 3 more of the same writers" in scene.why)
        assert len(scene.names) == OF_WRITER_MAX

    run(body, tmp_path)


def test_without_a_running_node_it_says_how_to_start_one(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(UnreachableError, match="start one with `mdht run`"):
            await DhtSource(lambda: [NodePlace(tmp_path, "mdht")]).changes(print)

    trio.run(main)


def test_a_record_is_shown_as_it_says() -> None:
    addresses = (ip_address("192.0.2.1").packed, ip_address("2001:db8::1").packed)
    seen = node_seen(record(addresses=addresses, load=7, operator="<i>me</i>", more=bytes(32)), "DHT")
    assert seen.where == ("192.0.2.1:270", "[2001:db8::1]:270")
    assert (seen.load, seen.signed, seen.operator, seen.public_key) == (0.7, True, "<i>me</i>", KEY.public_key.hex())
    assert seen.place is not None
    assert (seen.place.latitude, seen.place.longitude) == (40.71, -74.01)
    assert seen.notes == ("more blocks and modules in a list of its own",)

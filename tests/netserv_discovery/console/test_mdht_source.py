import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from mdht.control import control_path, serve_control
from mdht.errors import UnreachableError
from mdht.node import MdhtConfig, open_mdht
from mdht.signing import SigningKey
from netserv_discovery.console.mdht_source import MdhtSource
from netserv_discovery.console.node_places import NODES_MAX, NodePlace, node_places


def test_running_nodes_are_shown_with_their_places_on_the_ring(tmp_path: Path) -> None:
    directories = [tmp_path / "one", tmp_path / "two"]
    places = [NodePlace(directories[0], "mdht"), NodePlace(directories[1], "z2z"), NodePlace(tmp_path / "none", "mdht")]

    async def main() -> None:
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            nodes = []
            for directory in directories:
                entry = nodes[0].status().addresses[:1] if nodes else ()
                config = MdhtConfig(host="127.0.0.1", port=0, presence=False, state_dir=directory, bootstrap=entry)
                nodes.append(await stack.enter_async_context(open_mdht(config, SigningKey.generate())))
                await nursery.start(serve_control, nodes[-1], control_path(directory, os.environ))
            while not all(node.status().ring for node in nodes):
                await trio.lowlevel.checkpoint()
            view = await MdhtSource(lambda: places).snapshot()
            subnets = {each.by: each for each in view.items["subnets"].values()}
            statuses = [node.status() for node in nodes]
            assert [subnets["mdht"].node, subnets["z2z"].node] == [each.node for each in statuses]
            assert [each.node for each in subnets["mdht"].ring] == [statuses[1].node]
            assert subnets["mdht"].ring[0].address == statuses[1].addresses[0]
            assert (view.works, view.why) == (True, "2 running nodes")
            nursery.cancel_scope.cancel()

    with_deadline(main)


def test_without_a_running_node_it_says_how_to_start_one(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(UnreachableError, match="start one with `mdht run`"):
            await MdhtSource(lambda: [NodePlace(tmp_path, "mdht")]).snapshot()

    with_deadline(main)


def test_nodes_are_looked_for_where_the_programs_keep_their_state(tmp_path: Path) -> None:
    for name in ("mdht/net-z2z", "mdht/net-lab", "alone", "z2z/copies/aa/mdht", "z2z/copies/bb/mdht"):
        (tmp_path / name).mkdir(parents=True)
    os.utime(tmp_path / "z2z/copies/aa/mdht", (1, 1))
    places = node_places([tmp_path / "mdht", tmp_path / "alone"], [tmp_path / "z2z", tmp_path / "missing"])
    assert [(str(each.directory.relative_to(tmp_path)), each.by) for each in places] == [
        ("mdht/net-lab", "mdht"),
        ("mdht/net-z2z", "mdht"),
        ("alone", "mdht"),
        ("z2z/copies/bb/mdht", "z2z"),
        ("z2z/copies/aa/mdht", "z2z"),
    ]


def test_directories_without_end_are_not_all_looked_into(tmp_path: Path) -> None:
    for number in range(NODES_MAX + 5):
        (tmp_path / f"net-{number}").mkdir()
    assert len(node_places([tmp_path], [])) == NODES_MAX


def with_deadline(main):
    async def limited():
        with trio.fail_after(20):
            await main()

    trio.run(limited)
